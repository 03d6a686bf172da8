import { type FormEvent, useId, useState } from "react";
import { useLocale } from "../i18n/locale";
import { Preferences } from "../view/Preferences";
import type { Reason } from "./session";

interface Props {
  reason: Reason;
  enter: (token: string) => void;
}

export function SignIn({ reason, enter }: Props) {
  const { t } = useLocale();
  const [token, setToken] = useState("");
  const id = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    enter(token);
  };
  return (
    <main className="sign-in">
      <form className="card" onSubmit={submit}>
        <h1>{t.signIn.title}</h1>
        <p
          role={reason === "first" ? undefined : "alert"}
          className={reason === "first" ? "" : "notice warn"}
        >
          {t.signIn.reasons[reason]}
        </p>
        <label htmlFor={id}>{t.signIn.token}</label>
        <input
          id={id}
          type="password"
          autoComplete="off"
          spellCheck={false}
          required
          value={token}
          onChange={(event) => setToken(event.target.value)}
          aria-describedby={`${id}-help`}
        />
        <p id={`${id}-help`} className="muted">
          {t.signIn.help}
        </p>
        <button type="submit" className="primary">
          {t.signIn.submit}
        </button>
      </form>
      <Preferences />
    </main>
  );
}
