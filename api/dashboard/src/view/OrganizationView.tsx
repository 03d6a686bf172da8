import { useAddress } from "../address/useAddress";
import { AskError } from "../client/ask";
import { questions, useAnswer } from "../client/questions";
import { dayOf, formatRange } from "../format/dates";
import { formatShare } from "../format/numbers";
import { useLocale } from "../i18n/locale";
import { shareOf, useFigures } from "../parts/figures";
import { Failure, Nothing, Read } from "../parts/states";
import { useSession } from "../session/session";
import { manages } from "../session/token";
import { AgentsTable } from "./AgentsTable";
import { Card, Cards, claimOf } from "./Cards";
import { FreshnessBanner } from "./FreshnessBanner";
import { LeftOut } from "./LeftOut";
import { TopLists } from "./TopLists";
import { Trend } from "./Trend";
import { Users } from "./Users";

/** The usage of one organization. */
export function OrganizationView({ organization }: { organization: string }) {
  const { t } = useLocale();
  const [address, go] = useAddress();
  const { claims } = useSession();
  const summary = useAnswer("summary", questions.summary(organization, address));
  const elsewhere = (
    <button type="button" onClick={() => go({ organization: null, filters: {}, open: [] })}>
      {t.errors.other}
    </button>
  );
  if (summary.error instanceof AskError && summary.error.status === 403) {
    const retry = () => void summary.refetch();
    return <Failure error={summary.error} retry={retry} organization={organization} action={elsewhere} />;
  }
  // Where the token does not name the organization, the rest waits for the reader to decide.
  const isExpected = claims === null || claims.staff || manages(claims.organizations.get(organization));
  return (
    <>
      <Read query={summary}>{(data) => <Totals data={data} />}</Read>
      {(isExpected || summary.isSuccess) && (
        <>
          <Trend organization={organization} />
          <TopLists organization={organization} />
          <Users organization={organization} />
          <AgentsTable organization={organization} />
        </>
      )}
    </>
  );
}

function Totals({ data }: { data: NonNullable<ReturnType<typeof useAnswer<"summary">>["data"]> }) {
  const { t, locale } = useLocale();
  const { count } = useFigures();
  const { totals, previous, unattributed } = data;
  const share = shareOf(BigInt(unattributed.requests), BigInt(totals.requests));
  const endsToday = data.range.to >= dayOf(data.generatedAt, data.range.timeZone);
  return (
    <>
      <FreshnessBanner answer={data}>
        <LeftOut totals={totals} />{" "}
        {t.change.against(formatRange(previous.range.from, previous.range.to, locale))}{" "}
        {endsToday && t.words.today}
      </FreshnessBanner>
      <Cards totals={totals} before={previous.totals} rejected={data.rejected}>
        <Card title={t.cards.users} note={t.cards.named}>
          {count(data.activeUsers)}
        </Card>
        <Card
          title={t.cards.agents}
          note={
            unattributed.requests > 0
              ? t.cards.unattributed(formatShare(share, locale))
              : claimOf(totals, data.rejected, t, t.cards.attributed)
          }
        >
          {count(data.activeAgents)}
        </Card>
      </Cards>
      {totals.requests === 0 && <Nothing rejected={data.rejected} />}
    </>
  );
}
