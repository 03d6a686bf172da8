import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { de } from "./de";
import { en, type Messages } from "./en";

export const LANGUAGES = { en: "English", de: "Deutsch" } as const;
export type Language = keyof typeof LANGUAGES;

const MESSAGES: Record<Language, Messages> = { en, de };
const KEY = "usage-ledger.language";

interface Locale {
  language: Language;
  /** The locale of numbers, dates and currency: the reader's own form of the language, where there is one. */
  locale: string;
  t: Messages;
  setLanguage: (language: Language) => void;
}

const Context = createContext<Locale | null>(null);

export function useLocale(): Locale {
  const locale = useContext(Context);
  if (!locale) {
    throw new Error("there is no locale here");
  }
  return locale;
}

function isLanguage(text: string | null): text is Language {
  return text !== null && text in LANGUAGES;
}

/** The first of somebody's languages that the page speaks. */
export function languageOf(preferred: readonly string[]): Language {
  return preferred.map((tag) => tag.toLowerCase().split("-")[0] as string).find(isLanguage) ?? "en";
}

/** Somebody's own form of a language: `de-AT` rather than `de`. */
export function localeOf(language: Language, preferred: readonly string[]): string {
  return preferred.find((tag) => tag.toLowerCase().split("-")[0] === language) ?? language;
}

export function LocaleProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(() => {
    const kept = localStorage.getItem(KEY);
    return isLanguage(kept) ? kept : languageOf(navigator.languages);
  });
  const value = useMemo<Locale>(
    () => ({
      language,
      locale: localeOf(language, navigator.languages),
      t: MESSAGES[language],
      setLanguage: (to) => {
        localStorage.setItem(KEY, to);
        setLanguage(to);
      },
    }),
    [language],
  );
  useEffect(() => {
    document.documentElement.lang = language;
    document.title = value.t.title;
  }, [language, value]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}
