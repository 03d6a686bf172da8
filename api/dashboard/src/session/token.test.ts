import { expect, test } from "vitest";
import { claimsOf, manages, meet, roleOf, takeToken } from "./token";

function token(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "HS256" })}.${part(claims)}.signature`;
}

test("the token is taken out of the fragment, and the rest stays", () => {
  expect(takeToken("#token=a.b.c")).toEqual({ token: "a.b.c", rest: "" });
  expect(takeToken("#users&token=a.b.c")).toEqual({ token: "a.b.c", rest: "#users=" });
  expect(takeToken("#users")).toEqual({ token: null, rest: "#users" });
  expect(takeToken("#token=")).toEqual({ token: null, rest: "" });
});

test("claims say whose token it is, until when, and for which organizations", () => {
  const claims = claimsOf(
    token({ sub: "jürgen", exp: 5, organizations: { acme: "admin", "b ü": "member" } }),
  );
  expect(claims).toEqual({
    subject: "jürgen",
    expires: 5,
    staff: false,
    organizations: new Map([
      ["acme", "admin"],
      ["b ü", "member"],
    ]),
  });
  expect(claimsOf(token({ sub: "s", exp: 5, platformRole: "staff" }))?.staff).toBe(true);
});

test("what is no token has no claims", () => {
  for (const text of ["", "a", "a.b.c", "..", token({ sub: "s" }), token({ exp: 5 })]) {
    expect(claimsOf(text), text).toBeNull();
  }
});

test("admins see an organization, and others their own usage", () => {
  expect((["admin", "member", undefined] as const).map(manages)).toEqual([true, false, false]);
});

test("a link does not replace the session of somebody else without asking", () => {
  const of = (sub: string, exp: number) => token({ sub, exp });
  const now = 1_000_000;
  for (const [kept, brought, expected] of [
    [null, of("ada", 2_000), "take"],
    [null, "no token", "take"],
    [of("ada", 2_000), of("ada", 3_000), "take"],
    [of("ada", 2_000), of("ada", 1), "take"],
    [of("ada", 2_000), of("grace", 2_000), "ask"],
    [of("ada", 2_000), of("Ada", 2_000), "ask"],
    [of("ada", 2_000), "no token", "drop"],
    [of("ada", 1_000), of("grace", 2_000), "take"],
    ["no token", of("grace", 2_000), "take"],
  ] as const) {
    expect(meet(kept, brought, now), `${kept} ${brought}`).toBe(expected);
  }
});

test("who is signed in is staff, an admin or a member, or nothing to this organization", () => {
  const claims = (more: object) => {
    const read = claimsOf(token({ sub: "s", exp: 5, ...more }));
    if (read === null) {
      throw new Error("a token");
    }
    return read;
  };
  const organizations = { acme: "owner", other: "member" };
  expect(roleOf(claims({ platformRole: "staff", organizations }), "other")).toBe("staff");
  expect(roleOf(claims({ organizations }), "acme")).toBe("admin");
  expect(roleOf(claims({ organizations }), "other")).toBe("member");
  expect(roleOf(claims({ organizations }), "elsewhere")).toBeNull();
});
