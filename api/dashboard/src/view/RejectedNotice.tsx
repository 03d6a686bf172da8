import { useAddress } from "../address/useAddress";
import type { Rejected } from "../client/types";
import { useLocale } from "../i18n/locale";
import { useFigures } from "../parts/figures";
import { Notice } from "../parts/states";

/** What was refused and is in no figure, why, and how it is found. */
export function RejectedNotice({ rejected }: { rejected: Rejected }) {
  const { t } = useLocale();
  const { count } = useFigures();
  const [{ filters }] = useAddress();
  const nameless = rejected.withoutOrganization ?? 0;
  if (rejected.events === 0 && nameless === 0) {
    return null;
  }
  // The most frequent first. A newer reader may have reasons that this page does not know.
  const reasons = Object.entries(rejected.reasons)
    .sort(([, one], [, other]) => other - one)
    .map(([code, events]) => `${count(events)} ${t.rejected.reasons[code] ?? t.rejected.otherReason(code)}`);
  return (
    <Notice>
      {rejected.events > 0 && t.rejected.events(count(rejected.events), rejected.events, reasons.join(", "))}{" "}
      {rejected.events > 0 && Object.keys(filters).length > 0 && t.rejected.unfiltered}{" "}
      {nameless > 0 && t.rejected.withoutOrganization(count(nameless), nameless)} {t.rejected.find}{" "}
      <code>usage-ledger dead-letters list</code>
    </Notice>
  );
}
