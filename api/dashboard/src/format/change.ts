/** What became of a figure, compared with the span before. */
export type Change =
  | { kind: "unknown" }
  | { kind: "same" }
  | { kind: "new" }
  | { kind: "up" | "down"; ratio: number };

/** Compares two figures in whole units. The ratio is rounded to a tenth of a percent. */
export function changeOf(now: bigint | null, before: bigint | null): Change {
  if (now === null || before === null) {
    return { kind: "unknown" };
  }
  if (now === before) {
    return { kind: "same" };
  }
  if (before === 0n) {
    return { kind: "new" };
  }
  const size = before < 0n ? -before : before;
  const difference = now > before ? now - before : before - now;
  // Half a unit more rounds to the nearest.
  const permille = (difference * 2_000n + size) / (size * 2n);
  return { kind: now > before ? "up" : "down", ratio: Number(permille) / 1000 };
}
