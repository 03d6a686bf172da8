import { EMPTY, expect, part, query, rows, savedLines, test } from "./page";

/** Three requests came at ten o'clock in this month, each on a day of its own. */
const DAY = "organizationId=known&from=2025-01-05&to=2025-01-05";

test("hours are offered where they are kept, and for few days", async ({ page, open, t }) => {
  await open("admin", DAY);
  const controls = page.locator(".controls");
  const hourly = controls.getByRole("button", { name: t.granularity.hourly, exact: true });
  await hourly.click();
  await expect(hourly).toHaveAttribute("aria-pressed", "true");
  await expect.poll(() => query(page).get("granularity")).toBe("hourly");
  await controls.getByRole("button", { name: t.range["90d"], exact: true }).click();
  const weekly = controls.getByRole("button", { name: t.granularity.weekly, exact: true });
  await expect(weekly).toHaveAttribute("aria-pressed", "true");
  await expect(hourly).toHaveCount(0);
  await controls.getByRole("button", { name: t.range["7d"], exact: true }).click();
  await expect(hourly).toHaveAttribute("aria-pressed", "true");

  const kept = page.waitForResponse((response) => response.url().includes("/v1/usage/meta"));
  await page.goto(`${EMPTY}/`);
  expect((await (await kept).json()).granularities).toEqual(["daily", "weekly", "monthly"]);
  await expect(controls.getByRole("button", { name: t.granularity.daily, exact: true })).toBeVisible();
  await expect(hourly).toHaveCount(0);
});

test("a day by the hour: in the trend, in the table, and saved", async ({ page, open, t, locale, count }) => {
  await open("admin", `${DAY}&granularity=hourly&metric=requests`);
  const trend = part(page, t.trend.title(t.metric.requests));
  await expect(trend.locator(".part.input")).toHaveCount(24);
  await trend.getByRole("button", { name: t.trend.numbers }).click();
  const name = new Intl.DateTimeFormat(locale, {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
    timeZone: "UTC",
  }).format(new Date("2025-01-05T10:00:00Z"));
  await expect(rows(trend)).toHaveCount(24);
  await expect(rows(trend).nth(10)).toContainText(name);
  await expect(rows(trend).nth(10)).toContainText(count(1));
  await expect(rows(trend).nth(10)).toContainText(t.trend.whole);
  await expect(trend.locator("tfoot")).toContainText(count(1));

  const table = part(page, t.table.agents);
  await expect(table.locator("thead th")).toHaveCount(24 + 2);
  await expect(table.locator("thead th").nth(12)).toHaveText(name);
  await expect(table).toContainText(t.table.adds(count(1)));

  const saved = page.waitForEvent("download");
  await table.getByRole("button", { name: t.table.csvOf(t.table.agents) }).click();
  const lines = await savedLines(await saved);
  expect(lines).toHaveLength(1 + 24);
  expect(lines[11]).toMatch(/^support,2025-01-05T10,2025-01-05,2025-01-05,true,false,1,/);
});

test("a month by the hour has the figures of its days", async ({ page, open, t, money }) => {
  await open("admin", "organizationId=known&from=2025-01-01&to=2025-01-31&granularity=hourly");
  const table = part(page, t.table.agents);
  await expect(table.locator("thead th")).toHaveCount(31 * 24 + 2);
  await expect(table.locator("tfoot td").first()).toHaveText(money("1234.66"));
  const trend = part(page, t.trend.title(t.metric.cost));
  await expect(trend.locator(".part.input")).toHaveCount(31 * 24);
});
