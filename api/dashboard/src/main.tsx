import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { LocaleProvider } from "./i18n/locale";
import { SignIn } from "./session/SignIn";
import { SessionProvider } from "./session/session";
import { stored, takeToken } from "./session/token";
import "./styles/base.css";
import "./styles/page.css";
import "./styles/chart.css";
import { App } from "./view/App";
import { Pending } from "./view/Pending";
import { applyTheme } from "./view/theme";

// Before anything else: the token does not stay where people could see or copy it.
const { token, rest } = takeToken(window.location.hash);
if (token !== null) {
  window.history.replaceState(
    window.history.state,
    "",
    window.location.pathname + window.location.search + rest,
  );
  stored.write(token);
}
applyTheme();

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <LocaleProvider>
      <SessionProvider
        signIn={(reason, enter) => <SignIn reason={reason} enter={enter} />}
        pending={(error, retry) => <Pending error={error} retry={retry} />}
      >
        <App />
      </SessionProvider>
    </LocaleProvider>
  </StrictMode>,
);
