import { useAddress } from "../address/useAddress";
import { questions, useAnswer } from "../client/questions";
import { formatRange } from "../format/dates";
import { useLocale } from "../i18n/locale";
import { Nothing, Read } from "../parts/states";
import { Cards } from "./Cards";
import { FreshnessBanner } from "./FreshnessBanner";
import { LeftOut } from "./LeftOut";

/** What a member used. */
export function OwnView({ organization }: { organization: string }) {
  const { t, locale } = useLocale();
  const [address] = useAddress();
  const own = useAnswer("me", questions.own(organization, address));
  return (
    <Read query={own} organization={organization}>
      {(data) => (
        <>
          <FreshnessBanner answer={data}>
            <LeftOut totals={data.totals} />{" "}
            {t.change.against(formatRange(data.previous.range.from, data.previous.range.to, locale))}
          </FreshnessBanner>
          <section className="card own">
            <h2>{t.own.title}</h2>
            <p className="muted">{t.own.help}</p>
          </section>
          <Cards totals={data.totals} before={data.previous.totals} />
          {data.totals.requests === 0 && <Nothing />}
        </>
      )}
    </Read>
  );
}
