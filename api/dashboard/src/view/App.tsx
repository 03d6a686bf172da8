import { useQuery } from "@tanstack/react-query";
import { useAddress } from "../address/useAddress";
import { ask } from "../client/ask";
import { questions } from "../client/questions";
import type { Table } from "../client/types";
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
  const { token } = useSession();
  const all = claims === null || claims.staff;
  const known = useQuery({
    queryKey: ["organizations", token],
    queryFn: ({ signal }) =>
      ask("table", questions.organizations(new Date().toISOString().slice(0, 10)), token, signal),
    enabled: all,
    staleTime: 5 * 60_000,
    select: (table: Table) => [
      ...table.rows.map((row) => row.organizationId ?? ""),
      ...table.excludedOrganizations,
    ],
  });
  const ids = all ? (known.data ?? []) : [...(claims?.organizations.keys() ?? [])];
  return { ids: [...new Set(ids)].sort((one, other) => one.localeCompare(other)), all };
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
