import { expect, test } from "vitest";
import { type Address, change, granularityOf, PRESETS, parse, print, START } from "./address";

const FULL: Address = {
  organization: "acme & sons",
  span: { from: "2026-01-01", to: "2026-03-31" },
  granularity: "weekly",
  metric: "tokens",
  filters: {
    agentSlug: ["support bot", "__unattributed__"],
    model: ["gpt"],
    provider: ["openai"],
    userId: ["ü/1"],
  },
  sort: "requests",
  page: 3,
  cursor: "abc-_=",
  open: ["globex", "acme"],
  exact: true,
};

test("an address says everything, and reads as what was written", () => {
  expect(parse(print(FULL))).toEqual(FULL);
  expect(parse(print(START))).toEqual(START);
  expect(print(START)).toBe("");
});

test("every part of the state has its place in the address", () => {
  const start = print(START);
  for (const part of Object.keys(FULL) as (keyof Address)[]) {
    if (part !== "page") {
      expect(print({ ...START, [part]: FULL[part] }), part).not.toBe(start);
    }
  }
});

test("what has no meaning is as if it were not there", () => {
  const odd =
    "?preset=6d&granularity=quarterly&metric=money&from=2026-02-30&to=2026-03-01&page=9&sort=name&agentSlug=&x=1";
  expect(parse(odd)).toEqual(START);
  expect(parse("?from=2026-03-02&to=2026-03-01").span).toEqual({ preset: "30d" });
  expect(parse("?cursor=c&page=x").page).toBe(2);
});

test("another question starts at its first page, and another view of the same does not", () => {
  expect(change(FULL, { filters: {} })).toMatchObject({ page: 1, cursor: null });
  expect(change(FULL, { sort: "cost" })).toMatchObject({ page: 1, cursor: null });
  expect(change(FULL, { open: [] })).toMatchObject({ page: 3, cursor: "abc-_=" });
  expect(change(FULL, { page: 4, cursor: "next" })).toMatchObject({ page: 4, cursor: "next" });
});

test("buckets suit the span unless they were chosen", () => {
  expect(granularityOf(START)).toBe("daily");
  expect(granularityOf({ ...START, span: { preset: "last-6-months" } })).toBe("monthly");
  expect(granularityOf({ ...START, span: { from: "2026-01-01", to: "2026-03-31" } })).toBe("weekly");
  expect(granularityOf({ ...START, granularity: "monthly" })).toBe("monthly");
});

test("hours are for few days, and what suits longer spans takes their place", () => {
  const hourly: Address = { ...START, granularity: "hourly" };
  const kept = PRESETS.filter((preset) => granularityOf({ ...hourly, span: { preset } }) === "hourly");
  expect(kept).toEqual(["7d", "30d", "month-to-date", "last-month"]);
  expect(granularityOf({ ...hourly, span: { from: "2026-01-01", to: "2026-01-31" } })).toBe("hourly");
  expect(granularityOf({ ...hourly, span: { from: "2026-01-01", to: "2026-02-01" } })).toBe("weekly");
  expect(parse(print(hourly)).granularity).toBe("hourly");
});
