import type { ReactNode } from "react";
import type { Filters } from "../address/address";
import { useAddress } from "../address/useAddress";
import { questions, useAnswer } from "../client/questions";
import type { Breakdown, Row } from "../client/types";
import { formatCount, formatShare } from "../format/numbers";
import { useLocale } from "../i18n/locale";
import { nameOf } from "../i18n/names";
import { decimalsOf, Figure, shareOf, unitsOf } from "../parts/figures";
import { Read } from "../parts/states";
import { Value } from "../parts/Value";

/** What was used most: assistants, models, sources. A click on one shows only it. */
export function TopLists({ organization }: { organization: string }) {
  const { t } = useLocale();
  const [{ filters }, go] = useAddress();
  const only = (more: Filters) => () => go({ filters: { ...filters, ...more } });
  return (
    <div className="lists">
      <TopList organization={organization} by="agent" title={t.top.agents} column={t.top.agent}>
        {({ agentSlug = "" }) => (
          <Value dimension="agentSlug" value={agentSlug} filter={only({ agentSlug: [agentSlug] })} />
        )}
      </TopList>
      <TopList organization={organization} by="model" title={t.top.models} column={t.top.model}>
        {({ model = "", provider = "" }) => (
          <>
            <Value
              dimension="model"
              value={model}
              // One model of one provider: others may offer a model of that name, too.
              filter={only({ model: [model], provider: [provider] })}
            />{" "}
            <bdi className="badge">{nameOf(provider, t)}</bdi>
          </>
        )}
      </TopList>
      <TopList organization={organization} by="source" title={t.top.sources} column={t.top.source}>
        {({ source = "" }) => <Value dimension="source" value={source} filter={only({ source: [source] })} />}
      </TopList>
    </div>
  );
}

interface Props {
  organization: string;
  by: "agent" | "model" | "source";
  title: string;
  column: string;
  children: (row: Row) => ReactNode;
}

function TopList({ organization, by, title, column, children }: Props) {
  const [address] = useAddress();
  const answer = useAnswer("breakdown", questions.top(organization, address, by));
  return (
    <section className="card" aria-labelledby={`top-${by}`}>
      <h2 id={`top-${by}`}>{title}</h2>
      <Read query={answer}>{(data) => <Ranked data={data} column={column} name={children} />}</Read>
    </section>
  );
}

function Ranked({ data, column, name }: { data: Breakdown; column: string; name: (row: Row) => ReactNode }) {
  const { t, locale } = useLocale();
  const [{ metric }] = useAddress();
  const whole = unitsOf(data.totals, metric);
  const decimals = decimalsOf(data.rows.map((row) => row.totals));
  if (data.rows.length === 0) {
    return <p className="muted">{t.empty.rows}</p>;
  }
  return (
    <table className="ranked">
      <thead>
        <tr>
          <th scope="col">{column}</th>
          <th scope="col" className="number">
            {t.metric[metric]}
          </th>
          <th scope="col" className="number">
            {t.top.share}
          </th>
        </tr>
      </thead>
      <tbody>
        {data.rows.map((row) => {
          const units = unitsOf(row.totals, metric);
          const share = shareOf(units, whole);
          return (
            <tr key={[row.agentSlug, row.provider, row.model, row.source].join(" ")}>
              <th scope="row">
                {name(row)}
                <span className="share" aria-hidden="true">
                  <span style={{ width: `${share * 100}%` }} />
                </span>
              </th>
              <td className="number">
                <Figure totals={row.totals} metric={metric} decimals={decimals} />
              </td>
              <td className="number muted">{units === null ? "–" : formatShare(share, locale)}</td>
            </tr>
          );
        })}
      </tbody>
      <tfoot>
        {data.other && (
          <tr>
            <th scope="row">{t.top.other(formatCount(data.other.count, locale))}</th>
            <td className="number">
              <Figure totals={data.other.totals} metric={metric} decimals={decimals} />
            </td>
            <td />
          </tr>
        )}
        <tr className="sum">
          <th scope="row">{t.top.total}</th>
          <td className="number">
            <Figure totals={data.totals} metric={metric} decimals={decimals} />
          </td>
          <td />
        </tr>
      </tfoot>
    </table>
  );
}
