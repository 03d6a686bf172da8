// What every test stands on: somebody's token, the language of the run, and a page that breaks no rule.

import { readFile } from "node:fs/promises";
import { test as base, type Download, expect, type Locator, type Page, type Route } from "@playwright/test";
import { de } from "../src/i18n/de";
import { en, type Messages } from "../src/i18n/en";

export type Who = "staff" | "admin" | "member" | "expired" | "stranger" | "provider";

/** The days of the events that are known one by one. */
export const JANUARY = "from=2025-01-01&to=2025-01-31";
/** Those of events whose usage or cost nobody knows. */
export const MARCH = "from=2025-03-01&to=2025-03-31";
export const WINTER = "from=2025-01-01&to=2025-02-28";

function variable(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: these tests are run by \`cargo test --test it dashboard\``);
  }
  return value;
}

/** A program whose worker is gone, with a gap, open to everybody; and one with nothing in it. */
export const STALE = variable("PAGE_URL_STALE");
export const EMPTY = variable("PAGE_URL_EMPTY");
/** One over the known events that takes tokens with other claims: those of `provider`. */
export const PROVIDER = variable("PAGE_URL_PROVIDER");
/** Those of each browser: `TEST_PARALLEL_INDEX` says which one this is. */
const TOKENS = JSON.parse(variable("PAGE_TOKENS")) as Record<Who, string>[];

export function tokenOf(who: Who): string {
  const own = TOKENS[Number(process.env.TEST_PARALLEL_INDEX ?? 0)];
  if (!own) {
    throw new Error("there are more browsers than PAGE_TOKENS has sets");
  }
  return own[who];
}

/** Whom the token names. */
export function subjectOf(who: Who): string {
  const claims = tokenOf(who).split(".")[1] ?? "";
  return JSON.parse(Buffer.from(claims, "base64url").toString()).sub;
}

interface Fixtures {
  /** What the page says in the language of the run. */
  t: Messages;
  locale: string;
  /** Opens the page as somebody, at these parameters of its address. */
  open: (who: Who, query?: string) => Promise<void>;
  /** A figure as the language writes it. */
  count: (value: number) => string;
  money: (amount: string, decimals?: number) => string;
  /** Nothing that the policy forbids was tried, nothing threw, and nothing came from another host. */
  clean: undefined;
}

export const test = base.extend<Fixtures>({
  locale: async ({ browserName: _ }, use, info) => {
    await use(info.project.use.locale ?? "en-US");
  },
  t: async ({ locale }, use) => {
    await use(locale.startsWith("de") ? de : en);
  },
  count: async ({ locale }, use) => {
    await use((value) => new Intl.NumberFormat(locale).format(value));
  },
  money: async ({ locale }, use) => {
    await use((amount, decimals = 2) =>
      new Intl.NumberFormat(locale, {
        style: "currency",
        currency: "USD",
        currencyDisplay: "narrowSymbol",
        minimumFractionDigits: decimals,
        maximumFractionDigits: decimals,
      }).format(amount as `${number}`),
    );
  },
  open: async ({ page }, use) => {
    await use(async (who, query = "") => {
      if (page.url() !== "about:blank") {
        // Somebody else in this tab would be asked first.
        await page.evaluate(() => sessionStorage.clear());
      }
      await page.goto(`/${query === "" ? "" : `?${query}`}#token=${tokenOf(who)}`);
    });
  },
  clean: [
    async ({ page }, use) => {
      const wrong: string[] = [];
      page.on("pageerror", (error) => wrong.push(String(error)));
      page.on("console", (message) => {
        // The browser's own line about a refused request is no fault of the page.
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
          wrong.push(message.text());
        }
      });
      page.on("request", (request) => {
        const { hostname, protocol } = new URL(request.url());
        if (hostname !== "127.0.0.1" && protocol !== "blob:") {
          wrong.push(request.url());
        }
      });
      await use(undefined);
      // The page may have asked again meanwhile: nobody waits for that answer any more.
      await page.unrouteAll({ behavior: "ignoreErrors" });
      expect(wrong).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Lets a test change what the reader answered. What is no answer is handed on: the page asks again. */
export async function answered<Answer>(route: Route, change: (answer: Answer) => void): Promise<void> {
  const response = await route.fetch();
  if (!response.ok()) {
    await route.fulfill({ response });
    return;
  }
  const answer = (await response.json()) as Answer;
  change(answer);
  await route.fulfill({ response, json: answer });
}

/** A part of the page by its heading. */
export function part(page: Page, name: string): Locator {
  return page
    .locator("section.card")
    .filter({ has: page.getByRole("heading", { name, exact: true, level: 2 }) });
}

/** One of the summary cards. */
export function card(page: Page, name: string): Locator {
  return page.locator(".cards .card").filter({ has: page.getByRole("heading", { name }) });
}

/** The rows of a table in a part of the page. */
export function rows(part: Locator): Locator {
  return part.locator("tbody tr");
}

/** The lines of a table that was saved, behind the mark by which spreadsheets know what it is written in. */
export async function savedLines(download: Download): Promise<string[]> {
  const text = await readFile(await download.path(), "utf8");
  expect(text.charCodeAt(0)).toBe(0xfeff);
  return text.slice(1).trim().split("\r\n");
}

/** The parameters of the page's address. */
export function query(page: Page): URLSearchParams {
  return new URL(page.url()).searchParams;
}
