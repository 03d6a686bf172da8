// The whole state of the page is its address: what is shown can be sent to somebody, and back goes back.

import { daysBetween, isDay } from "../format/dates";
import { GRANULARITIES, type Granularity, MAX_HOURLY_DAYS } from "../format/granularity";

export const PRESETS = ["7d", "30d", "90d", "month-to-date", "last-month", "last-6-months"] as const;
export const METRICS = ["requests", "tokens", "cost"] as const;
export const DIMENSIONS = [
  "agentSlug",
  "provider",
  "model",
  "userId",
  "teamId",
  "apiKeyId",
  "source",
  "kind",
] as const;

export type Preset = (typeof PRESETS)[number];
export type Metric = (typeof METRICS)[number];
export type Dimension = (typeof DIMENSIONS)[number];
export type Filters = Readonly<Partial<Record<Dimension, readonly string[]>>>;
export type Span = { preset: Preset } | { from: string; to: string };

export interface Address {
  /** `null`: all of them, or the only one. */
  organization: string | null;
  span: Span;
  /** `null`: what suits the span. */
  granularity: Granularity | null;
  metric: Metric;
  filters: Filters;
  /** What users are sorted by; `null`: the metric. */
  sort: Metric | null;
  /** The page of users, from 1, and where the reader goes on for it. */
  page: number;
  cursor: string | null;
  /** Organizations whose agents are shown in the table. */
  open: readonly string[];
  /** Money with all of its decimals. */
  exact: boolean;
}

export const START: Address = {
  organization: null,
  span: { preset: "30d" },
  granularity: null,
  metric: "cost",
  filters: {},
  sort: null,
  page: 1,
  cursor: null,
  open: [],
  exact: false,
};

function choice<T extends string>(choices: readonly T[], text: string | null): T | null {
  return choices.find((choice) => choice === text) ?? null;
}

function spanOf(query: URLSearchParams): Span {
  const from = query.get("from");
  const to = query.get("to");
  if (from && to && isDay(from) && isDay(to) && from <= to) {
    return { from, to };
  }
  return { preset: choice(PRESETS, query.get("preset")) ?? "30d" };
}

/** Reads an address. What has no meaning is as if it were not there. */
export function parse(search: string): Address {
  const query = new URLSearchParams(search);
  const filters: Partial<Record<Dimension, string[]>> = {};
  for (const dimension of DIMENSIONS) {
    const values = [...new Set(query.getAll(dimension).filter((value) => value !== ""))];
    if (values.length > 0) {
      filters[dimension] = values;
    }
  }
  const cursor = query.get("cursor") || null;
  const page = Number(query.get("page"));
  return {
    organization: query.get("organizationId") || null,
    span: spanOf(query),
    granularity: choice(GRANULARITIES, query.get("granularity")),
    metric: choice(METRICS, query.get("metric")) ?? START.metric,
    filters,
    sort: choice(METRICS, query.get("sort")),
    page: cursor && Number.isSafeInteger(page) && page > 1 ? page : cursor ? 2 : 1,
    cursor,
    open: [...new Set(query.getAll("open").filter((value) => value !== ""))],
    exact: query.get("exact") === "true",
  };
}

/** Writes an address; what is as at the start is left out. */
export function print(address: Address): string {
  const query = new URLSearchParams();
  const add = (name: string, value: string | null) => {
    if (value !== null) {
      query.append(name, value);
    }
  };
  add("organizationId", address.organization);
  if ("preset" in address.span) {
    add("preset", address.span.preset === "30d" ? null : address.span.preset);
  } else {
    add("from", address.span.from);
    add("to", address.span.to);
  }
  add("granularity", address.granularity);
  add("metric", address.metric === START.metric ? null : address.metric);
  for (const dimension of DIMENSIONS) {
    for (const value of address.filters[dimension] ?? []) {
      add(dimension, value);
    }
  }
  add("sort", address.sort);
  if (address.cursor !== null) {
    add("page", String(address.page));
    add("cursor", address.cursor);
  }
  for (const organization of address.open) {
    add("open", organization);
  }
  add("exact", address.exact ? "true" : null);
  return query.toString();
}

/** Changes an address. A page of users is a page of one question: another question starts at its first. */
export function change(address: Address, to: Partial<Address>): Address {
  const question = ["organization", "span", "filters", "sort", "metric"] as const;
  const other = question.some((part) => part in to);
  return { ...address, ...(other ? { page: 1, cursor: null } : {}), ...to };
}

/** Whether a span has few enough days to be shown by the hour. */
export function fitsHours(span: Span): boolean {
  return "preset" in span
    ? span.preset !== "90d" && span.preset !== "last-6-months"
    : daysBetween(span.from, span.to) <= MAX_HOURLY_DAYS;
}

/** Which buckets suit a span, where nobody chose them, or chose hours for fewer days. */
export function granularityOf(address: Address): Granularity {
  if (address.granularity && (address.granularity !== "hourly" || fitsHours(address.span))) {
    return address.granularity;
  }
  if (!("preset" in address.span)) {
    const days = daysBetween(address.span.from, address.span.to);
    return days <= 31 ? "daily" : days <= 120 ? "weekly" : "monthly";
  }
  const suiting: Record<Preset, Granularity> = {
    "7d": "daily",
    "30d": "daily",
    "90d": "weekly",
    "month-to-date": "daily",
    "last-month": "daily",
    "last-6-months": "monthly",
  };
  return suiting[address.span.preset];
}
