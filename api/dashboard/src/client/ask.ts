import type { Name, Problem, Questions } from "./types";

/** A question that was not answered. Status 0: the reader was not reached. */
export class AskError extends Error {
  readonly status: number;
  readonly problem: Problem | null;
  readonly retryAfterSeconds: number | null;

  constructor(status: number, problem: Problem | null, retryAfterSeconds: number | null) {
    super(problem?.detail ?? `status ${status}`);
    this.status = status;
    this.problem = problem;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The query text of a question; lists are repeated, and what is absent is left out. */
export function queryOf(query: object): string {
  const text = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) {
        text.append(name, String(one));
      }
    }
  }
  return text.toString();
}

async function failed(response: Response): Promise<AskError> {
  const isProblem = response.headers.get("content-type")?.includes("json") ?? false;
  const problem = isProblem ? ((await response.json().catch(() => null)) as Problem | null) : null;
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return new AskError(response.status, problem, Number.isFinite(seconds) ? seconds : null);
}

async function send(
  name: Name,
  query: object,
  token: string | null,
  accept: string,
  signal?: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = { accept };
  if (token !== null) {
    headers.authorization = `Bearer ${token}`;
  }
  let response: Response;
  try {
    // Beside the page, below whatever path it is. Never from a cache: a body that is not sent again would say how
    // fresh it was then.
    response = await fetch(`v1/usage/${name}?${queryOf(query)}`, {
      headers,
      cache: "no-store",
      credentials: "omit",
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (signal?.aborted) {
      throw error;
    }
    throw new AskError(0, null, null);
  }
  if (!response.ok) {
    throw await failed(response);
  }
  return response;
}

/** Asks the reader. */
export async function ask<N extends Name>(
  name: N,
  query: Questions[N]["query"],
  token: string | null,
  signal?: AbortSignal,
): Promise<Questions[N]["answer"]> {
  const response = await send(name, query, token, "application/json", signal);
  try {
    return (await response.json()) as Questions[N]["answer"];
  } catch (error) {
    if (signal?.aborted) {
      throw error;
    }
    throw new AskError(0, null, null);
  }
}

/** Asks for the same as a CSV file, whole. */
export async function askCsv<N extends Name>(
  name: N,
  query: Questions[N]["query"],
  token: string | null,
): Promise<Blob> {
  const response = await send(name, { ...query, format: "csv" }, token, "text/csv");
  try {
    return await response.blob();
  } catch {
    // It broke off: what is there is not the whole.
    throw new AskError(0, null, null);
  }
}

const ATTEMPTS = 2;
const ATTEMPTS_WHEN_TOLD = 5;

/** Whether it is worth asking again: where the reader said when, or could not be reached or was not ready. */
export function asksAgain(failures: number, error: unknown): boolean {
  if (!(error instanceof AskError)) {
    return false;
  }
  if (error.status === 429) {
    return failures < ATTEMPTS_WHEN_TOLD;
  }
  return (error.status === 0 || error.status === 503) && failures < ATTEMPTS;
}

/** In how many milliseconds to ask again. */
export function waitOf(failures: number, error: unknown): number {
  if (error instanceof AskError && error.retryAfterSeconds !== null) {
    return error.retryAfterSeconds * 1_000;
  }
  return Math.min(500 * 2 ** failures, 10_000);
}

/** Asks as a question of the page is asked: again, and later, where the reader says so or does not answer. */
export async function patiently<T>(asking: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await asking();
    } catch (error) {
      if (!asksAgain(failures, error)) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, waitOf(failures, error)));
    }
  }
}
