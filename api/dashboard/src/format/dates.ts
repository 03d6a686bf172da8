import type { Granularity } from "./granularity";

const DAY = 86_400_000;
const DAY_OF_MONTH = { day: "numeric", month: "short" } as const;

/** A day such as `2026-01-31`, as the instant it starts in UTC: days have no zone here. */
function instant(day: string): Date {
  return new Date(`${day}T00:00:00Z`);
}

function text(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

/** Whether a text is a day that there is. */
export function isDay(day: string): boolean {
  return (
    /^\d{4}-\d{2}-\d{2}$/.test(day) &&
    !Number.isNaN(instant(day).getTime()) &&
    text(instant(day).getTime()) === day
  );
}

/** How many days there are from one to another, both included. */
export function daysBetween(from: string, to: string): number {
  return Math.round((instant(to).getTime() - instant(from).getTime()) / DAY) + 1;
}

/** The span of equal length right before. */
export function previousRange(from: string, to: string): { from: string; to: string } {
  const start = instant(from).getTime();
  return { from: text(start - daysBetween(from, to) * DAY), to: text(start - DAY) };
}

/** The first day of the month that many months before the month of a day. */
export function monthsBefore(day: string, months: number): string {
  const at = instant(day);
  return text(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() - months, 1));
}

/** The day of an instant in a zone. */
export function dayOf(at: string, timeZone: string): string {
  const parts = new Intl.DateTimeFormat("en", {
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    timeZone,
  });
  const named = Object.fromEntries(parts.formatToParts(new Date(at)).map(({ type, value }) => [type, value]));
  return `${named.year}-${named.month}-${named.day}`;
}

export function formatRange(from: string, to: string, locale: string): string {
  const format = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone: "UTC" });
  return from === to ? format.format(instant(from)) : format.formatRange(instant(from), instant(to));
}

/** An instant in the zone that periods are in. */
export function formatInstant(at: string, locale: string, timeZone: string): string {
  return new Intl.DateTimeFormat(locale, {
    dateStyle: "long",
    timeStyle: "long",
    timeZone,
  }).format(new Date(at));
}

/** The name of a period: `24 Nov, 13:00`, `24 Nov`, `W48` with its year, or `Nov 2026`. */
export function formatPeriod(key: string, granularity: Granularity, locale: string, week: string): string {
  const format = (parts: Intl.DateTimeFormatOptions, start: Date) =>
    new Intl.DateTimeFormat(locale, { ...parts, timeZone: "UTC" }).format(start);
  switch (granularity) {
    case "hourly":
      return format({ ...DAY_OF_MONTH, hour: "2-digit", minute: "2-digit" }, new Date(`${key}:00:00Z`));
    case "daily":
      return format(DAY_OF_MONTH, instant(key));
    case "weekly": {
      const [year, number] = key.split("-W");
      return `${week}${Number(number)} ${year}`;
    }
    case "monthly":
      return format({ month: "short", year: "numeric" }, instant(`${key}-01`));
  }
}

/** How long something takes or took: the largest unit that is at least one. */
export function formatSeconds(seconds: number, locale: string): string {
  const units: [number, string][] = [
    [86_400, "day"],
    [3_600, "hour"],
    [60, "minute"],
  ];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "second"];
  const value = Math.floor(seconds / size);
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(value);
}
