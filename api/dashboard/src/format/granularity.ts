export const GRANULARITIES = ["hourly", "daily", "weekly", "monthly"] as const;
/** The reader answers by the hour for so many days at most. */
export const MAX_HOURLY_DAYS = 31;

/** The length of a period. */
export type Granularity = (typeof GRANULARITIES)[number];
