import { defineConfig } from "@playwright/test";

// Driven by `tests/it/dashboard.rs`, which starts the program, loads known events and says where it is.
export default defineConfig({
  testDir: "e2e",
  fullyParallel: true,
  forbidOnly: true,
  retries: 0,
  // Each with tokens of its own.
  workers: JSON.parse(process.env.PAGE_TOKENS ?? "[0]").length,
  // Nothing here measures speed: the first answers come from a program that may have been built without it.
  timeout: 240_000,
  expect: { timeout: 60_000 },
  // What failed is all that is said: a log that is cut in the middle still shows it.
  reporter: [["dot"]],
  outputDir: "test-results",
  use: {
    baseURL: process.env.PAGE_URL ?? "",
    timezoneId: "America/New_York",
    viewport: { width: 1360, height: 900 },
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
  projects: [
    { name: "English", use: { locale: "en-US" } },
    { name: "Deutsch", use: { locale: "de-DE" } },
  ],
});
