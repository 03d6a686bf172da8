import { card, expect, JANUARY, part, query, rows, test, WINTER } from "./page";

test("staff switches among all organizations, and an admin has those of the token", async ({
  page,
  open,
  t,
}) => {
  await open("staff", WINTER);
  const choice = page.getByRole("combobox", { name: t.organization, exact: true });
  await expect(choice).toHaveValue("");
  await expect(choice.locator("option")).toContainText([t.allOrganizations, "crowd", "internal", "known"]);
  await choice.selectOption("crowd");
  await expect(page).toHaveURL(/organizationId=crowd/);
  await expect(card(page, t.cards.agents)).toBeVisible();

  await open("admin", JANUARY);
  await expect(choice.locator("option")).toHaveText(["known", "other"]);
  await expect(choice).toHaveValue("known");
});

test("presets choose the days, and the exact range is said in words", async ({ page, open, t, locale }) => {
  await open("admin", "organizationId=known");
  const words = page.locator(".freshness");
  const long = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone: "UTC" });
  const asked = async (name: string, preset: string | null) => {
    await page.getByRole("button", { name, exact: true }).click();
    await expect.poll(() => query(page).get("preset")).toBe(preset);
    await expect(page.getByRole("button", { name, exact: true })).toHaveAttribute("aria-pressed", "true");
    const [range] = await Promise.all([
      page.evaluate(async (preset) => {
        const token = sessionStorage.getItem("usage-ledger.token");
        const headers = { authorization: `Bearer ${token}` };
        const path = `/v1/usage/summary?organizationId=known&preset=${preset ?? "30d"}`;
        const answer = (await (await fetch(path, { headers })).json()) as {
          range: { from: string; to: string };
        };
        return answer.range;
      }, preset),
    ]);
    await expect(words).toContainText(long.formatRange(new Date(range.from), new Date(range.to)));
    const days = (Date.parse(range.to) - Date.parse(range.from)) / 86_400_000 + 1;
    await expect(words).toContainText(String(days));
  };
  await asked(t.range["7d"], "7d");
  await asked(t.range["90d"], "90d");
  await asked(t.range["month-to-date"], "month-to-date");
  await asked(t.range["last-month"], "last-month");
  await asked(t.range["last-6-months"], "last-6-months");
  await asked(t.range["30d"], null);
});

test("any two days are a range, in their order", async ({ page, open, t, locale }) => {
  await open("admin", "organizationId=known");
  await page.getByRole("button", { name: t.range.custom }).click();
  await page.getByLabel(t.range.from, { exact: true }).fill("2025-01-31");
  await page.getByLabel(t.range.to, { exact: true }).fill("2025-01-01");
  await page.getByRole("button", { name: t.range.apply }).click();
  await expect(page.getByText(t.range.order)).toBeVisible();
  await page.getByLabel(t.range.from, { exact: true }).fill("2025-01-01");
  await page.getByLabel(t.range.to, { exact: true }).fill("2025-01-31");
  await page.getByRole("button", { name: t.range.apply }).click();
  await expect(page).toHaveURL(/from=2025-01-01&to=2025-01-31/);
  const long = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone: "UTC" });
  const range = long.formatRange(new Date("2025-01-01"), new Date("2025-01-31"));
  await expect(page.locator(".freshness")).toContainText(t.words.days(range, 31, "UTC"));
});

test("buckets are days, weeks or months, and figures do not depend on them", async ({
  page,
  open,
  t,
  money,
}) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const table = part(page, t.table.agents);
  // Name and total, and then the periods.
  for (const [name, buckets] of [
    [t.granularity.weekly, 5],
    [t.granularity.monthly, 1],
    [t.granularity.daily, 31],
  ] as const) {
    await page.getByRole("button", { name, exact: true }).click();
    await expect(table.locator("thead th")).toHaveCount(buckets + 2);
    await expect(card(page, t.cards.cost)).toContainText(money("1234.660000001"));
  }
});

test("the figure is requests, tokens or cost, everywhere", async ({ page, open, t, count, money }) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const assistants = part(page, t.top.agents);
  const choose = (name: string) =>
    page.locator(".controls").getByRole("button", { name, exact: true }).click();
  await expect(assistants.locator("tfoot")).toContainText(money("1234.660000001"));
  await choose(t.metric.tokens);
  await expect(assistants.locator("tfoot")).toContainText(count(1_234_732));
  await expect(part(page, t.trend.title(t.metric.tokens))).toBeVisible();
  await choose(t.metric.requests);
  await expect(assistants.locator("tfoot")).toContainText(count(3));
  await expect(part(page, t.table.agents).locator("tfoot td").first()).toHaveText(count(3));
  await expect(rows(part(page, t.users.title)).first()).toContainText("ada");
  await expect(page).toHaveURL(/metric=requests/);
});

test("how fresh the figures are and what they leave out is said", async ({ page, open, t, count }) => {
  await open("staff", JANUARY);
  const words = page.locator(".freshness");
  await expect(words).toContainText(t.words.asOf("", "").split(" ")[0] as string);
  await expect(words).toContainText("UTC");
  await expect(words).toContainText(t.words.notCounted);
  await expect(words).toContainText(t.words.excluded("internal"));
  await expect(words).toContainText(t.words.unpriced(count(1)));
  await expect(part(page, t.table.platform)).not.toContainText("internal");
});
