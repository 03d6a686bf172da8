// What is shown where there are no figures: while they are read, where there are none, and where reading
// them failed. None of these is ever a zero.

import { type UseQueryResult, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { AskError } from "../client/ask";
import type { Rejected } from "../client/types";
import { visible } from "../format/text";
import type { Messages } from "../i18n/en";
import { useLocale } from "../i18n/locale";

export function Loading({ lines = 4 }: { lines?: number }) {
  const { t } = useLocale();
  return (
    <div className="loading" role="status">
      <span className="hidden">{t.loading}</span>
      {Array.from({ length: lines }, (_, line) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the lines are all alike
        <span key={line} className="bone" aria-hidden="true" />
      ))}
    </div>
  );
}

/** What somebody has to know of the figures. */
export function Notice({ children }: { children: ReactNode }) {
  return (
    <p className="notice warn" role="status">
      {children}
    </p>
  );
}

/** A range in which nothing was counted: perhaps since all of it was refused. */
export function Nothing({ rejected }: { rejected?: Rejected }) {
  const { t } = useLocale();
  const said = (rejected?.events ?? 0) > 0 ? t.rejected : t.empty;
  return (
    <div className="card empty">
      <h2>{said.title}</h2>
      <p>{said.hint}</p>
    </div>
  );
}

function said(error: Error, t: Messages, organization?: string): string {
  if (!(error instanceof AskError)) {
    return t.errors.internal;
  }
  switch (error.status) {
    case 0:
      return t.errors.unreachable;
    case 403:
      return organization ? t.errors.forbiddenOrganization(visible(organization)) : t.errors.forbidden;
    case 422:
      return t.errors.tooMuch;
    case 429:
      return t.errors.rate;
    case 503:
      return t.errors.unavailable;
    default:
      return error.status < 500 ? t.errors.question : t.errors.internal;
  }
}

interface FailureProps {
  error: Error;
  retry: () => void;
  organization?: string;
  action?: ReactNode;
}

export function Failure({ error, retry, organization, action }: FailureProps) {
  const { t } = useLocale();
  const problem = error instanceof AskError ? error.problem : null;
  const isQuestion = error instanceof AskError && (error.status === 400 || error.status === 422);
  return (
    <div className="failure" role="alert">
      <p>
        <strong>{t.errors.title}</strong>
      </p>
      <p>{said(error, t, organization)}</p>
      {problem && isQuestion && (
        <p className="muted">
          {t.errors.detail}{" "}
          <span lang="en">
            {problem.parameter && <code>{problem.parameter}</code>} {problem.detail}
          </span>
        </p>
      )}
      <p className="actions">
        <button type="button" onClick={retry}>
          {t.errors.retry}
        </button>
        {action}
      </p>
    </div>
  );
}

interface ReadProps<T> {
  query: UseQueryResult<T>;
  lines?: number;
  organization?: string;
  /** What can be done about an error, besides trying again. */
  action?: (error: Error) => ReactNode;
  children: (data: T) => ReactNode;
}

/** What was read, or why there is nothing. What was read before stays, and is said to be old. */
export function Read<T>({ query, lines, organization, action, children }: ReadProps<T>) {
  const { t } = useLocale();
  const { data, error } = query;
  const client = useQueryClient();
  // What failed together is tried again together.
  const retry = () =>
    void client.refetchQueries({ type: "active", predicate: (one) => one.state.error !== null });
  if (data === undefined) {
    if (error === null || query.isRefetching) {
      return <Loading {...(lines === undefined ? {} : { lines })} />;
    }
    return (
      <Failure
        error={error}
        retry={retry}
        {...(organization ? { organization } : {})}
        action={action?.(error)}
      />
    );
  }
  return (
    <>
      {error && (
        <div className="notice warn" role="alert">
          {t.errors.old}{" "}
          <button type="button" onClick={retry}>
            {t.errors.retry}
          </button>
        </div>
      )}
      {children(data)}
    </>
  );
}
