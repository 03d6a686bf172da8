import { expect, test } from "vitest";
import type { Table, TableRow, Totals } from "../client/types";
import { addsUp, sumOf } from "./sums";

function totals(requests: number, amount: string | null): Totals {
  return {
    requests,
    totalTokens: 0,
    cost: amount === null ? null : { amount, currency: "USD" },
  } as Totals;
}

function table(rows: [Totals, Totals, Totals][], columns: [Totals, Totals], whole: Totals): Table {
  return {
    periods: [{}, {}],
    rows: rows.map(([total, ...cells]) => ({ totals: total, cells }) as TableRow),
    columnTotals: columns,
    totals: whole,
  } as unknown as Table;
}

const one = totals(1, "0.100000001");
const unpriced = totals(2, null);
const whole = table(
  [
    [totals(2, "0.200000002"), one, one],
    [totals(3, "0.100000001"), unpriced, one],
  ],
  [totals(3, "0.100000001"), totals(2, "0.200000002")],
  totals(5, "0.300000003"),
);

test("rows, columns and totals match to the last decimal", () => {
  expect(addsUp(whole, "cost")).toBe(true);
  expect(addsUp(whole, "requests")).toBe(true);
});

test("a billionth that is missing is noticed, wherever it is", () => {
  expect(addsUp({ ...whole, totals: totals(5, "0.300000002") }, "cost")).toBe(false);
  const columns = [totals(3, "0.100000002"), totals(2, "0.200000001")];
  expect(addsUp({ ...whole, columnTotals: columns }, "cost")).toBe(false);
  const [first, ...rest] = whole.rows;
  const swapped = [{ ...(first as TableRow), cells: [one, totals(1, "0.100000002")] }, ...rest];
  expect(addsUp({ ...whole, rows: swapped }, "cost")).toBe(false);
});

test("rows that are not shown are summed column by column", () => {
  expect(sumOf(whole.rows, 2, "cost")).toEqual({ cells: [100_000_001n, 200_000_002n], total: 300_000_003n });
});
