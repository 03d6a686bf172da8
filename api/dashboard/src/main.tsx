import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { LocaleProvider } from "./i18n/locale";
import { adoptToken, Offer } from "./session/Offer";
import { SignIn } from "./session/SignIn";
import { SessionProvider } from "./session/session";
import "./styles/base.css";
import "./styles/page.css";
import "./styles/chart.css";
import { App } from "./view/App";
import { Pending } from "./view/Pending";
import { applyTheme } from "./view/theme";

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
      <Offer>
        <SessionProvider
          signIn={(reason, enter) => <SignIn reason={reason} enter={enter} />}
          pending={(error, retry) => <Pending error={error} retry={retry} />}
        >
          <App />
        </SessionProvider>
      </Offer>
    </LocaleProvider>
  </StrictMode>,
);
