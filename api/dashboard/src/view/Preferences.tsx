import { useState } from "react";
import { LANGUAGES, type Language, useLocale } from "../i18n/locale";
import { applyTheme, keptTheme, THEMES, type Theme } from "./theme";

/** Language and appearance. */
export function Preferences() {
  const { t, language, setLanguage } = useLocale();
  const [theme, setTheme] = useState(keptTheme);
  return (
    <div className="preferences">
      <label>
        <span>{t.language}</span>
        <select value={language} onChange={(event) => setLanguage(event.target.value as Language)}>
          {Object.entries(LANGUAGES).map(([id, name]) => (
            <option key={id} value={id} lang={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span>{t.theme.label}</span>
        <select
          value={theme}
          onChange={(event) => {
            const chosen = event.target.value as Theme;
            applyTheme(chosen);
            setTheme(chosen);
          }}
        >
          {THEMES.map((id) => (
            <option key={id} value={id}>
              {t.theme[id]}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}
