// The reader's types under short names. `schema.d.ts` is made from its OpenAPI document: `npm run client`.

import type { components, operations } from "./schema";

type Answer<Name extends keyof operations> = operations[Name] extends {
  responses: { 200: { content: { "application/json": infer Body } } };
}
  ? Body
  : never;
export type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;

export interface Questions {
  summary: { query: Query<"summary">; answer: Answer<"summary"> };
  series: { query: Query<"series">; answer: Answer<"series"> };
  breakdown: { query: Query<"breakdown">; answer: Answer<"breakdown"> };
  table: { query: Query<"table">; answer: Answer<"table"> };
  me: { query: Query<"me">; answer: Answer<"me"> };
  meta: { query: Query<"meta">; answer: Answer<"meta"> };
}

export type Name = keyof Questions;
export type Summary = Questions["summary"]["answer"];
export type Series = Questions["series"]["answer"];
export type Breakdown = Questions["breakdown"]["answer"];
export type Table = Questions["table"]["answer"];
export type Totals = components["schemas"]["Totals"];
export type Period = components["schemas"]["Period"];
export type TableRow = components["schemas"]["TableRow"];
export type Row = components["schemas"]["BreakdownRow"];
export type Problem = components["schemas"]["Problem"];
export type Rejected = components["schemas"]["Rejected"];
/** What every answer says about itself; somebody's own is not told what was refused. */
export type Freshness = components["schemas"]["Freshness"] &
  components["schemas"]["Question"] & { rejected?: Rejected };
