// Light or dark, as the system says, unless somebody chose.

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "usage-ledger.theme";

export function keptTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === kept) ?? "system";
}

/** Shows the page in this theme; the style sheet does the rest. */
export function applyTheme(theme: Theme = keptTheme()): void {
  localStorage.setItem(KEY, theme);
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = theme;
  }
}
