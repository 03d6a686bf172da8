import { answered, expect, part, query, rows, savedLines, test, tokenOf, WINTER } from "./page";

const MONTHS = `${WINTER}&granularity=monthly`;

test("organizations by period: sorted, with dashes for zeros, and sums that match", async ({
  page,
  open,
  t,
  count,
  money,
}) => {
  await open("staff", MONTHS);
  const table = part(page, t.table.platform);
  await expect(rows(table)).toHaveText([/known/, /crowd/, /other/]);
  await expect(rows(table).nth(0).locator("td")).toHaveText([money("1234.66"), money("1234.66"), "–"]);
  await expect(rows(table).nth(2).locator("td").nth(1)).toHaveText("–");
  await expect(table.locator("tfoot td").nth(1)).toHaveText(money("1234.66"));
  await expect(table).toContainText(t.table.adds(count(3)));
  await expect(table).toContainText(t.table.dash);

  await page.locator(".controls").getByRole("button", { name: t.metric.tokens, exact: true }).click();
  // The largest is another one now; what names nobody stays last wherever it is.
  await expect(rows(table).nth(0).locator("td").first()).toHaveText(count(1_234_732));
  await expect(table).toContainText(t.table.adds(count(3)));
});

test("amounts are exact to all decimals where somebody wants them", async ({ page, open, t, money }) => {
  await open("staff", MONTHS);
  const table = part(page, t.table.platform);
  await expect(rows(table).nth(2).locator("td").first()).toHaveText(`<${money("0.01")}`);
  await table.getByLabel(t.table.exact).check();
  await expect(page).toHaveURL(/exact=true/);
  await expect(rows(table).nth(0).locator("td").first()).toHaveText(money("1234.660000001", 9));
  await expect(rows(table).nth(2).locator("td").first()).toHaveText(money("0.000000002", 9));
});

test("an organization is expanded: its assistants are read then, the unattributed last", async ({
  page,
  open,
  t,
  count,
}) => {
  const asked: string[] = [];
  page.on("response", (response) => {
    if (response.ok() && response.url().includes("scope=organization")) {
      asked.push(response.url());
    }
  });
  await open("staff", `${MONTHS}&metric=requests`);
  const table = part(page, t.table.platform);
  await expect(rows(table).filter({ hasText: "known" })).toHaveCount(1);
  expect(asked).toEqual([]);
  await table.getByRole("button", { name: t.table.expand("known") }).click();
  const children = table.locator("tr.child");
  await expect(children).toHaveText([/support/, new RegExp(t.names.unattributed)]);
  // A reader that is busy is asked again.
  expect(new Set(asked).size).toBe(1);
  await expect(children.last().locator("em")).toHaveText(t.names.unattributed);
  await expect(children.last().locator("em")).toHaveCSS("font-style", "italic");
  await expect(table).toContainText(t.names.unattributedWhy);
  await expect(children.locator("td:nth-child(2)")).toHaveText([count(2), count(1)]);
  await expect(page).toHaveURL(/open=known/);
  await page.reload();
  await expect(children).toHaveCount(2);
  await table.getByRole("button", { name: t.table.collapse("known") }).click();
  await expect(children).toHaveCount(0);
  await page.goBack();
  await expect(children).toHaveCount(2);
});

test("many organizations are shown in steps, and what is not shown is summed", async ({
  page,
  open,
  t,
  count,
}) => {
  const copied = (answer: { rows: { organizationId: string }[] }) => {
    const [row] = answer.rows;
    if (row) {
      answer.rows = Array.from({ length: 120 }, (_, at) => ({ ...row, organizationId: `copy-${at}` }));
    }
  };
  await page.route("**/v1/usage/table?*scope=platform*", (route) => answered(route, copied));
  await open("staff", `${MONTHS}&metric=requests`);
  const table = part(page, t.table.platform);
  await expect(rows(table)).toHaveCount(51);
  await expect(rows(table).last()).toContainText(t.table.rest(count(70)));
  // The copies are more than the reader's totals, and that is not passed over.
  await expect(table.getByRole("alert")).toContainText(t.table.differs);
  await table.getByRole("button", { name: t.table.more("50") }).click();
  await expect(rows(table)).toHaveCount(101);
  await expect(rows(table).last()).toContainText(t.table.rest(count(20)));
});

test("the table is saved as CSV, as it is shown, with the token", async ({ page, open, t }) => {
  const addresses: string[] = [];
  page.on("request", (request) => addresses.push(request.url()));
  await open("staff", MONTHS);
  const table = part(page, t.table.platform);
  const saved = page.waitForEvent("download");
  await table.getByRole("button", { name: t.table.csvOf(t.table.platform) }).click();
  const download = await saved;
  expect(download.suggestedFilename()).toBe("organizations.csv");
  const lines = await savedLines(download);
  expect(lines[0]).toMatch(/^organizationId,periodKey,start,end,complete,partial,requests,/);
  expect(lines).toHaveLength(1 + 3 * 2);
  expect(lines[1]).toMatch(/^known,2025-01,2025-01-01,2025-01-31,true,false,3,.*1234\.660000001/);
  const asked = addresses.filter((address) => address.includes("format=csv"));
  // A reader that is busy is asked again.
  expect(new Set(asked).size).toBe(1);
  const secret = tokenOf("staff").split(".")[2] ?? "";
  expect(asked[0]).not.toContain(secret);
});

test("the assistants of an expanded organization are saved as CSV, too", async ({ page, open, t }) => {
  await open("staff", `${MONTHS}&open=known`);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: t.table.csvOf("known") }).click();
  const download = await saved;
  expect(download.suggestedFilename()).toBe("known-assistants.csv");
  const lines = await savedLines(download);
  expect(lines[0]).toMatch(/^agentSlug,periodKey,/);
  expect(lines).toHaveLength(1 + 2 * 2);
});

test("users are saved as CSV, whole", async ({ page, open, t }) => {
  await open("staff", "organizationId=crowd&from=2025-02-10&to=2025-02-10&sort=tokens");
  const saved = page.waitForEvent("download");
  await part(page, t.users.title)
    .getByRole("button", { name: t.table.csvOf(t.users.title) })
    .click();
  const lines = await savedLines(await saved);
  expect(lines).toHaveLength(20_001);
});

test("a CSV that cannot be read saves nothing and says so", async ({ page, open, t }) => {
  await open("staff", MONTHS);
  const table = part(page, t.table.platform);
  await expect(rows(table)).toHaveCount(3);
  await page.route("**/v1/usage/table?*", (route) => route.fulfill({ status: 503 }));
  await table.getByRole("button", { name: t.table.csvOf(t.table.platform) }).click();
  await expect(table).toContainText(t.table.csvFailed);
});

test("from the table to an organization, and to one of its assistants", async ({ page, open, t }) => {
  await open("staff", MONTHS);
  await part(page, t.table.platform).getByRole("button", { name: "known", exact: true }).click();
  await expect(page).toHaveURL(/organizationId=known/);
  const agents = part(page, t.table.agents);
  await expect(rows(agents)).toHaveText([/support/, new RegExp(t.names.unattributed)]);
  await agents.getByRole("button", { name: "support" }).click();
  await expect.poll(() => query(page).get("agentSlug")).toBe("support");
});
