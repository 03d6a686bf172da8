import { afterEach, expect, test, vi } from "vitest";
import { AskError, ask, askCsv, asksAgain, patiently, queryOf, waitOf } from "./ask";

afterEach(() => vi.unstubAllGlobals());

test("lists are repeated, and what is absent is left out", () => {
  expect(queryOf({ by: "user", agentSlug: ["a b", "c"], cursor: undefined, limit: 5 })).toBe(
    "by=user&agentSlug=a+b&agentSlug=c&limit=5",
  );
});

test("the reader's own time to come again is kept", () => {
  const limited = new AskError(429, null, 7);
  expect([asksAgain(0, limited), asksAgain(4, limited), asksAgain(5, limited)]).toEqual([true, true, false]);
  expect(waitOf(0, limited)).toBe(7_000);
});

test("only what may pass by itself is asked again", () => {
  const asked = [0, 503, 400, 401, 403, 422, 500].map((status) =>
    asksAgain(0, new AskError(status, null, null)),
  );
  expect(asked).toEqual([true, true, false, false, false, false, false]);
  expect(asksAgain(2, new AskError(503, null, null))).toBe(false);
});

test("a token goes into its header, and an answer never comes from a cache", async () => {
  const fetch = vi.fn(async () => Response.json({ totals: 1 }));
  vi.stubGlobal("fetch", fetch);
  await ask("meta", { preset: "7d" }, "a.b.c");
  expect(fetch).toHaveBeenCalledWith(
    "v1/usage/meta?preset=7d",
    expect.objectContaining({
      cache: "no-store",
      headers: { accept: "application/json", authorization: "Bearer a.b.c" },
    }),
  );
  await ask("meta", {}, null);
  expect(fetch).toHaveBeenLastCalledWith(
    "v1/usage/meta?",
    expect.objectContaining({ headers: { accept: "application/json" } }),
  );
});

test("a table is asked for as a file, whole, and its address holds no token", async () => {
  const fetch = vi.fn(async () => new Response("\ufeffuserId\r\n"));
  vi.stubGlobal("fetch", fetch);
  const file = await askCsv("meta", { preset: "7d" }, "a.b.c");
  expect(new Uint8Array(await file.arrayBuffer()).slice(0, 3)).toEqual(new Uint8Array([0xef, 0xbb, 0xbf]));
  expect(fetch).toHaveBeenCalledWith(
    "v1/usage/meta?preset=7d&format=csv",
    expect.objectContaining({ headers: { accept: "text/csv", authorization: "Bearer a.b.c" } }),
  );
});

test("a refusal carries what the reader said and when to come again", async () => {
  const problem = { type: "t", title: "t", status: 429, detail: "later" };
  const headers = { "content-type": "application/problem+json", "retry-after": "3" };
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify(problem), { status: 429, headers }));
  await expect(ask("meta", {}, null)).rejects.toMatchObject({ status: 429, problem, retryAfterSeconds: 3 });
});

test("no answer, and one that breaks off, are errors of the connection", async () => {
  vi.stubGlobal("fetch", async () => {
    throw new TypeError("failed to fetch");
  });
  await expect(ask("meta", {}, null)).rejects.toMatchObject({ status: 0 });
  vi.stubGlobal("fetch", async () => new Response('{"totals":'));
  await expect(ask("meta", {}, null)).rejects.toMatchObject({ status: 0 });
  const broken = new ReadableStream({ start: (stream) => stream.error(new Error("broke off")) });
  vi.stubGlobal("fetch", async () => new Response(broken));
  await expect(askCsv("meta", {}, null)).rejects.toMatchObject({ status: 0 });
});

test("what is saved is asked for again where the reader says later, and not where it says no", async () => {
  const answers = [new AskError(429, null, 0), new AskError(503, null, 0)];
  const asking = vi.fn(async () => {
    const error = answers.shift();
    if (error) {
      throw error;
    }
    return "whole";
  });
  await expect(patiently(asking)).resolves.toBe("whole");
  expect(asking).toHaveBeenCalledTimes(3);
  const refused = vi.fn(() => Promise.reject(new AskError(403, null, null)));
  await expect(patiently(refused)).rejects.toMatchObject({ status: 403 });
  expect(refused).toHaveBeenCalledTimes(1);
});
