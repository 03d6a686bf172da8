import { METRICS } from "../address/address";
import { useAddress } from "../address/useAddress";
import { visible } from "../format/text";
import { useLocale } from "../i18n/locale";
import { Choice } from "../parts/Choice";
import { useSession } from "../session/session";
import { type Claims, roleOf } from "../session/token";
import { Chips } from "./Chips";
import { GranularityChoice } from "./GranularityChoice";
import { Preferences } from "./Preferences";
import { SpanChoice } from "./SpanChoice";
import type { Scope } from "./scope";

interface Props {
  scope: Scope;
  organizations: string[];
  all: boolean;
}

export function Header({ scope, organizations, all }: Props) {
  const { t } = useLocale();
  const { token, claims, signOut } = useSession();
  const [address, go] = useAddress();
  const buckets = scope.kind === "platform" || scope.kind === "organization";
  return (
    <header>
      <div className="bar">
        <h1>
          <img src="./favicon.svg" alt="" width="22" height="22" /> {t.title}
        </h1>
        <Organizations scope={scope} organizations={organizations} all={all} />
        <span className="spacer" />
        <Preferences />
        {claims !== null && <SignedIn claims={claims} scope={scope} />}
        {token !== null && (
          <button type="button" onClick={signOut}>
            {t.signOut}
          </button>
        )}
      </div>
      <div className="bar controls">
        <SpanChoice />
        {buckets && (
          <GranularityChoice organization={scope.kind === "organization" ? scope.organization : null} />
        )}
        {buckets && (
          <Choice
            label={t.metric.label}
            options={METRICS.map((id) => [id, t.metric[id]])}
            chosen={address.metric}
            choose={(metric) => go({ metric, sort: null })}
          />
        )}
      </div>
      <Chips />
    </header>
  );
}

/** Whose token it is: a link may have brought it. */
function SignedIn({ claims, scope }: { claims: Claims; scope: Scope }) {
  const { t } = useLocale();
  const organization = scope.kind === "organization" || scope.kind === "own" ? scope.organization : "";
  const role = roleOf(claims, organization);
  const subject = visible(claims.subject);
  return (
    <span className="who" title={`${t.signedIn} ${subject}`}>
      <span className="muted">{t.signedIn}</span> <bdi>{subject}</bdi>
      {role !== null && <span className="badge">{t.roles[role]}</span>}
    </span>
  );
}

function Organizations({ scope, organizations, all }: Props) {
  const { t } = useLocale();
  const [, go] = useAddress();
  const current = scope.kind === "organization" || scope.kind === "own" ? scope.organization : "";
  // Also one that nothing is known about is what is chosen.
  const ids = current === "" || organizations.includes(current) ? organizations : [current, ...organizations];
  if (scope.kind === "nothing") {
    return null;
  }
  return (
    <label className="organization">
      <span className="hidden">{t.organization}</span>
      <select
        value={current}
        onChange={(event) => go({ organization: event.target.value || null, filters: {}, open: [] })}
      >
        {all && <option value="">{t.allOrganizations}</option>}
        {ids.map((id) => (
          <option key={id} value={id}>
            {visible(id)}
          </option>
        ))}
      </select>
    </label>
  );
}
