import { expect, test } from "vitest";
import { claimsOf, manages, takeToken } from "./token";

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

test("owners and admins see an organization, and others their own usage", () => {
  expect(["owner", "admin", "member", "guest", undefined].map(manages)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});
