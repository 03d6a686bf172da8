import { granularityOf } from "../address/address";
import { useAddress } from "../address/useAddress";
import { questions, useAnswer } from "../client/questions";
import type { Table } from "../client/types";
import { formatRange } from "../format/dates";
import { useLocale } from "../i18n/locale";
import { useFigures } from "../parts/figures";
import { Nothing, Read } from "../parts/states";
import { Card, Cards } from "./Cards";
import { CsvButton } from "./CsvButton";
import { FreshnessBanner } from "./FreshnessBanner";
import { LeftOut } from "./LeftOut";
import { PeriodTable } from "./PeriodTable";
import { TrendChart } from "./TrendChart";

/** The usage of all organizations. */
export function PlatformView() {
  const { t } = useLocale();
  const [address] = useAddress();
  const query = questions.platform(address);
  const table = useAnswer("table", query);
  return (
    <Read query={table} lines={10}>
      {(data) => (
        <>
          <Totals data={data} />
          {data.rows.length > 0 && (
            <>
              <section className="card" aria-label={t.trend.title(t.metric[address.metric])}>
                <TrendChart
                  buckets={data.periods.flatMap((period, at) => {
                    const totals = data.columnTotals[at];
                    return totals ? [{ ...period, totals }] : [];
                  })}
                  whole={data.totals}
                  metric={address.metric}
                  granularity={granularityOf(address)}
                />
              </section>
              <section className="card" aria-labelledby="table">
                <div className="title">
                  <h2 id="table">{t.table.platform}</h2>
                  <CsvButton name="table" query={query} title={t.table.platform} file="organizations" />
                </div>
                <PeriodTable data={data} title={t.table.platform} />
              </section>
            </>
          )}
        </>
      )}
    </Read>
  );
}

function Totals({ data }: { data: Table }) {
  const { t, locale } = useLocale();
  const { count } = useFigures();
  const [address] = useAddress();
  const beforeQuery = questions.platformBefore(address, data);
  const before = useAnswer("table", beforeQuery);
  const { totals, excludedOrganizations } = data;
  return (
    <>
      <FreshnessBanner answer={data}>
        <LeftOut totals={totals} />{" "}
        {t.change.against(formatRange(beforeQuery.from ?? "", beforeQuery.to ?? "", locale))}{" "}
        {excludedOrganizations.length > 0 && (
          <span className="excluded">{t.words.excluded(excludedOrganizations.join(", "))}</span>
        )}
      </FreshnessBanner>
      <Cards totals={totals} before={before.data?.totals} rejected={data.rejected}>
        <Card title={t.cards.organizations} note={t.cards.named}>
          {count(data.rows.length)}
        </Card>
      </Cards>
      {data.rows.length === 0 && <Nothing rejected={data.rejected} />}
    </>
  );
}
