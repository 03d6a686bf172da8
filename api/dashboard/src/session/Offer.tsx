import { type ReactNode, useSyncExternalStore } from "react";
import { visible } from "../format/text";
import { useLocale } from "../i18n/locale";
import { claimsOf, meet, stored, takeToken } from "./token";

/** A token that a link brought, while somebody else is signed in. */
let offered: string | null = null;
const listeners = new Set<() => void>();

function offer(token: string | null): void {
  offered = token;
  for (const listener of listeners) {
    listener();
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Takes a token out of the address: it does not stay where people could see or copy it. Tells whether it is
 * the session's by now.
 */
export function adoptToken(): boolean {
  const { token, rest } = takeToken(window.location.hash);
  if (token === null) {
    return false;
  }
  const { pathname, search } = window.location;
  window.history.replaceState(window.history.state, "", pathname + search + rest);
  switch (meet(stored.read(), token, Date.now())) {
    case "take":
      stored.write(token);
      return true;
    case "ask":
      offer(token);
      return false;
    default:
      return false;
  }
}

function subjectOf(token: string | null): string {
  return visible((token === null ? null : claimsOf(token))?.subject ?? "");
}

/** Asks whether to become somebody else, where a link wants that; what is below waits. */
export function Offer({ children }: { children: ReactNode }) {
  const { t } = useLocale();
  const token = useSyncExternalStore(subscribe, () => offered);
  if (token === null) {
    return children;
  }
  const [kept, other] = [subjectOf(stored.read()), subjectOf(token)];
  const change = () => {
    stored.write(token);
    window.location.reload();
  };
  return (
    <main className="sign-in">
      <div className="card" role="alertdialog" aria-labelledby="offer" aria-describedby="offer-why">
        <h1 id="offer">{t.offer.title}</h1>
        <p id="offer-why">{t.offer.why(kept, other)}</p>
        <p className="actions">
          <button type="button" className="primary" onClick={() => offer(null)}>
            {t.offer.stay(kept)}
          </button>
          <button type="button" onClick={change}>
            {t.offer.change(other)}
          </button>
        </p>
      </div>
    </main>
  );
}
