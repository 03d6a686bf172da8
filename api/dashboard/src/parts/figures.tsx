// Figures of totals: one of them as a number to draw, to add, or to read.

import type { Metric } from "../address/address";
import type { Totals } from "../client/types";
import { amountOf, columnDecimals, formatMoney, nanosOf } from "../format/money";
import { formatCount } from "../format/numbers";
import { useLocale } from "../i18n/locale";

/** A figure in whole units (requests, tokens, billionths of the currency); `null` where nobody knows it. */
export function unitsOf(totals: Totals, metric: Metric): bigint | null {
  switch (metric) {
    case "requests":
      return BigInt(totals.requests);
    case "tokens":
      return BigInt(totals.totalTokens);
    case "cost":
      return totals.cost === null || totals.cost === undefined ? null : nanosOf(totals.cost.amount);
  }
}

/** A figure for the height of a bar: near enough, and never printed. */
export function heightOf(totals: Totals, metric: Metric): number {
  const units = Number(unitsOf(totals, metric) ?? 0n);
  return metric === "cost" ? units / 1e9 : units;
}

/** How many decimals a column of the costs of these totals has. */
export function decimalsOf(totals: readonly Totals[]): number {
  const largest = totals.reduce((max, one) => {
    const nanos = unitsOf(one, "cost") ?? 0n;
    return nanos > max ? nanos : max;
  }, 0n);
  return columnDecimals(largest);
}

/** Part of a whole; 0 of nothing. */
export function shareOf(part: bigint | null, whole: bigint | null): number {
  if (part === null || whole === null || whole === 0n) {
    return 0;
  }
  return Number((part * 10_000n) / whole) / 10_000;
}

export function useFigures() {
  const { locale } = useLocale();
  return {
    count: (count: number) => formatCount(count, locale),
    money: (amount: string, currency: string, decimals?: number) =>
      formatMoney(amount, currency, locale, decimals),
  };
}

export function NotPriced() {
  const { t } = useLocale();
  return (
    <span className="not-priced" title={t.cost.why}>
      {t.cost.notPriced}
    </span>
  );
}

/** Money, or that nobody knows it. */
export function Cost({ cost, decimals }: { cost: Totals["cost"] | undefined; decimals?: number }) {
  const { money } = useFigures();
  if (!cost) {
    return <NotPriced />;
  }
  const exact = `${cost.amount} ${cost.currency}`;
  return <span title={exact}>{money(cost.amount, cost.currency, decimals)}</span>;
}

/** One figure of totals. */
export function Figure({ totals, metric, decimals }: { totals: Totals; metric: Metric; decimals?: number }) {
  const { count } = useFigures();
  if (metric === "cost") {
    return <Cost cost={totals.cost} {...(decimals === undefined ? {} : { decimals })} />;
  }
  return count(metric === "requests" ? totals.requests : totals.totalTokens);
}

/** A figure that was added up here. */
export function Sum({ units, metric, currency, decimals }: SumProps) {
  const { count } = useFigures();
  if (metric !== "cost") {
    return count(Number(units));
  }
  return (
    <Cost cost={{ amount: amountOf(units), currency }} {...(decimals === undefined ? {} : { decimals })} />
  );
}

interface SumProps {
  units: bigint;
  metric: Metric;
  currency: string;
  decimals?: number;
}
