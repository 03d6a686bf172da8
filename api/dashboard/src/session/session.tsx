import { QueryCache, QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useMemo, useRef, useState } from "react";
import { AskError, ask, asksAgain, waitOf } from "../client/ask";
import { type Claims, claimsOf, stored } from "./token";

/** Why somebody has to sign in. */
export type Reason = "first" | "expired" | "refused" | "malformed" | "left";

export interface Session {
  token: string | null;
  /** What the token says; `null` where none is needed. */
  claims: Claims | null;
  refreshes: boolean;
  setRefreshes: (refreshes: boolean) => void;
  signOut: () => void;
}

const Context = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(Context);
  if (!session) {
    throw new Error("there is no session here");
  }
  return session;
}

function reasonOf(token: string | null): Reason {
  const claims = token === null ? null : claimsOf(token);
  if (token === null) {
    return "first";
  }
  return claims && claims.expires * 1_000 < Date.now() ? "expired" : "refused";
}

interface Props {
  children: ReactNode;
  /** What somebody sees who has to sign in. */
  signIn: (reason: Reason, enter: (token: string) => void) => ReactNode;
  /** What is seen until it is known whether a token is needed. */
  pending: (error: Error | null, retry: () => void) => ReactNode;
}

/** Whoever looks at the page, with a token or, where the reader asks for none, without. */
export function SessionProvider({ children, signIn, pending }: Props) {
  const [token, setToken] = useState(stored.read);
  const [reason, setReason] = useState<Reason | null>(null);
  const [refreshes, setRefreshes] = useState(true);
  const current = useRef(token);
  const left = useRef(false);
  const leave = useCallback((why: Reason) => {
    stored.clear();
    left.current = true;
    current.current = null;
    setToken(null);
    setReason(why);
  }, []);
  const client = useMemo(() => {
    const onError = (error: Error) => {
      // Several questions are refused together: the first one says why.
      if (error instanceof AskError && error.status === 401 && !left.current) {
        leave(reasonOf(current.current));
      }
    };
    return new QueryClient({
      queryCache: new QueryCache({ onError }),
      defaultOptions: {
        queries: { networkMode: "always", retry: asksAgain, retryDelay: waitOf, staleTime: 10_000 },
      },
    });
  }, [leave]);
  const enter = useCallback(
    (text: string) => {
      const entered = text.trim().replace(/^Bearer\s+/i, "");
      if (claimsOf(entered) === null) {
        setReason("malformed");
        return;
      }
      client.clear();
      stored.write(entered);
      left.current = false;
      current.current = entered;
      setToken(entered);
      setReason(null);
    },
    [client],
  );
  const signOut = useCallback(() => {
    client.clear();
    leave("left");
  }, [client, leave]);
  const claims = useMemo(() => (token === null ? null : claimsOf(token)), [token]);
  const session = useMemo<Session>(
    () => ({ token, claims, refreshes, setRefreshes, signOut }),
    [token, claims, refreshes, signOut],
  );
  if (reason !== null) {
    return signIn(reason, enter);
  }
  return (
    <QueryClientProvider client={client}>
      <Context.Provider value={session}>
        {token === null ? <Open pending={pending}>{children}</Open> : children}
      </Context.Provider>
    </QueryClientProvider>
  );
}

/** Finds out whether the reader answers without a token. */
function Open({ children, pending }: Pick<Props, "children" | "pending">) {
  const probe = useQuery({
    queryKey: ["open"],
    queryFn: ({ signal }) => ask("meta", {}, null, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return probe.isSuccess ? children : pending(probe.error, () => void probe.refetch());
}
