import { answered, card, expect, JANUARY, MARCH, part, query, rows, test } from "./page";

test("cards show exact totals and their change, and rising cost is not green", async ({
  page,
  open,
  t,
  count,
  money,
  locale,
}) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const share = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 }).format(1);
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  await expect(card(page, t.cards.requests)).toContainText(t.cards.failed(count(1), count(0)));
  await expect(card(page, t.cards.tokens).locator(".figure")).toHaveText(count(1_234_732));
  await expect(card(page, t.cards.tokens)).toContainText(t.cards.split(count(1_000_110), count(234_622)));
  const cost = card(page, t.cards.cost);
  await expect(cost.locator(".figure")).toHaveText(money("1234.660000001"));
  await expect(cost).toContainText(t.cards.unpriced(count(1)));
  await expect(cost.locator(".delta")).toContainText(t.change.up(share));
  await expect(card(page, t.cards.users).locator(".figure")).toHaveText(count(2));
  await expect(card(page, t.cards.agents).locator(".figure")).toHaveText(count(1));
  const [red = 0, green = 0] = await cost
    .locator(".delta")
    .evaluate((element) => (getComputedStyle(element).color.match(/[\d.]+/g) ?? []).map(Number));
  expect(red).toBeGreaterThan(green);
});

test("a cost that nobody knows is not a zero", async ({ page, open, t }) => {
  await open("admin", `organizationId=known&${JANUARY}&model=m2`);
  await expect(card(page, t.cards.cost).locator(".figure")).toHaveText(t.cost.notPriced);
  await expect(card(page, t.cards.cost).locator(".delta")).toHaveText(t.change.unknown);
  await expect(rows(part(page, t.users.title)).first()).toContainText(t.cost.notPriced);
});

test("usage and costs that nobody knows are counted, and no zeros", async ({
  page,
  open,
  t,
  count,
  money,
}) => {
  await open("admin", `organizationId=known&${MARCH}`);
  const [tokens, cost] = [card(page, t.cards.tokens), card(page, t.cards.cost)];
  await expect(tokens.locator(".figure")).toHaveText(count(1_500));
  await expect(tokens).toContainText(t.cards.unmetered(count(3)));
  await expect(cost.locator(".figure")).toHaveText(money("1.75"));
  await expect(cost).toContainText(t.cards.unpriced(count(2)));
  const words = page.locator(".freshness");
  await expect(words).toContainText(t.words.unmetered(count(3)));
  await expect(words).toContainText(t.words.unpriced(count(2)));
  // What failed before anything was used is neither.
  await expect(card(page, t.cards.requests)).toContainText(t.cards.failed(count(1), count(0)));
  await open("staff", MARCH);
  await expect(words).toContainText(t.words.unmetered(count(3)));
  await open("admin", `organizationId=known&${JANUARY}`);
  await expect(tokens.locator(".figure")).toHaveText(count(1_234_732));
  await expect(tokens.locator(".left-out")).toHaveCount(0);
});

test("the trend stacks input and output, and marks what is cut or not over", async ({ page, open, t }) => {
  await open("admin", "organizationId=known&from=2025-01-07&to=2025-01-26&granularity=weekly&metric=tokens");
  const trend = part(page, t.trend.title(t.metric.tokens));
  await expect(trend.locator(".part.input")).toHaveCount(3);
  await expect(trend.locator(".part.output")).toHaveCount(3);
  // The first week begins before the range; read without colour, too: dashes and stripes.
  await expect(trend.locator(".part.input.unfinished")).toHaveCount(1);
  await expect(trend.locator(".part.input.unfinished").first()).toHaveCSS("stroke-dasharray", "4px, 3px");
  expect(await trend.locator(".part.output").first().getAttribute("fill")).toMatch(/^url\(#/);
  await expect(trend).toContainText(t.trend.legendPartial);
  await trend.getByRole("button", { name: t.trend.numbers }).click();
  await expect(rows(trend).nth(0)).toContainText(t.trend.partial);
  await expect(rows(trend).nth(1)).toContainText(t.trend.whole);
});

test("today is not over", async ({ page, open, t }) => {
  await open("staff", "preset=7d&metric=requests");
  const trend = part(page, t.trend.title(t.metric.requests));
  await expect(trend.locator(".part.unfinished")).toHaveCount(1);
  await trend.getByRole("button", { name: t.trend.numbers }).click();
  await expect(rows(trend).last()).toContainText(t.trend.open);
});

test("a bucket tells its figures to the mouse and to the keyboard", async ({ page, open, t, count }) => {
  await open("admin", "organizationId=known&from=2025-01-04&to=2025-01-06&metric=tokens");
  const trend = part(page, t.trend.title(t.metric.tokens));
  const tip = trend.locator(".tip");
  await trend.locator(".part.input").nth(1).hover();
  await expect(tip).toContainText(count(1_000_000));
  await expect(tip).toContainText(count(234_567));
  await page.mouse.move(0, 0);
  await expect(tip).toBeHidden();
  await trend.getByRole("application").focus();
  await expect(tip).toContainText(count(0));
  await page.keyboard.press("ArrowRight");
  await expect(tip).toContainText(count(1_000_000));
  await page.keyboard.press("ArrowLeft");
  await expect(tip).not.toContainText(count(1_000_000));
});

test("the trend is a table, too, to the last decimal", async ({ page, open, t, money }) => {
  await open("admin", `organizationId=known&${JANUARY}&granularity=monthly`);
  const trend = part(page, t.trend.title(t.metric.cost));
  await trend.getByRole("button", { name: t.trend.numbers }).click();
  await expect(rows(trend)).toHaveCount(1);
  await expect(trend.locator("tfoot")).toContainText(money("1234.660000001"));
  await expect(trend.locator("tfoot td span").first()).toHaveAttribute("title", "1234.660000001 USD");
});

test("the top lists rank, name the provider, and add up", async ({ page, open, t, money }) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const models = part(page, t.top.models);
  await expect(rows(models)).toHaveCount(3);
  await expect(rows(models).nth(0)).toContainText("m1");
  await expect(rows(models).nth(0).locator(".badge")).toHaveText("p2");
  await expect(rows(models).nth(1).locator(".badge")).toHaveText("p1");
  await expect(models.locator("tfoot")).toContainText(money("1234.660000001"));
  await expect(rows(part(page, t.top.agents)).first()).toContainText("support");
  await expect(rows(part(page, t.top.sources))).toHaveText([/workflow/, /chat/, /openai-compat/]);
});

test("a click filters, chips show and clear it, and back goes back", async ({ page, open, t, count }) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const requests = card(page, t.cards.requests).locator(".figure");
  const models = part(page, t.top.models);
  await rows(models).nth(1).getByRole("button", { name: "m1" }).click();
  await expect(requests).toHaveText(count(1));
  expect(query(page).getAll("model")).toEqual(["m1"]);
  expect(query(page).getAll("provider")).toEqual(["p1"]);
  await rows(part(page, t.top.sources)).first().getByRole("button").click();
  await expect(page).toHaveURL(/source=chat/);

  const chips = page.getByRole("region", { name: t.filters.label });
  await expect(chips.getByRole("button")).toHaveCount(4);
  await page.reload();
  await expect(requests).toHaveText(count(1));
  await chips.getByRole("button", { name: t.filters.remove(`${t.filters.provider}: p1`) }).click();
  await expect(page).not.toHaveURL(/provider/);
  await chips.getByRole("button", { name: t.filters.clear }).click();
  await expect(requests).toHaveText(count(3));
  await expect(chips).toBeHidden();
  await page.goBack();
  await expect(chips.getByRole("button")).toHaveCount(3);
  await page.goBack();
  await page.goBack();
  await expect(page).not.toHaveURL(/source/);
  await page.goBack();
  await expect(page).not.toHaveURL(/model/);
  await expect(requests).toHaveText(count(3));
});

test("assistants, users and sources filter by a click as well", async ({ page, open, t, count }) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const requests = card(page, t.cards.requests).locator(".figure");
  for (const [title, name, parameter, left] of [
    [t.top.agents, "support", "agentSlug=support", 2],
    [t.users.title, "ada", "userId=ada", 2],
    [t.top.sources, "workflow", "source=workflow", 1],
  ] as const) {
    await part(page, title).getByRole("button", { name, exact: true }).first().click();
    await expect(page).toHaveURL(new RegExp(parameter));
    await expect(requests).toHaveText(count(left));
    await page.goBack();
    await expect(requests).toHaveText(count(3));
  }
});

test("users show tokens both ways, requests and cost, and sort by each", async ({
  page,
  open,
  t,
  count,
  money,
}) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const users = part(page, t.users.title);
  await expect(users.getByRole("columnheader")).toContainText([
    t.users.user,
    t.users.team,
    t.users.requests,
    t.users.input,
    t.users.output,
    t.users.tokens,
    t.users.cost,
  ]);
  await expect(rows(users).nth(0)).toContainText("grace");
  await expect(rows(users).nth(0)).toContainText(money("1234.56"));
  await users.getByRole("button", { name: t.users.tokens }).click();
  await expect(page).toHaveURL(/sort=tokens/);
  await expect(rows(users).nth(0).locator("th, td")).toContainText([
    "ada",
    "finance",
    count(2),
    count(1_000_100),
    count(234_617),
    count(1_234_717),
    "0",
  ]);
  await expect(users.getByRole("columnheader", { name: new RegExp(`^${t.users.tokens}`) })).toHaveAttribute(
    "aria-sort",
    "descending",
  );
  await users.getByRole("button", { name: t.users.requests }).click();
  await expect(page).toHaveURL(/sort=requests/);
  await expect(rows(users).nth(0)).toContainText("ada");
});

test("users have the teams that they used something for", async ({ page, open, t, count }) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const users = part(page, t.users.title);
  await expect(users.getByRole("columnheader", { name: t.users.team })).toBeVisible();
  await expect(rows(users).filter({ hasText: "grace" }).locator("td").first()).toHaveText("growth");
  await rows(users).filter({ hasText: "ada" }).getByRole("button", { name: "finance" }).click();
  await expect(page).toHaveURL(/teamId=finance/);
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(1));
});

test("who has no team, and who has many, is told apart", async ({ page, open, t, count }) => {
  const change = (answer: { rows: { userId: string; teams: string[]; teamCount: number }[] }) => {
    for (const row of answer.rows) {
      const has = row.userId === "ada";
      Object.assign(row, has ? { teams: ["a", "b"], teamCount: 7 } : { teams: [], teamCount: 0 });
    }
  };
  await page.route("**/v1/usage/breakdown?*by=user*", (route) => answered(route, change));
  await open("admin", `organizationId=known&${JANUARY}`);
  const users = part(page, t.users.title);
  const team = (user: string) => rows(users).filter({ hasText: user }).locator("td").first();
  await expect(team("ada")).toHaveText(`a, b ${t.users.moreTeams(count(5))}`);
  await expect(team("grace")).toHaveText(t.names.noTeam);
});

test("twenty thousand users are paged through, there and back", async ({ page, open, t, count }) => {
  await open("staff", "organizationId=crowd&from=2025-02-10&to=2025-02-10");
  const users = part(page, t.users.title);
  const pages = users.getByRole("navigation", { name: t.users.pages });
  const shown = (from: number, to: number) =>
    expect(pages).toContainText(t.users.shown(count(from), count(to), count(20_000)));
  const first = () => rows(users).first().locator("th").textContent();
  await shown(1, 25);
  const one = await first();
  await pages.getByRole("button", { name: t.users.next }).click();
  await shown(26, 50);
  const two = await first();
  expect(two).not.toBe(one);
  await pages.getByRole("button", { name: t.users.next }).click();
  await shown(51, 75);
  // A link to a page shows that page, and another view of it is the same page.
  await page.reload();
  await shown(51, 75);
  await page.locator(".controls").getByRole("button", { name: t.granularity.monthly }).click();
  await expect(page).toHaveURL(/granularity=monthly/);
  await shown(51, 75);
  await pages.getByRole("button", { name: t.users.previous }).click();
  await shown(26, 50);
  expect(await first()).toBe(two);
  await page.goBack();
  await shown(51, 75);
  await pages.getByRole("button", { name: t.users.first }).click();
  await shown(1, 25);
  await expect(pages.getByRole("button", { name: t.users.previous })).toBeDisabled();
});

test("a page of users that is gone leads back to the first", async ({ page, open, t }) => {
  await open("admin", `organizationId=known&${JANUARY}&cursor=bm9uc2Vuc2U&page=2`);
  const users = part(page, t.users.title);
  await expect(users.getByRole("alert")).toContainText("cursor");
  await users.getByRole("button", { name: t.errors.firstPage }).click();
  await expect(rows(users).first()).toContainText("grace");
});
