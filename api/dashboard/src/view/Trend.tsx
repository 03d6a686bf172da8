import { granularityOf } from "../address/address";
import { useAddress } from "../address/useAddress";
import { questions, useAnswer } from "../client/questions";
import { useLocale } from "../i18n/locale";
import { Read } from "../parts/states";
import { TrendChart } from "./TrendChart";

/** One organization's usage over time. */
export function Trend({ organization }: { organization: string }) {
  const { t } = useLocale();
  const [address] = useAddress();
  const series = useAnswer("series", questions.series(organization, address));
  return (
    <section className="card" aria-label={t.trend.title(t.metric[address.metric])}>
      {series.data === undefined && <h2>{t.trend.title(t.metric[address.metric])}</h2>}
      <Read query={series} lines={6}>
        {(data) => (
          <TrendChart
            buckets={data.buckets}
            whole={data.totals}
            metric={address.metric}
            granularity={granularityOf(address)}
          />
        )}
      </Read>
    </section>
  );
}
