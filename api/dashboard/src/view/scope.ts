import { type Claims, manages } from "../session/token";

/** Whose usage somebody may look at, as far as the page can tell; the reader decides. */
export type Scope =
  | { kind: "platform" }
  | { kind: "organization"; organization: string }
  | { kind: "own"; organization: string }
  | { kind: "nothing" };

/** The scope of whoever bears these claims, where this organization was chosen. */
export function scopeOf(chosen: string | null, claims: Claims | null): Scope {
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
