import { card, EMPTY, expect, JANUARY, part, rows, STALE, test, WINTER } from "./page";

const KNOWN = `organizationId=known&${JANUARY}`;

test("while figures are read, none are shown", async ({ page, open, t, count }) => {
  let go = () => {};
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  await page.route("**/v1/usage/**", async (route) => {
    await held;
    await route.continue();
  });
  await open("admin", KNOWN);
  await expect(page.getByText(t.loading).first()).toBeAttached();
  await expect(page.locator(".figure")).toHaveCount(0);
  go();
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  await expect(page.locator(".bone")).toHaveCount(0);
});

test("a range without usage says so", async ({ page, open, t, count }) => {
  await open("admin", "organizationId=known&from=2020-01-01&to=2020-01-31");
  await expect(page.getByRole("heading", { name: t.empty.title })).toBeVisible();
  await expect(part(page, t.users.title)).toContainText(t.empty.rows);
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(0));
});

test("where everything was refused, that is told, and why, and how it is found", async ({
  page,
  open,
  t,
  count,
}) => {
  await open("staff", `organizationId=refused&${JANUARY}&agentSlug=support`);
  const notice = page.locator(".notice");
  const reasons = `30 ${t.rejected.reasons.invalid_value}, 7 ${t.rejected.reasons.out_of_range}`;
  await expect(notice).toContainText(t.rejected.events(count(37), 37, reasons));
  await expect(notice).toContainText(t.rejected.unfiltered);
  await expect(notice).toContainText("usage-ledger dead-letters list");
  await expect(page.getByRole("heading", { name: t.rejected.title })).toBeVisible();
  // Nothing is claimed of requests that nobody could count.
  await expect(card(page, t.cards.requests)).toContainText(t.cards.alsoRefused(count(37)));
  await expect(card(page, t.cards.cost).locator(".figure")).toHaveText(t.cards.unknown);
  await expect(card(page, t.cards.cost)).toContainText(t.cards.refused);
  for (const claim of [t.cards.allPriced, t.cards.attributed, t.empty.title]) {
    await expect(page.getByText(claim)).toHaveCount(0);
  }
  await open("staff", `organizationId=refused&from=2025-02-01&to=2025-02-28`);
  await expect(page.getByRole("heading", { name: t.empty.title })).toBeVisible();
  await expect(card(page, t.cards.cost)).toContainText(t.cards.none);
  await expect(notice).toHaveCount(0);
});

test("the platform is told of what was refused, and of what names nobody", async ({
  page,
  open,
  t,
  count,
}) => {
  await open("staff", WINTER);
  const notice = page.locator(".notice");
  const reasons = `30 ${t.rejected.reasons.invalid_value}, 7 ${t.rejected.reasons.out_of_range}`;
  await expect(notice).toContainText(t.rejected.events(count(37), 37, reasons));
  await expect(notice).toContainText(t.rejected.withoutOrganization(count(1), 1));
});

test("a ledger with nothing in it says so, and that it does not know how complete it is", async ({
  page,
  t,
}) => {
  await page.goto(EMPTY);
  await expect(page.getByRole("heading", { name: t.empty.title })).toBeVisible();
  await expect(page.locator(".freshness")).toContainText(t.words.asOfUnknown);
  await expect(page.getByText(t.notices.unknown)).toBeVisible();
});

test("figures that are behind, and a span with events missing, are called out", async ({
  page,
  t,
  count,
  locale,
}) => {
  await page.goto(`${STALE}/?organizationId=known&${WINTER}`);
  const hours = new Intl.NumberFormat(locale, { style: "unit", unit: "hour", unitDisplay: "long" }).format(2);
  await expect(page.getByText(t.notices.stale(hours))).toBeVisible();
  const at = (text: string) =>
    new Intl.DateTimeFormat(locale, { dateStyle: "long", timeStyle: "long", timeZone: "UTC" }).format(
      new Date(text),
    );
  const gap = t.notices.gap(at("2025-01-10T08:00:00Z"), at("2025-01-10T09:00:00Z"));
  await expect(page.getByText(gap)).toBeVisible();
  // Without a token, where none is asked for: nobody signs in, and nobody can sign out.
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(1));
  await expect(page.getByRole("button", { name: t.signOut })).toHaveCount(0);
});

for (const status of [500, 503] as const) {
  test(`a read that fails with ${status} says so, and never shows zeros`, async ({
    page,
    open,
    t,
    count,
  }) => {
    const problem = { type: "urn:usage-ledger:problem:x", title: "x", status, detail: "x" };
    const refuse = await page.route("**/v1/usage/**", (route) => route.fulfill({ status, json: problem }));
    await open("admin", KNOWN);
    const said = status === 500 ? t.errors.internal : t.errors.unavailable;
    await expect(page.getByRole("alert").filter({ hasText: said })).toHaveCount(7);
    await expect(page.locator(".figure, td")).toHaveCount(0);
    await refuse.dispose();
    await page.unroute("**/v1/usage/**");
    await page.getByRole("button", { name: t.errors.retry }).first().click();
    await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  });
}

test("a reader that is not reached says so", async ({ page, open, t }) => {
  await page.route("**/v1/usage/summary?*", (route) => route.abort());
  await open("admin", KNOWN);
  await expect(page.getByRole("alert")).toContainText(t.errors.unreachable);
  // The rest was read.
  await expect(rows(part(page, t.users.title)).first()).toContainText("grace");
});

test("too much for one answer says how to ask for less", async ({ page, open, t }) => {
  await open("admin", "organizationId=known&from=2000-01-01&to=2025-01-31&granularity=daily");
  const trend = page.getByRole("alert").filter({ hasText: t.errors.tooMuch }).first();
  await expect(trend).toContainText("buckets");
  await page.locator(".controls").getByRole("button", { name: t.granularity.monthly }).click();
  await expect(trend).toBeHidden();
});

test("what was read stays where it cannot be refreshed, and is said to be old", async ({
  page,
  open,
  t,
  count,
}) => {
  await open("admin", KNOWN);
  const requests = card(page, t.cards.requests).locator(".figure");
  await expect(requests).toHaveText(count(3));
  await page.route("**/v1/usage/summary?*", (route) => route.fulfill({ status: 500 }));
  await page.getByRole("button", { name: t.refresh.now }).click();
  await expect(page.getByRole("alert")).toContainText(t.errors.old);
  await expect(requests).toHaveText(count(3));
});

test("the reader's own time to come again is kept", async ({ page, open, t, count }) => {
  const asked: number[] = [];
  await page.route("**/v1/usage/summary?*", async (route) => {
    asked.push(Date.now());
    if (asked.length === 1) {
      await route.fulfill({ status: 429, headers: { "retry-after": "2" } });
    } else {
      await route.continue();
    }
  });
  await open("admin", KNOWN);
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  expect((asked[1] ?? 0) - (asked[0] ?? 0)).toBeGreaterThanOrEqual(2_000);
});

test("figures are asked for again by themselves, but not behind other tabs", async ({
  page,
  open,
  t,
  count,
}) => {
  await page.clock.install();
  let asked = 0;
  // What is refused, and asked once more, counts once.
  page.on("response", (response) => {
    asked += response.ok() && response.url().includes("/summary?") ? 1 : 0;
  });
  const see = (state: "hidden" | "visible") =>
    page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    }, state);
  await open("admin", KNOWN);
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  const first = asked;
  await page.clock.runFor(31_000);
  await expect.poll(() => asked).toBe(first + 1);
  await expect(page.getByRole("button", { name: t.refresh.now })).toBeVisible();
  await see("hidden");
  await page.clock.runFor(300_000);
  expect(asked).toBe(first + 1);
  await see("visible");
  await expect.poll(() => asked).toBe(first + 2);
  await expect(page.getByRole("button", { name: t.refresh.now })).toBeVisible();
  await page.getByLabel(t.refresh.label).uncheck();
  await page.clock.runFor(300_000);
  expect(asked).toBe(first + 2);
});
