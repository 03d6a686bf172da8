import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { de } from "../src/i18n/de";
import { en } from "../src/i18n/en";
import { card, EMPTY, expect, JANUARY, MARCH, part, rows, STALE, test, WINTER } from "./page";

async function accessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  expect(violations.map(({ id, nodes }) => ({ id, where: nodes.map((node) => node.html) }))).toEqual([]);
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`in ${colorScheme}`, () => {
    test.use({ colorScheme });

    test("an organization is accessible, with a filter, a tooltip and a table", async ({ page, open, t }) => {
      await open("admin", `organizationId=known&${JANUARY}&metric=tokens&source=chat`);
      await expect(rows(part(page, t.table.agents)).first()).toBeVisible();
      await page.getByRole("application").focus();
      await expect(page.locator(".tip")).toBeVisible();
      await accessible(page);
      await page.getByRole("button", { name: t.trend.numbers }).click();
      await page.getByRole("button", { name: t.range.custom }).click();
      await accessible(page);
    });

    test("what is left out of the figures is accessible", async ({ page, open }) => {
      await open("admin", `organizationId=known&${MARCH}`);
      await expect(page.locator(".left-out")).toHaveCount(2);
      await accessible(page);
    });

    test("the platform is accessible, with an organization expanded", async ({ page, open, t }) => {
      await open("staff", `${WINTER}&open=known`);
      await expect(page.locator("tr.child")).toHaveCount(2);
      await expect(part(page, t.table.platform)).toBeVisible();
      await accessible(page);
    });

    test("what is not figures is accessible: sign-in, errors, notices, nothing", async ({
      page,
      open,
      t,
    }) => {
      await page.goto("/");
      await expect(page.getByText(t.signIn.reasons.first)).toBeVisible();
      await accessible(page);
      await page.goto(`${STALE}/?organizationId=known&${WINTER}`);
      await expect(page.locator(".notice")).toHaveCount(2);
      await accessible(page);
      await page.goto(EMPTY);
      await expect(page.getByRole("heading", { name: t.empty.title })).toBeVisible();
      await accessible(page);
      await open("staff", `organizationId=refused&${JANUARY}`);
      await expect(page.getByRole("heading", { name: t.rejected.title })).toBeVisible();
      await accessible(page);
      await open("member", JANUARY);
      await expect(card(page, t.cards.cost)).toBeVisible();
      await accessible(page);
      await page.route("**/v1/usage/**", (route) => route.fulfill({ status: 500 }));
      await page.reload();
      await expect(page.getByRole("alert").first()).toBeVisible();
      await accessible(page);
    });
  });
}

test("a phone shows everything without the page moving sideways", async ({ page, open, t }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const [who, query, title] of [
    ["admin", `organizationId=known&${JANUARY}`, t.table.agents],
    ["staff", WINTER, t.table.platform],
  ] as const) {
    await open(who, query);
    await expect(rows(part(page, title)).first()).toBeVisible();
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(overflow).toBeLessThanOrEqual(0);
  }
});

test("everything is reached with the keyboard, from the link to the figures on", async ({
  page,
  open,
  t,
}) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  await expect(card(page, t.cards.requests)).toBeVisible();
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: t.skip });
  await expect(skip).toBeFocused();
  await expect(skip).toBeInViewport();
  await page.keyboard.press("Tab");
  const choice = page.getByRole("combobox", { name: t.organization, exact: true });
  await expect(choice).toBeFocused();
  const outline = await choice.evaluate((element) => getComputedStyle(element).outlineStyle);
  expect(outline).toBe("solid");
});

test("light or dark is the system's, until somebody chooses", async ({ page, open, t }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await open("admin", `organizationId=known&${JANUARY}`);
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground();
  expect(dark).not.toBe(light);
  await page.getByLabel(t.theme.label).selectOption(t.theme.light);
  await expect.poll(ground).toBe(light);
  await page.reload();
  await expect.poll(ground).toBe(light);
  await page.getByLabel(t.theme.label).selectOption(t.theme.system);
  await expect.poll(ground).toBe(dark);
});

test("nothing moves for whom movement is too much", async ({ page, open, t }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.route("**/v1/usage/**", () => new Promise(() => {}));
  await open("admin", `organizationId=known&${JANUARY}`);
  await expect(page.getByText(t.loading).first()).toBeAttached();
  await expect(page.locator(".bone").first()).toHaveCSS("animation-name", "none");
});

test("the other language is one choice away, and is kept", async ({ page, open, t, locale }) => {
  await open("admin", `organizationId=known&${JANUARY}`);
  const other = t === de ? en : de;
  const language = other === de ? "de" : "en";
  await page.getByLabel(t.language).selectOption(language);
  await expect(part(page, other.users.title)).toBeVisible();
  await expect(page).toHaveTitle(other.title);
  await expect(page.locator("html")).toHaveAttribute("lang", language);
  const format = new Intl.NumberFormat(language, {
    style: "currency",
    currency: "USD",
    currencyDisplay: "narrowSymbol",
  });
  await expect(card(page, other.cards.cost).locator(".figure")).toHaveText(format.format(1234.66));
  expect(language).not.toBe(locale.slice(0, 2));
  await page.reload();
  await expect(page).toHaveTitle(other.title);
});
