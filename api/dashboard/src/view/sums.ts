// Whether rows add up to what the reader says they do: checked here, in whole units, before it is claimed.

import type { Metric } from "../address/address";
import type { Table, TableRow } from "../client/types";
import { unitsOf } from "../parts/figures";

export interface Line {
  cells: bigint[];
  total: bigint;
}

/** The sums of these rows, column by column. A cost that is not known adds nothing, as in the reader's sums. */
export function sumOf(rows: readonly TableRow[], columns: number, metric: Metric): Line {
  const cells = Array.from({ length: columns }, (_, at) =>
    rows.reduce((sum, row) => {
      const cell = row.cells[at];
      return sum + ((cell && unitsOf(cell, metric)) ?? 0n);
    }, 0n),
  );
  const total = rows.reduce((sum, row) => sum + (unitsOf(row.totals, metric) ?? 0n), 0n);
  return { cells, total };
}

/** Whether the rows add up to the column totals, the columns to the total, and each row to its own. */
export function addsUp(table: Table, metric: Metric): boolean {
  const sum = sumOf(table.rows, table.periods.length, metric);
  const columns = table.columnTotals.map((totals) => unitsOf(totals, metric) ?? 0n);
  const total = unitsOf(table.totals, metric) ?? 0n;
  const ofRow = (row: TableRow) => row.cells.reduce((sum, cell) => sum + (unitsOf(cell, metric) ?? 0n), 0n);
  return (
    sum.total === total &&
    columns.reduce((one, other) => one + other, 0n) === total &&
    columns.every((column, at) => column === sum.cells[at]) &&
    table.rows.every((row) => ofRow(row) === (unitsOf(row.totals, metric) ?? 0n))
  );
}
