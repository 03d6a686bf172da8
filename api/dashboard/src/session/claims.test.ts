import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Reading, readingOf, rightsOf, USUAL } from "./claims";

interface Row {
  name: string;
  reading?: Reading;
  claims: unknown;
  organizations: Record<string, string>;
  staff?: boolean;
}

const table = new URL("../../../../tests/data/claims.json", import.meta.url);
const rows = JSON.parse(readFileSync(table, "utf8")) as Row[];

test.each(rows)("a token is read as the reader reads it: $name", (row) => {
  const { organizations, staff } = rightsOf(row.claims, row.reading ?? USUAL);
  expect(Object.fromEntries(organizations)).toEqual(row.organizations);
  expect(staff).toBe(row.staff ?? false);
});

test("what is no object says nothing", () => {
  for (const claims of [null, 7, "x", [], undefined]) {
    expect(rightsOf(claims, USUAL)).toEqual({ organizations: new Map(), staff: false });
  }
});

test("a page that no reader sent reads tokens as usual", () => {
  expect(readingOf("")).toEqual(USUAL);
  const other: Reading = { organizations: ["o"], adminRoles: ["a"], staff: ["s"], staffValue: "v" };
  expect(readingOf(JSON.stringify(other))).toEqual(other);
});
