import type { ReactNode } from "react";
import type { Metric } from "../address/address";
import type { Rejected, Totals } from "../client/types";
import { changeOf } from "../format/change";
import { formatShare } from "../format/numbers";
import type { Messages } from "../i18n/en";
import { useLocale } from "../i18n/locale";
import { Cost, unitsOf, useFigures } from "../parts/figures";

interface CardProps {
  title: string;
  /** The figure that a change is shown of. */
  metric?: Metric;
  now?: Totals;
  before?: Totals | undefined;
  note: ReactNode;
  children: ReactNode;
}

function Card({ title, metric, now, before, note, children }: CardProps) {
  return (
    <section className="card">
      <h2>{title}</h2>
      <p className="figure">{children}</p>
      {metric && now && before && <Delta metric={metric} now={now} before={before} />}
      <p className="muted note">{note}</p>
    </section>
  );
}

/** More is neither good nor bad, but of cost it is worth a look. */
function Delta({ metric, now, before }: { metric: Metric; now: Totals; before: Totals }) {
  const { t, locale } = useLocale();
  const change = changeOf(unitsOf(now, metric), unitsOf(before, metric));
  if (change.kind !== "up" && change.kind !== "down") {
    return <p className="delta">{t.change[change.kind]}</p>;
  }
  const share = formatShare(change.ratio, locale);
  return (
    <p className={`delta ${metric === "cost" && change.kind === "up" ? "attention" : ""}`}>
      <span aria-hidden="true">{change.kind === "up" ? "▲" : "▼"}</span> {t.change[change.kind](share)}
    </p>
  );
}

interface Props {
  totals: Totals;
  before?: Totals | undefined;
  /** What was refused, where it is known whose it is. */
  rejected?: Rejected;
  /** Cards that only one view has. */
  children?: ReactNode;
}

/** What is claimed of every request: of none there is nothing to claim, nor where some were refused. */
export function claimOf(
  totals: Totals,
  rejected: Rejected | undefined,
  t: Messages,
  ofEvery: string,
): string {
  if ((rejected?.events ?? 0) > 0) {
    return t.cards.refused;
  }
  return totals.requests > 0 ? ofEvery : t.cards.none;
}

/** Totals, and what they were before. */
export function Cards({ totals, before, rejected, children }: Props) {
  const { t } = useLocale();
  const { count } = useFigures();
  const refused = rejected?.events ?? 0;
  // Where nothing but refused events came, no cost is known, and there is nothing to compare.
  const isUnknown = totals.requests === 0 && refused > 0;
  const compared = isUnknown ? undefined : before;
  const failed = t.cards.failed(count(totals.failedRequests), count(totals.abortedRequests));
  return (
    <div className="cards">
      <Card
        title={t.cards.requests}
        metric="requests"
        now={totals}
        before={compared}
        note={refused > 0 ? `${failed}; ${t.cards.alsoRefused(count(refused))}` : failed}
      >
        {count(totals.requests)}
      </Card>
      <Card
        title={t.cards.tokens}
        metric="tokens"
        now={totals}
        before={compared}
        note={
          <>
            {t.cards.split(count(totals.inputTokens), count(totals.outputTokens))}
            {totals.unmeteredRequests > 0 && (
              <span className="left-out">{t.cards.unmetered(count(totals.unmeteredRequests))}</span>
            )}
          </>
        }
      >
        {count(totals.totalTokens)}
      </Card>
      <Card
        title={totals.cost ? `${t.cards.cost} (${totals.cost.currency})` : t.cards.cost}
        metric="cost"
        now={totals}
        before={compared}
        note={
          totals.unpricedRequests > 0 ? (
            <span className="left-out">{t.cards.unpriced(count(totals.unpricedRequests))}</span>
          ) : (
            claimOf(totals, rejected, t, t.cards.allPriced)
          )
        }
      >
        {isUnknown ? <span className="not-priced">{t.cards.unknown}</span> : <Cost cost={totals.cost} />}
      </Card>
      {children}
    </div>
  );
}

export { Card };
