import { useIsFetching, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Freshness } from "../client/types";
import { daysBetween, formatInstant, formatRange, formatSeconds } from "../format/dates";
import { useLocale } from "../i18n/locale";
import { Notice } from "../parts/states";
import { useSession } from "../session/session";
import { RejectedNotice } from "./RejectedNotice";

/** Figures that are further behind are called out. */
const STALE_SECONDS = 5 * 60;

interface Props {
  answer: Freshness;
  children?: ReactNode;
}

/** Which days these figures are of, how fresh and how complete they are, in words. */
export function FreshnessBanner({ answer, children }: Props) {
  const { t, locale } = useLocale();
  const { from, to, timeZone } = answer.range;
  const days = daysBetween(from, to);
  const at = answer.dataAsOf ?? null;
  const behind = answer.lagSeconds ?? 0;
  return (
    <>
      <section className="freshness">
        <p>
          <strong>{t.words.days(formatRange(from, to, locale), days, timeZone)}</strong>
          {" · "}
          <span className="as-of">
            {at === null
              ? t.words.asOfUnknown
              : t.words.asOf(formatInstant(at, locale, timeZone), formatSeconds(behind, locale))}
          </span>
        </p>
        <p className="muted">
          {t.words.notCounted} {children}
        </p>
        <Refresh />
      </section>
      {answer.rejected && <RejectedNotice rejected={answer.rejected} />}
      {at === null && <Notice>{t.notices.unknown}</Notice>}
      {at !== null && behind > STALE_SECONDS && (
        <Notice>{t.notices.stale(formatSeconds(behind, locale))}</Notice>
      )}
      {(answer.gaps ?? []).map((gap) => (
        <Notice key={`${gap.from} ${gap.to}`}>
          {t.notices.gap(formatInstant(gap.from, locale, timeZone), formatInstant(gap.to, locale, timeZone))}
        </Notice>
      ))}
    </>
  );
}

function Refresh() {
  const { t } = useLocale();
  const { refreshes, setRefreshes } = useSession();
  const client = useQueryClient();
  const isBusy = useIsFetching() > 0;
  return (
    <p className="refresh">
      <label>
        <input type="checkbox" checked={refreshes} onChange={(event) => setRefreshes(event.target.checked)} />{" "}
        {t.refresh.label}
      </label>
      <button
        type="button"
        aria-disabled={isBusy}
        onClick={() => void client.refetchQueries({ type: "active" })}
      >
        {isBusy ? t.refresh.busy : t.refresh.now}
      </button>
    </p>
  );
}
