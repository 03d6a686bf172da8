import { card, expect, JANUARY, part, subjectOf, test, tokenOf, type Who } from "./page";

const KNOWN = `organizationId=known&${JANUARY}`;

test("the token leaves the address at once, and stays in this tab only", async ({ page, open, t, count }) => {
  await open("admin", KNOWN);
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  expect(page.url()).not.toContain("token");
  const kept = await page.evaluate(() => [
    sessionStorage.getItem("usage-ledger.token"),
    JSON.stringify({ ...localStorage }),
    document.cookie,
  ]);
  expect(kept[0]).toBe(tokenOf("admin"));
  expect(kept[1]).not.toContain(tokenOf("admin"));
  expect(kept[2]).toBe("");
  await page.goBack();
  expect(page.url()).not.toContain("token");
});

test("a link with somebody else's token asks before it takes the place of the session", async ({
  page,
  open,
  t,
}) => {
  const follow = (who: Who) =>
    page.evaluate((token) => window.location.assign(`#token=${token}`), tokenOf(who));
  await open("admin", KNOWN);
  await expect(card(page, t.cards.agents)).toBeVisible();
  await expect(page.locator(".who")).toContainText(`${subjectOf("admin")}${t.roles.admin}`);
  await follow("member");
  await expect(page.getByText(t.offer.why(subjectOf("admin"), "ada"))).toBeVisible();
  expect(page.url()).not.toContain("token");
  await page.getByRole("button", { name: t.offer.stay(subjectOf("admin")) }).click();
  await expect(page.locator(".who")).toContainText(subjectOf("admin"));
  await expect(card(page, t.cards.agents)).toBeVisible();
  await follow("member");
  await page.getByRole("button", { name: t.offer.change("ada") }).click();
  await expect(page.getByRole("heading", { name: t.own.title })).toBeVisible();
  await expect(page.locator(".who")).toContainText(`ada${t.roles.member}`);
  // Also where the page is loaded by the link, and loading it anew is no yes.
  await page.goto(`/#token=${tokenOf("staff")}`);
  await expect(page.getByText(t.offer.why("ada", subjectOf("staff")))).toBeVisible();
  await page.reload();
  await expect(page.locator(".who")).toContainText("ada");
});

test("names are shown with everything that is in them", async ({ page, open, t }) => {
  await open("admin", "organizationId=known&from=2024-06-10&to=2024-06-10");
  const agent = part(page, t.top.agents).locator("bdi");
  await expect(agent).toHaveText("invoice‹U+202E›gpj.exe");
  await expect(page.locator("body")).not.toContainText("\u202E");
});

test("who has no token signs in with one, and goes on where the link led", async ({ page, t, count }) => {
  await page.goto(`/?${KNOWN}`);
  await expect(page.getByText(t.signIn.reasons.first)).toBeVisible();
  await page.getByLabel(t.signIn.token).fill("something else");
  await page.getByRole("button", { name: t.signIn.submit }).click();
  await expect(page.getByRole("alert")).toHaveText(t.signIn.reasons.malformed);
  await page.getByLabel(t.signIn.token).fill(`Bearer ${tokenOf("admin")}`);
  await page.getByRole("button", { name: t.signIn.submit }).click();
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
  await page.getByRole("button", { name: t.signOut }).click();
  await expect(page.getByRole("alert")).toHaveText(t.signIn.reasons.left);
  await page.reload();
  await expect(page.getByText(t.signIn.reasons.first)).toBeVisible();
});

test("an expired token asks for sign-in, and says why", async ({ page, open, t, count }) => {
  await open("expired", KNOWN);
  await expect(page.getByRole("alert")).toHaveText(t.signIn.reasons.expired);
  await expect(page.locator(".figure")).toHaveCount(0);
  await page.getByLabel(t.signIn.token).fill(tokenOf("admin"));
  await page.getByRole("button", { name: t.signIn.submit }).click();
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(3));
});

test("a token that stops being valid while somebody looks asks for sign-in", async ({ page, open, t }) => {
  await open("admin", KNOWN);
  await expect(card(page, t.cards.requests)).toBeVisible();
  await page.route("**/v1/usage/**", (route) =>
    route.continue({ headers: { ...route.request().headers(), authorization: "Bearer a.b.c" } }),
  );
  await page.getByRole("button", { name: t.refresh.now }).click();
  await expect(page.getByRole("alert")).toHaveText(t.signIn.reasons.refused);
});

test("somebody else's organization is refused, explained, and left again", async ({ page, open, t }) => {
  await open("admin", `organizationId=crowd&${JANUARY}`);
  await expect(page.getByRole("alert")).toContainText(t.errors.forbiddenOrganization("crowd"));
  await expect(page.locator(".figure")).toHaveCount(0);
  await page.getByRole("button", { name: t.errors.other }).click();
  await expect(card(page, t.cards.requests)).toBeVisible();
});

test("a member sees what the member used, and nothing else", async ({ page, open, t, count }) => {
  const asked = new Set<string>();
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/v1/")) {
      asked.add(pathname);
    }
  });
  await open("member", JANUARY);
  await expect(page.getByRole("heading", { name: t.own.title })).toBeVisible();
  await expect(page.getByText(t.own.help)).toBeVisible();
  await expect(card(page, t.cards.requests).locator(".figure")).toHaveText(count(2));
  await expect(part(page, t.users.title)).toHaveCount(0);
  expect([...asked]).toEqual(["/v1/usage/me"]);
});

test("a token without an organization is told so", async ({ page, open, t }) => {
  await open("stranger");
  await expect(page.getByText(t.empty.none)).toBeVisible();
});
