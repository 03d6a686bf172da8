import { useQuery } from "@tanstack/react-query";
import { fitsHours, granularityOf } from "../address/address";
import { useAddress } from "../address/useAddress";
import { ask } from "../client/ask";
import { questions } from "../client/questions";
import { GRANULARITIES } from "../format/granularity";
import { useLocale } from "../i18n/locale";
import { Choice } from "../parts/Choice";
import { useSession } from "../session/session";

/** How long the buckets are: hours only where the ledger keeps them, and for few days. */
export function GranularityChoice({ organization }: { organization: string | null }) {
  const { t } = useLocale();
  const [address, go] = useAddress();
  const hasHours = useHasHours(organization) && fitsHours(address.span);
  const offered = GRANULARITIES.filter((id) => id !== "hourly" || hasHours);
  return (
    <Choice
      label={t.granularity.label}
      options={offered.map((id) => [id, t.granularity[id]])}
      chosen={granularityOf(address)}
      choose={(granularity) => go({ granularity })}
    />
  );
}

/** Whether the ledger keeps hours: it does from its first event on, or never. */
function useHasHours(organization: string | null): boolean {
  const { token } = useSession();
  const query = questions.kept(organization);
  const { data } = useQuery({
    queryKey: ["kept", query, token],
    queryFn: ({ signal }) => ask("meta", query, token, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return data?.granularities.includes("hourly") ?? false;
}
