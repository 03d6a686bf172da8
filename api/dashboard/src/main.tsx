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

/** Takes a token out of the address: it does not stay where people could see or copy it. */
function adoptToken(): boolean {
  const { token, rest } = takeToken(window.location.hash);
  if (token === null) {
    return false;
  }
  const { pathname, search } = window.location;
  window.history.replaceState(window.history.state, "", pathname + search + rest);
  stored.write(token);
  return true;
}

adoptToken();
// A link with a token that is followed where the page is open already: somebody else may be looking now.
window.addEventListener("hashchange", () => {
  if (adoptToken()) {
    window.location.reload();
  }
});
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
