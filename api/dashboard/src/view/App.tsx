import { useQuery } from "@tanstack/react-query";
import type { Span } from "../address/address";
import { useAddress } from "../address/useAddress";
import { ask } from "../client/ask";
import { lately, questions } from "../client/questions";
import { useLocale } from "../i18n/locale";
import { useSession } from "../session/session";
import type { Claims } from "../session/token";
import { Header } from "./Header";
import { OrganizationView } from "./OrganizationView";
import { OwnView } from "./OwnView";
import { PlatformView } from "./PlatformView";
import { scopeOf } from "./scope";

/** Which organizations to offer: those of the token or, to staff, those with usage. */
function useOrganizations(claims: Claims | null): { ids: string[]; all: boolean } {
  const [{ span }] = useAddress();
  const all = claims === null || claims.staff;
  const ofLate = useOrganizationsIn(lately(new Date().toISOString().slice(0, 10)), all);
  const shown = useOrganizationsIn(span, all);
  const ids = all ? [...ofLate, ...shown] : [...(claims?.organizations.keys() ?? [])];
  return { ids: [...new Set(ids)].sort((one, other) => one.localeCompare(other)), all };
}

function useOrganizationsIn(span: Span, enabled: boolean): string[] {
  const { token } = useSession();
  const query = questions.organizations(span);
  const { data } = useQuery({
    queryKey: ["organizations", query, token],
    queryFn: ({ signal }) => ask("table", query, token, signal),
    enabled,
    staleTime: 5 * 60_000,
  });
  return [
    ...(data?.rows.map((row) => row.organizationId ?? "") ?? []),
    ...(data?.excludedOrganizations ?? []),
  ];
}

export function App() {
  const { claims } = useSession();
  const { t } = useLocale();
  const [address] = useAddress();
  const scope = scopeOf(address.organization, claims);
  const { ids, all } = useOrganizations(claims);
  return (
    <>
      <a className="skip" href="#figures">
        {t.skip}
      </a>
      <Header scope={scope} organizations={ids} all={all} />
      <main id="figures" tabIndex={-1}>
        {scope.kind === "platform" && <PlatformView />}
        {scope.kind === "organization" && (
          <OrganizationView key={scope.organization} organization={scope.organization} />
        )}
        {scope.kind === "own" && <OwnView organization={scope.organization} />}
        {scope.kind === "nothing" && <p className="card">{t.empty.none}</p>}
      </main>
    </>
  );
}
