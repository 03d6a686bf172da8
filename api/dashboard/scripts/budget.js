// Fails when what a browser loads is larger than the budget.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const BUDGET = 250_000;
const folder = new URL("../dist/", import.meta.url).pathname;
const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
  /\.(js|css|html|svg)$/.test(name),
);
let total = 0;
for (const name of files.sort()) {
  const bytes = gzipSync(readFileSync(join(folder, name)), { level: 9 }).length;
  total += bytes;
  console.log(`${String(bytes).padStart(8)}  ${name}`);
}
console.log(`${String(total).padStart(8)}  in all, of ${BUDGET} bytes gzipped`);
if (!files.includes("index.html")) {
  console.error("There is nothing in dist: run `npm run build` first.");
  process.exit(1);
}
if (total > BUDGET) {
  console.error("The page is larger than its budget.");
  process.exit(1);
}
