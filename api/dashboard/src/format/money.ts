// Money is exact: decimal texts with nine decimals, counted in integers, and never in floats.

const NANOS = 1_000_000_000n;
const AMOUNT = /^(-?)(\d+)\.(\d{9})$/;

/** The billionths of an amount such as `12.345678901`. */
export function nanosOf(amount: string): bigint {
  const parts = AMOUNT.exec(amount);
  if (!parts) {
    throw new Error(`expected an amount with nine decimals, got "${amount}"`);
  }
  const [, sign, whole, decimals] = parts;
  const nanos = BigInt(whole as string) * NANOS + BigInt(decimals as string);
  return sign === "-" ? -nanos : nanos;
}

/** The amount of that many billionths, with nine decimals. */
export function amountOf(nanos: bigint): string {
  const size = nanos < 0n ? -nanos : nanos;
  const decimals = (size % NANOS).toString().padStart(9, "0");
  return `${nanos < 0n ? "-" : ""}${size / NANOS}.${decimals}`;
}

/** How many decimals amounts up to this one are shown with. */
export function decimalsFor(largest: bigint): number {
  const size = largest < 0n ? -largest : largest;
  if (size === 0n || size >= NANOS) {
    return 2;
  }
  if (size >= NANOS / 100n) {
    return 4;
  }
  return size >= 1_000n ? 7 : 9;
}

/** How many decimals a column has whose largest amount is this one: smaller ones are to be told apart, too. */
export function columnDecimals(largest: bigint): number {
  return decimalsFor(largest / 10n);
}

/** An amount for people. What is not nothing is never shown as nothing. */
export function formatMoney(amount: string, currency: string, locale: string, decimals?: number): string {
  const nanos = nanosOf(amount);
  const digits = decimals ?? decimalsFor(nanos);
  const format = new Intl.NumberFormat(locale, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  const step = 10n ** BigInt(9 - digits);
  const size = nanos < 0n ? -nanos : nanos;
  if (size !== 0n && size * 2n < step) {
    return `${nanos < 0n ? ">" : "<"}${format.format(amountOf(nanos < 0n ? -step : step) as `${number}`)}`;
  }
  return format.format(amount as `${number}`);
}
