export const GRANULARITIES = ["daily", "weekly", "monthly"] as const;

/** The length of a period. */
export type Granularity = (typeof GRANULARITIES)[number];
