import { useMemo, useState } from "react";
import { granularityOf, type Metric } from "../address/address";
import { useAddress } from "../address/useAddress";
import { questions, useAnswer } from "../client/questions";
import type { Table, TableRow, Totals } from "../client/types";
import { formatPeriod, formatRange } from "../format/dates";
import { useLocale } from "../i18n/locale";
import { nameOf, UNATTRIBUTED } from "../i18n/names";
import { decimalsOf, NotPriced, Sum, unitsOf, useFigures } from "../parts/figures";
import { Failure } from "../parts/states";
import { Value } from "../parts/Value";
import { CsvButton } from "./CsvButton";
import { addsUp, sumOf } from "./sums";

const ALL_DECIMALS = 9;
/** Rows that are shown at once; what is not shown is summed in one line. */
const STEP = 50;

/** Rows by periods, the largest first, with sums that match. */
export function PeriodTable({ data, title }: { data: Table; title: string }) {
  const { t, locale } = useLocale();
  const [address, go] = useAddress();
  const [shown, setShown] = useState(STEP);
  const { metric, exact } = address;
  const granularity = granularityOf(address);
  const rows = useMemo(() => ranked(data, metric), [data, metric]);
  const decimals = exact ? ALL_DECIMALS : decimalsOf(rows.flatMap((row) => row.cells));
  const style: Style = { metric, decimals, currency: currencyOf(data) };
  const rest = rows.slice(shown);
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable without a mouse */}
      <section className="scroll periods" tabIndex={0} aria-label={t.table.scroll(title)}>
        <table>
          <thead>
            <tr>
              <th scope="col">{data.scope === "platform" ? t.table.organization : t.table.agent}</th>
              <th scope="col" className="number">
                {t.table.total}
              </th>
              {data.periods.map((period) => {
                const unfinished = period.partial || !period.complete;
                const why = [period.partial && t.trend.partial, !period.complete && t.trend.open];
                const days = formatRange(period.start, period.end, locale);
                return (
                  <th
                    key={period.periodKey}
                    scope="col"
                    className={`number ${unfinished ? "unfinished" : ""}`}
                    title={[days, ...why.filter(Boolean)].join(", ")}
                  >
                    {formatPeriod(period.periodKey, granularity, locale, t.week)}
                    {unfinished && "*"}
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {rows
              .slice(0, shown)
              .map((row) =>
                data.scope === "platform" ? (
                  <OrganizationRows key={row.organizationId} row={row} style={style} />
                ) : (
                  <AgentRow key={row.agentSlug} row={row} style={style} />
                ),
              )}
            {rest.length > 0 && <RestRow rows={rest} columns={data.periods.length} style={style} />}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">{t.table.total}</th>
              <Cells totals={data.totals} cells={data.columnTotals} style={style} />
            </tr>
          </tfoot>
        </table>
      </section>
      <Footnotes data={data} rows={rows.length} style={style}>
        {rest.length > 0 && (
          <button type="button" onClick={() => setShown(shown + STEP)}>
            {t.table.more(String(Math.min(STEP, rest.length)))}
          </button>
        )}
        {metric === "cost" && (
          <label>
            <input
              type="checkbox"
              checked={exact}
              onChange={(event) => go({ exact: event.target.checked })}
            />{" "}
            {t.table.exact}
          </label>
        )}
      </Footnotes>
    </>
  );
}

interface Style {
  metric: Metric;
  decimals: number;
  currency: string;
}

function currencyOf(data: Table): string {
  return [data.totals, ...data.columnTotals].find((totals) => totals.cost)?.cost?.currency ?? "USD";
}

/** The largest of the metric first, and what names nobody last: the reader ranks by cost. */
function ranked(data: Table, metric: Metric): TableRow[] {
  const isLast = (row: TableRow) => row.agentSlug === UNATTRIBUTED;
  return [...data.rows].sort((one, other) => {
    if (isLast(one) !== isLast(other)) {
      return isLast(one) ? 1 : -1;
    }
    const [a, b] = [unitsOf(one.totals, metric) ?? 0n, unitsOf(other.totals, metric) ?? 0n];
    return a === b ? 0 : a > b ? -1 : 1;
  });
}

function Cell({ totals, style }: { totals: Totals; style: Style }) {
  const { metric, ...money } = style;
  const units = unitsOf(totals, metric);
  return (
    <td className="number">
      {units === null ? <NotPriced /> : units === 0n ? "–" : <Sum units={units} metric={metric} {...money} />}
    </td>
  );
}

function Cells({ totals, cells, style }: { totals: Totals; cells: readonly Totals[]; style: Style }) {
  return (
    <>
      <Cell totals={totals} style={style} />
      {cells.map((cell, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a cell is known by its column
        <Cell key={at} totals={cell} style={style} />
      ))}
    </>
  );
}

/** An organization and, where it is expanded, its assistants. */
function OrganizationRows({ row, style }: { row: TableRow; style: Style }) {
  const { t } = useLocale();
  const [address, go] = useAddress();
  const { open } = address;
  const id = row.organizationId ?? "";
  const name = nameOf(id, t);
  const isOpen = open.includes(id);
  const toggle = () => go({ open: isOpen ? open.filter((one) => one !== id) : [...open, id] });
  return (
    <>
      <tr>
        <th scope="row">
          <button
            type="button"
            className="expand"
            aria-expanded={isOpen}
            aria-label={(isOpen ? t.table.collapse : t.table.expand)(name)}
            onClick={toggle}
          >
            <span aria-hidden="true">{isOpen ? "▾" : "▸"}</span>
          </button>{" "}
          <button
            type="button"
            className="value link"
            title={t.table.open(name)}
            onClick={() => go({ organization: id, open: [] })}
          >
            <bdi>{name}</bdi>
          </button>{" "}
          {isOpen && (
            <CsvButton
              name="table"
              query={questions.agents(id, address)}
              title={name}
              file={`${id}-assistants`}
            />
          )}
        </th>
        <Cells totals={row.totals} cells={row.cells} style={style} />
      </tr>
      {isOpen && <Agents organization={id} columns={row.cells.length} style={style} />}
    </>
  );
}

/** The assistants of an expanded organization, read when it was expanded. */
function Agents({ organization, columns, style }: { organization: string; columns: number; style: Style }) {
  const { t } = useLocale();
  const [address] = useAddress();
  const agents = useAnswer("table", questions.agents(organization, address));
  if (agents.data === undefined) {
    return (
      <tr className="child">
        <td colSpan={columns + 2}>
          {agents.error ? (
            <Failure error={agents.error} retry={() => void agents.refetch()} organization={organization} />
          ) : (
            <span role="status">{t.loading}</span>
          )}
        </td>
      </tr>
    );
  }
  return (
    <>
      {agents.error && (
        <tr className="child">
          <td colSpan={columns + 2}>
            <span role="alert" className="wrong">
              {t.errors.old}
            </span>
          </td>
        </tr>
      )}
      {ranked(agents.data, style.metric).map((row) => (
        <AgentRow key={row.agentSlug} row={row} style={style} child />
      ))}
    </>
  );
}

function AgentRow({ row, style, child }: { row: TableRow; style: Style; child?: boolean }) {
  const [{ filters, organization }, go] = useAddress();
  const agent = row.agentSlug ?? "";
  // An assistant of an organization that is not chosen cannot be filtered by alone.
  const filter = child ? undefined : () => go({ organization, filters: { ...filters, agentSlug: [agent] } });
  return (
    <tr className={child ? "child" : undefined}>
      <th scope="row">
        <Value dimension="agentSlug" value={agent} {...(filter ? { filter } : {})} />
      </th>
      <Cells totals={row.totals} cells={row.cells} style={style} />
    </tr>
  );
}

function RestRow({ rows, columns, style }: { rows: TableRow[]; columns: number; style: Style }) {
  const { t } = useLocale();
  const { count } = useFigures();
  const sum = sumOf(rows, columns, style.metric);
  return (
    <tr className="rest">
      <th scope="row">{t.table.rest(count(rows.length))}</th>
      {[sum.total, ...sum.cells].map((units, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a cell is known by its column
        <td key={at} className="number">
          {units === 0n ? "–" : <Sum units={units} {...style} />}
        </td>
      ))}
    </tr>
  );
}

interface FootnotesProps {
  data: Table;
  rows: number;
  style: Style;
  children: React.ReactNode;
}

function Footnotes({ data, rows, style, children }: FootnotesProps) {
  const { t } = useLocale();
  const { count } = useFigures();
  const matches = useMemo(() => addsUp(data, style.metric), [data, style.metric]);
  const [{ open }] = useAddress();
  const hasUnattributed = open.length > 0 || data.rows.some((row) => row.agentSlug === UNATTRIBUTED);
  const hasUnfinished = data.periods.some((period) => period.partial || !period.complete);
  return (
    <div className="footnotes">
      {children}
      <p className={matches ? "adds" : "wrong"} role={matches ? undefined : "alert"}>
        <span aria-hidden="true">{matches ? "✓" : "!"}</span>{" "}
        {matches ? t.table.adds(count(rows)) : t.table.differs}
      </p>
      <p className="muted">
        {t.table.dash} {style.metric === "cost" && style.decimals < ALL_DECIMALS && t.table.rounded}{" "}
        {hasUnfinished && t.table.unfinished}
      </p>
      {hasUnattributed && (
        <p className="muted">
          <em>{t.names.unattributed}</em>: {t.names.unattributedWhy}
        </p>
      )}
    </div>
  );
}
