// The token comes in the fragment of the address or is pasted; it is kept for this tab only, and shown to
// nobody but the reader. Its claims are read unchecked, to know what to offer: the reader decides.

import { type Rights, type Role, readingOf, rightsOf } from "./claims";

export interface Claims extends Rights {
  subject: string;
  expires: number;
}

const reading = readingOf(
  globalThis.document?.querySelector<HTMLMetaElement>('meta[name="usage-ledger-claims"]')?.content ?? "",
);

const KEY = "usage-ledger.token";

/** Takes the token out of an address, and gives the address without it. */
export function takeToken(hash: string): { token: string | null; rest: string } {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const token = parts.get("token");
  if (token === null) {
    return { token: null, rest: hash };
  }
  parts.delete("token");
  const rest = parts.toString();
  return { token: token.trim() || null, rest: rest === "" ? "" : `#${rest}` };
}

function decoded(part: string): unknown {
  const base64 = part.replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** What a token says about itself, or `null` where it is none. */
export function claimsOf(token: string): Claims | null {
  try {
    const claims = decoded(token.split(".")[1] ?? "") as Record<string, unknown>;
    if (typeof claims.sub !== "string" || typeof claims.exp !== "number") {
      return null;
    }
    return { subject: claims.sub, expires: claims.exp, ...rightsOf(claims, reading) };
  } catch {
    // Whatever it is, it is no token.
    return null;
  }
}

export function manages(role: Role | undefined): boolean {
  return role === "admin";
}

/** What somebody is to an organization, as far as the page offers anything else for it. */
export function roleOf(claims: Claims, organization: string): "staff" | "admin" | "member" | null {
  if (claims.staff) {
    return "staff";
  }
  const role = claims.organizations.get(organization);
  return role === undefined ? null : manages(role) ? "admin" : "member";
}

/** What becomes of a token that a link brought, where another one may be kept already. */
export function meet(kept: string | null, brought: string, nowMs: number): "take" | "ask" | "drop" {
  const session = kept === null ? null : claimsOf(kept);
  if (session === null || session.expires * 1_000 <= nowMs) {
    return "take";
  }
  const other = claimsOf(brought);
  // What is no token would only end the session.
  return other === null ? "drop" : other.subject === session.subject ? "take" : "ask";
}

export const stored = {
  read: (): string | null => sessionStorage.getItem(KEY),
  write: (token: string): void => sessionStorage.setItem(KEY, token),
  clear: (): void => sessionStorage.removeItem(KEY),
};
