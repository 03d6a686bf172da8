import { expect, test } from "./page";

test("the page comes from the program, compressed, under a strict policy, and is cached by its content", async ({
  request,
}) => {
  const page = await request.get("/", { headers: { "accept-encoding": "gzip" } });
  const policy = page.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain("unsafe");
  expect(policy).not.toContain("http");
  expect(page.headers()["cache-control"]).toBe("no-cache");
  const assets = [...(await page.text()).matchAll(/(?:src|href)="\.(\/assets\/[^"]+)"/g)].map(
    ([, path]) => path ?? "",
  );
  expect(assets.map((path) => path.split(".").at(-1)).sort()).toEqual(["css", "js"]);
  for (const path of assets) {
    const asset = await request.get(path, { headers: { "accept-encoding": "gzip" } });
    expect(asset.status()).toBe(200);
    expect(asset.headers()["cache-control"]).toContain("immutable");
    expect(asset.headers()["content-encoding"]).toBe("gzip");
    expect(asset.headers()["x-content-type-options"]).toBe("nosniff");
  }
});

test("what is not there is no page", async ({ request }) => {
  expect((await request.get("/assets/none.js")).status()).toBe(404);
});
