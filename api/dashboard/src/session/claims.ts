// What a token says of its bearer, read as the reader reads it: `tests/data/claims.json` is the table of both. It
// is only to know what to offer: the reader decides, and checks what is not checked here.

/** With the greater one somebody sees the whole organization, with the other their own usage. */
export type Role = "admin" | "member";

/** Where tokens say what: the names on the way to a claim, and its values. */
export interface Reading {
  organizations: string[];
  adminRoles: string[];
  staff: string[];
  staffValue: string;
}

export interface Rights {
  organizations: ReadonlyMap<string, Role>;
  staff: boolean;
}

export const USUAL: Reading = {
  organizations: ["organizations"],
  adminRoles: ["owner", "admin"],
  staff: ["platformRole"],
  staffValue: "staff",
};

/** What the reader wrote into the page; nothing in one that no reader sent. */
export function readingOf(content: string): Reading {
  return content === "" ? USUAL : (JSON.parse(content) as Reading);
}

/** The longest id that an event may have, in characters. */
const MAX_ID = 128;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is at the end of this way. */
function at(value: unknown, names: string[]): unknown {
  return names.reduce<unknown>((inner, name) => {
    if (Array.isArray(inner)) {
      return /^(0|[1-9]\d*)$/.test(name) ? inner[Number(name)] : undefined;
    }
    return isObject(inner) && Object.hasOwn(inner, name) ? inner[name] : undefined;
  }, value);
}

/** A text, or a list of nothing but texts; `null` where it is neither. */
function textsOf(value: unknown): string[] | null {
  if (value === null || value === undefined) {
    return [];
  }
  const items: unknown[] = Array.isArray(value) ? value : [value];
  return items.every((item) => typeof item === "string") ? (items as string[]) : null;
}

function isOrganization(id: string): boolean {
  const isReserved = id.length >= 4 && id.startsWith("__") && id.endsWith("__");
  return id !== "" && !isReserved && [...id].length <= MAX_ID && !/\p{Cc}/u.test(id);
}

/** An organization and the role in it, or `null` where that cannot be read. */
type Entry = [string, Role] | null;

function entryOf(id: string, value: unknown, reading: Reading): Entry {
  if (value === null) {
    return null;
  }
  const roles = textsOf(isObject(value) ? value.roles : value);
  if (roles === null || roles.includes("")) {
    return null;
  }
  return [id, roles.some((role) => reading.adminRoles.includes(role)) ? "admin" : "member"];
}

/** An id may have colons, too: what follows the last one is a role only where it can be nothing else. */
function itemOf(item: unknown, reading: Reading): Entry {
  if (typeof item !== "string") {
    return null;
  }
  const colon = item.lastIndexOf(":");
  if (colon < 0) {
    return [item, "member"];
  }
  const [id, role] = [item.slice(0, colon), item.slice(colon + 1)];
  if (reading.adminRoles.includes(role)) {
    return [id, "admin"];
  }
  const isRole = role === "member" || (!id.includes(":") && /^[A-Za-z][A-Za-z_-]*$/.test(role));
  return isRole ? [id, "member"] : null;
}

/** What these claims say; what cannot be read of them is left out. */
export function rightsOf(claims: unknown, reading: Reading): Rights {
  const stated = at(claims, reading.organizations);
  const entries: Entry[] = Array.isArray(stated)
    ? stated.map((item) => itemOf(item, reading))
    : isObject(stated)
      ? Object.entries(stated).map(([id, value]) => entryOf(id, value, reading))
      : [];
  const organizations = new Map<string, Role>();
  for (const entry of entries) {
    if (entry !== null && isOrganization(entry[0]) && organizations.get(entry[0]) !== "admin") {
      organizations.set(...entry);
    }
  }
  const staff = textsOf(at(claims, reading.staff))?.includes(reading.staffValue) ?? false;
  return { organizations, staff };
}
