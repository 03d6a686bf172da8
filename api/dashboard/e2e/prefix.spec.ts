// A program that a proxy has put below a path of its own. Its tokens are those of an identity provider that calls
// its claims by addresses.

import type { Page } from "@playwright/test";
import { card, expect, JANUARY, PROVIDER, part, test as plain, tokenOf } from "./page";
import { below, type Place } from "./proxy";

const test = plain.extend<{ place: Place; refused: string[] }>({
  place: async ({ browserName: _ }, use) => {
    const place = await below("/tools/usage", PROVIDER);
    await use(place);
    place.close();
    expect(place.strays).toEqual([]);
  },
  /** What the browser asked for and did not get. */
  refused: async ({ page }, use) => {
    const refused: string[] = [];
    page.on("requestfailed", (request) => refused.push(`${request.url()} ${request.failure()?.errorText}`));
    page.on("response", (response) => {
      if (response.status() >= 400) {
        refused.push(`${response.url()} ${response.status()}`);
      }
    });
    await use(refused);
  },
});

function known(place: Place): string {
  return `${place.url}?organizationId=known&${JANUARY}#token=${tokenOf("provider")}`;
}

async function iconIsThere(page: Page): Promise<void> {
  const icon = page.locator("h1 img");
  await expect.poll(() => icon.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(0);
}

test("the page loads, shows figures, and stays below the path", async ({
  page,
  place,
  refused,
  t,
  count,
}) => {
  await page.goto(known(place));
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  await expect(page.locator(".who")).toContainText(t.roles.admin);
  await expect(part(page, t.users.title)).toBeVisible();
  await iconIsThere(page);
  expect(page.url()).toBe(`${place.url}?organizationId=known&${JANUARY}`);

  await page.locator(".controls").getByRole("button", { name: t.metric.requests, exact: true }).click();
  await expect(page).toHaveURL(/metric=requests/);
  await page.reload();
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  await page.goBack();
  await expect(page).not.toHaveURL(/metric=requests/);
  expect(new URL(page.url()).pathname).toBe("/tools/usage/");

  const [saved] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: t.table.csvOf(t.table.agents) }).click(),
  ]);
  expect(await saved.failure()).toBeNull();
  expect(refused.filter((what) => !what.endsWith("net::ERR_ABORTED"))).toEqual([]);
});

test("without the slash at the end the proxy leads to the page", async ({
  page,
  place,
  refused,
  t,
  count,
}) => {
  await page.goto(known(place).replace("/?", "?"));
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  expect(new URL(page.url()).pathname).toBe("/tools/usage/");
  expect(refused).toEqual([]);
});

test("the page of the routes asks the program, and no other", async ({ page, place, refused }) => {
  await page.goto(`${place.url}docs`);
  expect(page.url()).toBe(`${place.url}docs/`);
  const route = page.locator(".opblock").filter({ hasText: "/v1/usage/summary" });
  await expect(route).toBeVisible();

  await page.getByRole("button", { name: "Authorize" }).click();
  await page.getByLabel("auth-bearer-value").fill(tokenOf("provider"));
  await page.getByRole("button", { name: "Apply credentials" }).click();
  await page.getByRole("button", { name: "Close", exact: true }).click();

  await route.locator(".opblock-summary-control").click();
  await route.getByRole("button", { name: "Try it out" }).click();
  await route.getByPlaceholder("organizationId").fill("known");
  const [answer] = await Promise.all([
    page.waitForResponse((response) => response.url().includes("/v1/usage/summary")),
    route.getByRole("button", { name: "Execute" }).click(),
  ]);
  expect(answer.url()).toBe(`${place.url}v1/usage/summary?organizationId=known`);
  expect(answer.status()).toBe(200);
  expect(refused).toEqual([]);
});

test("the document says where its routes are", async ({ request, place }) => {
  const address = `${place.url}openapi.json`;
  const document = (await (await request.get(address)).json()) as {
    servers: { url: string }[];
    paths: Record<string, unknown>;
  };
  // As a client does: the server's address is relative to that of the document, and a path is put behind it.
  const server = new URL(document.servers[0]?.url ?? "", address).href.replace(/\/$/, "");
  const path = Object.keys(document.paths).find((path) => path.endsWith("/summary"));
  const answer = await request.get(`${server}${path}?organizationId=known`, {
    headers: { authorization: `Bearer ${tokenOf("provider")}` },
  });
  expect(answer.status()).toBe(200);
  expect(((await answer.json()) as { organizationId: string }).organizationId).toBe("known");
});
