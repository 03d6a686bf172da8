import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  // The page is behind whatever path a proxy puts it.
  base: "./",
  build: {
    target: "es2022",
    // The policy of the reader allows no `data:` fonts and no inline scripts; small files stay files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // `npm run budget` checks what is sent.
    chunkSizeWarningLimit: 1_000,
  },
  server: { proxy: { "/v1": process.env.USAGE_LEDGER_URL ?? "http://127.0.0.1:8080" } },
  test: { include: ["src/**/*.test.ts"] },
});
