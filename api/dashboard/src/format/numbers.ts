/** A count with thousands separators. What a double cannot hold exactly is said to be about that much. */
export function formatCount(count: number, locale: string): string {
  const text = new Intl.NumberFormat(locale).format(count);
  return Number.isSafeInteger(count) ? text : `≈ ${text}`;
}

/** A short count for the axis of a chart. */
export function formatShort(count: number, locale: string): string {
  return new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 }).format(count);
}

export function formatShare(ratio: number, locale: string, signed = false): string {
  return new Intl.NumberFormat(locale, {
    style: "percent",
    maximumFractionDigits: 1,
    signDisplay: signed ? "exceptZero" : "auto",
  }).format(ratio);
}
