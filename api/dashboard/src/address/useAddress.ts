import { useMemo, useSyncExternalStore } from "react";
import { type Address, change, parse, print } from "./address";

const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("popstate", listener);
  };
}

/** What the history remembers beside an address: the cursors of the pages before. */
interface Remembered {
  cursors?: (string | null)[];
}

/** The cursors of the pages of users before this one, where they are known. */
export function knownCursors(): (string | null)[] | null {
  return (window.history.state as Remembered | null)?.cursors ?? null;
}

function addressOf(to: Address): string {
  const query = print(to);
  return query === "" ? window.location.pathname : `?${query}`;
}

export type Go = (to: Partial<Address>, remember?: Remembered) => void;

/** The state of the page, and the way to another one. */
export function useAddress(): [Address, Go] {
  const search = useSyncExternalStore(subscribe, () => window.location.search);
  const address = useMemo(() => parse(search), [search]);
  const go = useMemo<Go>(
    () => (to, remember) => {
      const from = parse(window.location.search);
      const next = change(from, to);
      const kept = next.cursor === from.cursor ? window.history.state : null;
      window.history.pushState(remember ?? kept, "", addressOf(next));
      for (const listener of listeners) {
        listener();
      }
    },
    [],
  );
  return [address, go];
}
