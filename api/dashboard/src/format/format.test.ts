import { expect, test } from "vitest";
import { changeOf } from "./change";
import { dayOf, daysBetween, formatPeriod, formatSeconds, isDay, monthsBefore, previousRange } from "./dates";
import { amountOf, columnDecimals, decimalsFor, formatMoney, nanosOf } from "./money";
import { formatCount } from "./numbers";

/** Spaces of locales are not always the plain one. */
function plain(text: string): string {
  return text.replace(/[\u00a0\u202f]/g, " ");
}

test("money is counted in billionths, however much it is", () => {
  for (const amount of ["0.000000000", "0.000000001", "-1.500000000", "9007199254740993.123456789"]) {
    expect(amountOf(nanosOf(amount))).toBe(amount);
  }
  expect(nanosOf("12.345678901")).toBe(12_345_678_901n);
  for (const wrong of ["1", "1.5", "1,000000000", "", "1.0000000000", "NaN"]) {
    expect(() => nanosOf(wrong), wrong).toThrow();
  }
});

test("a displayed amount is the exact one, also where a double would be off", () => {
  expect(formatMoney("9007199254740993.120000000", "USD", "en-US")).toBe("$9,007,199,254,740,993.12");
  // As a double, 1.005 is a little less, and would be rounded down.
  expect(formatMoney("1.005000000", "USD", "en-US")).toBe("$1.01");
  expect(formatMoney("0.100000001", "USD", "en-US", 9)).toBe("$0.100000001");
  expect(plain(formatMoney("1234567.890000000", "EUR", "de-DE"))).toBe("1.234.567,89 €");
});

test("what is not nothing is never shown as nothing", () => {
  expect(formatMoney("0.000000000", "USD", "en-US")).toBe("$0.00");
  expect(formatMoney("0.004999999", "USD", "en-US", 2)).toBe("<$0.01");
  expect(formatMoney("0.005000000", "USD", "en-US", 2)).toBe("$0.01");
  expect(formatMoney("-0.001000000", "USD", "en-US", 2)).toBe(">-$0.01");
  expect(formatMoney("0.000000015", "USD", "en-US")).toBe("$0.000000015");
});

test("small amounts have more decimals, and a column has those of its largest", () => {
  expect([0n, 2_000_000_000n, 500_000_000n, 500_000n, 15n].map(decimalsFor)).toEqual([2, 2, 4, 7, 9]);
  expect(columnDecimals(23_000_000_000n)).toBe(2);
  expect(columnDecimals(2_300_000_000n)).toBe(4);
});

test("a change is a share of what was before, to a tenth of a percent", () => {
  expect(changeOf(150n, 100n)).toEqual({ kind: "up", ratio: 0.5 });
  expect(changeOf(1n, 3n)).toEqual({ kind: "down", ratio: 0.667 });
  expect(changeOf(10n ** 30n + 10n ** 29n, 10n ** 30n)).toEqual({ kind: "up", ratio: 0.1 });
  expect(changeOf(0n, 0n)).toEqual({ kind: "same" });
  expect(changeOf(5n, 0n)).toEqual({ kind: "new" });
  expect(changeOf(0n, 5n)).toEqual({ kind: "down", ratio: 1 });
});

test("nothing is compared with what is not known", () => {
  expect(changeOf(null, 5n)).toEqual({ kind: "unknown" });
  expect(changeOf(5n, null)).toEqual({ kind: "unknown" });
});

test("days are counted with both ends, over leap days and ends of months", () => {
  expect(daysBetween("2026-01-01", "2026-01-01")).toBe(1);
  expect(daysBetween("2024-02-01", "2024-03-01")).toBe(30);
  expect(previousRange("2026-03-01", "2026-03-31")).toEqual({ from: "2026-01-29", to: "2026-02-28" });
  expect(monthsBefore("2026-01-31", 2)).toBe("2025-11-01");
  expect([isDay("2026-02-29"), isDay("2024-02-29"), isDay("2026-1-1"), isDay("")]).toEqual([
    false,
    true,
    false,
    false,
  ]);
});

test("an instant falls on the day of its zone", () => {
  expect(dayOf("2026-01-01T23:30:00Z", "UTC")).toBe("2026-01-01");
  expect(dayOf("2026-01-01T23:30:00Z", "Europe/Berlin")).toBe("2026-01-02");
});

test("periods, counts and spans of time are written as the language does", () => {
  expect(formatPeriod("2026-W02", "weekly", "de", "KW ")).toBe("KW 2 2026");
  expect(formatPeriod("2026-01", "monthly", "de-DE", "")).toBe("Jan. 2026");
  expect(formatPeriod("2026-01-05", "daily", "en-GB", "")).toBe("5 Jan");
  expect(formatPeriod("2026-01-05T13", "hourly", "en-GB", "")).toBe("5 Jan, 13:00");
  expect(plain(formatPeriod("2026-01-05T00", "hourly", "en-US", ""))).toBe("Jan 5, 12:00 AM");
  expect(formatPeriod("2026-01-05T03", "hourly", "de-DE", "")).toBe("5. Jan., 03:00");
  expect(formatCount(1_234_567, "de-DE")).toBe("1.234.567");
  expect(formatCount(2 ** 53, "en-US")).toBe("≈ 9,007,199,254,740,992");
  expect(formatSeconds(7_300, "en")).toBe("2 hours");
  expect(formatSeconds(1, "de")).toBe("1 Sekunde");
});
