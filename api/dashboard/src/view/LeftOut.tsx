import type { Totals } from "../client/types";
import { useLocale } from "../i18n/locale";
import { useFigures } from "../parts/figures";

/** Which requests the figures cannot tell of, in words. */
export function LeftOut({ totals }: { totals: Totals }) {
  const { t } = useLocale();
  const { count } = useFigures();
  const { unpricedRequests, unmeteredRequests } = totals;
  return (
    <>
      {unpricedRequests > 0 && t.words.unpriced(count(unpricedRequests))}{" "}
      {unmeteredRequests > 0 && t.words.unmetered(count(unmeteredRequests))}
    </>
  );
}
