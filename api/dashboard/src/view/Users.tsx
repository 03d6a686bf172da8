import { Fragment, type ReactNode } from "react";
import type { Metric } from "../address/address";
import { knownCursors, useAddress } from "../address/useAddress";
import { AskError } from "../client/ask";
import { questions, sortOf, USERS_PER_PAGE, useAnswer } from "../client/questions";
import type { Breakdown, Row } from "../client/types";
import { useLocale } from "../i18n/locale";
import { Cost, decimalsOf, useFigures } from "../parts/figures";
import { Read } from "../parts/states";
import { Value } from "../parts/Value";
import { CsvButton } from "./CsvButton";

/** Everybody who used something, in pages. */
export function Users({ organization }: { organization: string }) {
  const { t } = useLocale();
  const [address, go] = useAddress();
  const query = questions.users(organization, address);
  const users = useAnswer("breakdown", query);
  const { limit: _, cursor: __, ...whole } = query;
  const isGone = (error: Error) => error instanceof AskError && error.problem?.parameter === "cursor";
  return (
    <section className="card" aria-labelledby="users">
      <div className="title">
        <h2 id="users">{t.users.title}</h2>
        <CsvButton name="breakdown" query={whole} title={t.users.title} file={`${organization}-users`} />
      </div>
      <Read
        query={users}
        lines={8}
        action={(error) =>
          isGone(error) && (
            <button type="button" onClick={() => go({ page: 1, cursor: null })}>
              {t.errors.firstPage}
            </button>
          )
        }
      >
        {(data) => <UsersTable data={data} />}
      </Read>
    </section>
  );
}

function UsersTable({ data }: { data: Breakdown }) {
  const { t } = useLocale();
  const { rows } = data;
  if (rows.length === 0) {
    return <p className="muted">{t.empty.rows}</p>;
  }
  const decimals = decimalsOf(rows.map((row) => row.totals));
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable without a mouse */}
      <section className="scroll" tabIndex={0} aria-label={t.table.scroll(t.users.title)}>
        <table className="users">
          <thead>
            <tr>
              <th scope="col">{t.users.user}</th>
              <th scope="col">{t.users.team}</th>
              <Sortable metric="requests">{t.users.requests}</Sortable>
              <th scope="col" className="number">
                {t.users.input}
              </th>
              <th scope="col" className="number">
                {t.users.output}
              </th>
              <Sortable metric="tokens">{t.users.tokens}</Sortable>
              <Sortable metric="cost">{t.users.cost}</Sortable>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <UserRow key={row.userId} row={row} decimals={decimals} />
            ))}
          </tbody>
        </table>
      </section>
      <Pages data={data} />
    </>
  );
}

function Sortable({ metric, children }: { metric: Metric; children: ReactNode }) {
  const { t } = useLocale();
  const [address, go] = useAddress();
  const isSorted = sortOf(address) === metric;
  return (
    <th scope="col" className="number" aria-sort={isSorted ? "descending" : undefined}>
      <button
        type="button"
        className="link"
        title={t.users.sort(t.users[metric])}
        onClick={() => go({ sort: metric })}
      >
        {children} <span aria-hidden="true">{isSorted ? "▼" : "▽"}</span>
      </button>
    </th>
  );
}

function UserRow({ row, decimals }: { row: Row; decimals: number }) {
  const { count } = useFigures();
  const [{ filters }, go] = useAddress();
  const { userId = "", totals } = row;
  return (
    <tr>
      <th scope="row">
        <Value
          dimension="userId"
          value={userId}
          filter={() => go({ filters: { ...filters, userId: [userId] } })}
        />
      </th>
      <td>
        <Teams row={row} />
      </td>
      <td className="number">{count(totals.requests)}</td>
      <td className="number">{count(totals.inputTokens)}</td>
      <td className="number">{count(totals.outputTokens)}</td>
      <td className="number">{count(totals.totalTokens)}</td>
      <td className="number">
        <Cost cost={totals.cost} decimals={decimals} />
      </td>
    </tr>
  );
}

/** The teams under which somebody used something: the reader names a few, and says how many there are. */
function Teams({ row: { teams = [], teamCount = 0 } }: { row: Row }) {
  const { t } = useLocale();
  const { count } = useFigures();
  const [{ filters }, go] = useAddress();
  if (teams.length === 0) {
    return <span className="muted">{t.names.noTeam}</span>;
  }
  return (
    <>
      {teams.map((team, at) => (
        <Fragment key={team}>
          {at > 0 && ", "}
          <Value
            dimension="teamId"
            value={team}
            filter={() => go({ filters: { ...filters, teamId: [team] } })}
          />
        </Fragment>
      ))}
      {teamCount > teams.length && (
        <span className="muted"> {t.users.moreTeams(count(teamCount - teams.length))}</span>
      )}
    </>
  );
}

function Pages({ data }: { data: Breakdown }) {
  const { t } = useLocale();
  const { count } = useFigures();
  const [{ page, cursor }, go] = useAddress();
  const before = (page - 1) * USERS_PER_PAGE;
  const all = before + data.rows.length + (data.other?.count ?? 0);
  // Known where somebody came page by page; a link to a page knows only the first one.
  const cursors = knownCursors() ?? (page === 2 ? [null] : []);
  const next = data.nextCursor ?? null;
  return (
    <nav className="pages" aria-label={t.users.pages}>
      <span className="muted" role="status">
        {t.users.shown(count(before + 1), count(before + data.rows.length), count(all))}
      </span>
      <span className="spacer" />
      <button type="button" disabled={cursor === null} onClick={() => go({ page: 1, cursor: null })}>
        {t.users.first}
      </button>
      <button
        type="button"
        disabled={cursor === null || cursors.length === 0}
        onClick={() =>
          go({ page: page - 1, cursor: cursors.at(-1) ?? null }, { cursors: cursors.slice(0, -1) })
        }
      >
        {t.users.previous}
      </button>
      <button
        type="button"
        disabled={next === null}
        onClick={() => go({ page: page + 1, cursor: next }, { cursors: [...cursors, cursor] })}
      >
        {t.users.next}
      </button>
    </nav>
  );
}
