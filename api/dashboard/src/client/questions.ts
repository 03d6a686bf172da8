// What the page asks, made from its address.

import { useQuery } from "@tanstack/react-query";
import { type Address, granularityOf, type Metric, type Span } from "../address/address";
import { monthsBefore, previousRange } from "../format/dates";
import { useSession } from "../session/session";
import { ask } from "./ask";
import type { Name, Query, Questions, Table } from "./types";

/** How often what is shown is asked for again, while somebody can see it. */
export const REFRESH_MILLISECONDS = 30_000;
export const TOP = 8;
export const USERS_PER_PAGE = 25;
/** Staff chooses among the organizations with usage in so many months, or in the days that are shown. */
const ORGANIZATION_MONTHS = 12;

/** The last months until a day. */
export function lately(today: string): Span {
  return { from: monthsBefore(today, ORGANIZATION_MONTHS - 1), to: today };
}

type Ranged = Pick<Query<"me">, "from" | "to" | "preset">;

function range(address: Address): Ranged {
  return address.span;
}

function filters(address: Address): object {
  return address.filters;
}

export const questions = {
  summary: (organization: string, address: Address): Query<"summary"> => ({
    organizationId: organization,
    ...range(address),
    ...filters(address),
  }),
  series: (organization: string, address: Address): Query<"series"> => ({
    organizationId: organization,
    granularity: granularityOf(address),
    ...range(address),
    ...filters(address),
  }),
  top: (organization: string, address: Address, by: Query<"breakdown">["by"]): Query<"breakdown"> => ({
    organizationId: organization,
    by,
    sort: address.metric,
    limit: TOP,
    ...range(address),
    ...filters(address),
  }),
  users: (organization: string, address: Address): Query<"breakdown"> => ({
    organizationId: organization,
    by: "user",
    sort: sortOf(address),
    limit: USERS_PER_PAGE,
    ...(address.cursor === null ? {} : { cursor: address.cursor }),
    include: "teams",
    ...range(address),
    ...filters(address),
  }),
  platform: (address: Address): Query<"table"> => ({
    scope: "platform",
    granularity: granularityOf(address),
    ...range(address),
    ...filters(address),
  }),
  agents: (organization: string, address: Address): Query<"table"> => ({
    scope: "organization",
    organizationId: organization,
    granularity: granularityOf(address),
    ...range(address),
    ...filters(address),
  }),
  /** The platform in the span right before; only its totals are of interest. */
  platformBefore: (address: Address, shown: Table): Query<"table"> => ({
    scope: "platform",
    granularity: "monthly",
    ...previousRange(shown.range.from, shown.range.to),
    ...filters(address),
  }),
  /** Which organizations there were in these days. */
  organizations: (span: Span): Query<"table"> => ({ scope: "platform", granularity: "monthly", ...span }),
  /** What the ledger keeps. */
  kept: (organization: string | null): Query<"meta"> =>
    organization === null ? { preset: "7d" } : { organizationId: organization, preset: "7d" },
  own: (organization: string, address: Address): Query<"me"> => {
    const { userId: _, ...own } = address.filters;
    return { organizationId: organization, ...range(address), ...(own as object) };
  },
};

export function sortOf(address: Address): Metric {
  return address.sort ?? address.metric;
}

/** Asks while somebody looks, and again every now and then. */
export function useAnswer<N extends Name>(name: N, query: Questions[N]["query"] | null) {
  const { token, refreshes } = useSession();
  return useQuery({
    queryKey: [name, query, token],
    queryFn: ({ signal }) => ask(name, query as Questions[N]["query"], token, signal),
    enabled: query !== null,
    refetchInterval: refreshes ? REFRESH_MILLISECONDS : false,
  });
}
