import { useQuery } from "@tanstack/react-query";
import type { Span } from "../address/address";
import { useAddress } from "../address/useAddress";
import { ask } from "../client/ask";
import { lately, questions } from "../client/questions";
import { useLocale } from "../i18n/locale";
import { useSession } from "../session/session";
import { type Claims, manages } from "../session/token";
import { Header } from "./Header";
import { OrganizationView } from "./OrganizationView";
import { OwnView } from "./OwnView";
import { PlatformView } from "./PlatformView";

/** What somebody may look at, as far as the page can tell; the reader decides. */
export type Sight =
  | { kind: "platform" }
  | { kind: "organization"; organization: string }
  | { kind: "own"; organization: string }
  | { kind: "nothing" };

function sightOf(chosen: string | null, claims: Claims | null): Sight {
  if (claims === null || claims.staff) {
    return chosen === null ? { kind: "platform" } : { kind: "organization", organization: chosen };
  }
  const ids = [...claims.organizations.keys()].sort();
  const organization = chosen ?? ids.find((id) => manages(claims.organizations.get(id))) ?? ids[0];
  if (organization === undefined) {
    return { kind: "nothing" };
  }
  const role = claims.organizations.get(organization);
  const isMember = role !== undefined && !manages(role);
  return { kind: isMember ? "own" : "organization", organization };
}

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
  const sight = sightOf(address.organization, claims);
  const { ids, all } = useOrganizations(claims);
  return (
    <>
      <a className="skip" href="#figures">
        {t.skip}
      </a>
      <Header sight={sight} organizations={ids} all={all} />
      <main id="figures" tabIndex={-1}>
        {sight.kind === "platform" && <PlatformView />}
        {sight.kind === "organization" && (
          <OrganizationView key={sight.organization} organization={sight.organization} />
        )}
        {sight.kind === "own" && <OwnView organization={sight.organization} />}
        {sight.kind === "nothing" && <p className="card">{t.empty.none}</p>}
      </main>
    </>
  );
}
