//! The settings, as people see them: one row each. Flags, variables, `--help` and the README's table all
//! follow from it.

/// What a setting is about. A command has the settings of the sections that it uses, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Where the ledger is.
    Database,
    /// What the ledger is for ever, but for its currency.
    Periods,
    /// The ledger's currency.
    Currency,
    /// Where events come from.
    Source,
    /// What an event must be, besides its contract.
    Rules,
    /// How events are counted.
    Worker,
    /// Who is answered, and where.
    Reader,
    /// Where every process that stays tells how it is.
    Admin,
    /// What else such a process has.
    Process,
    /// How rows are compared with their entries.
    Verify,
}

/// One setting: a flag and its environment variable.
#[derive(Debug)]
pub struct Setting {
    /// What it is about.
    pub section: Section,
    /// The variable's name without `USAGE_LEDGER_`, and the flag's in capitals.
    pub name: &'static str,
    /// What holds where it is not set; `None`: nothing.
    pub default: Option<&'static str>,
    /// What it does, in a line.
    pub help: &'static str,
    /// Never shown.
    pub is_secret: bool,
    /// What the file holds that this setting names.
    pub holds: Option<&'static str>,
}

impl Setting {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// The long flag, without its dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }
}

/// The environment variable of a setting.
pub(super) fn variable(name: &str) -> String {
    format!("USAGE_LEDGER_{name}")
}

const fn setting(
    section: Section,
    name: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        section,
        name,
        default,
        help,
        is_secret: false,
        holds: None,
    }
}

const fn secret(
    section: Section,
    name: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        is_secret: true,
        ..setting(section, name, default, help)
    }
}

/// The twin of a secret: a file that holds it. What is in a file is neither in `ps` nor in an environment.
const fn file(section: Section, name: &'static str, holds: &'static str) -> Setting {
    let help = "A file that holds the setting before, instead of the setting itself";
    Setting {
        holds: Some(holds),
        ..setting(section, name, None, help)
    }
}

/// Every setting, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    secret(
        Section::Database,
        "MONGODB_URI",
        Some("mongodb://127.0.0.1:27017"),
        "The MongoDB replica set that holds the ledger",
    ),
    file(Section::Database, "MONGODB_URI_FILE", "MONGODB_URI"),
    setting(
        Section::Database,
        "MONGODB_DATABASE",
        Some("usage"),
        "The ledger's database",
    ),
    setting(
        Section::Source,
        "SOURCE",
        Some("change-stream"),
        "Where events come from: `change-stream` or `kafka`",
    ),
    setting(
        Section::Source,
        "EVENTS_COLLECTION",
        Some("requestEvents"),
        "The collection that services insert events into; `database.collection` for another database",
    ),
    setting(
        Section::Source,
        "KAFKA_BROKERS",
        None,
        "Kafka's bootstrap servers: `host:port,host:port`",
    ),
    setting(
        Section::Source,
        "KAFKA_TOPIC",
        Some("request-events"),
        "The topic that services produce events to",
    ),
    setting(
        Section::Source,
        "KAFKA_GROUP",
        Some("usage-ledger"),
        "The consumer group; workers of one group share the partitions",
    ),
    secret(
        Section::Source,
        "KAFKA_PROPERTIES",
        None,
        "More properties of librdkafka: `key=value,key=value`, with `\\,` for a comma in a value",
    ),
    file(Section::Source, "KAFKA_PROPERTIES_FILE", "KAFKA_PROPERTIES"),
    setting(
        Section::Reader,
        "API_ADDR",
        Some("127.0.0.1:8080"),
        "Where the reader listens",
    ),
    setting(
        Section::Admin,
        "ADMIN_ADDR",
        Some("127.0.0.1:9464"),
        "Where metrics and health listen",
    ),
    setting(
        Section::Reader,
        "API_MAX_CONNECTIONS",
        Some("1024"),
        "Connections that the reader takes at once; further ones take the place of the one that is quiet for longest",
    ),
    setting(
        Section::Process,
        "ADMIN_MAX_CONNECTIONS",
        Some("64"),
        "The same for metrics and health",
    ),
    setting(
        Section::Reader,
        "API_TLS_CERT",
        None,
        "A file (PEM) with the reader's certificate, and behind it those that vouch for it: the reader then speaks TLS, and \
         nothing else. What takes the place of the file is taken up while it runs",
    ),
    setting(
        Section::Reader,
        "API_TLS_KEY",
        None,
        "A file (PEM) with the key of that certificate",
    ),
    setting(
        Section::Reader,
        "AUTH",
        Some("jwt"),
        "Who may read: `jwt`, or `off` (only on loopback)",
    ),
    secret(
        Section::Reader,
        "JWT_SECRET",
        None,
        "Shared secret of HS256 tokens, 32 bytes or more",
    ),
    file(Section::Reader, "JWT_SECRET_FILE", "JWT_SECRET"),
    setting(
        Section::Reader,
        "JWT_PUBLIC_KEY",
        None,
        "Public key (PEM) of RS256 or ES256 tokens",
    ),
    secret(
        Section::Reader,
        "JWT_JWKS_URL",
        None,
        "Where the keys of RS256 or ES256 tokens are published",
    ),
    file(Section::Reader, "JWT_JWKS_URL_FILE", "JWT_JWKS_URL"),
    setting(
        Section::Reader,
        "JWT_JWKS_PLAIN_HTTP",
        Some("false"),
        "`true`: keys may come over plain HTTP from another machine; whoever is on the way can then forge tokens",
    ),
    setting(
        Section::Reader,
        "JWT_ISSUER",
        None,
        "The issuer that tokens must name",
    ),
    setting(
        Section::Reader,
        "JWT_AUDIENCE",
        None,
        "The audience that tokens must name; required with a key set, whose issuer has other audiences too",
    ),
    setting(
        Section::Reader,
        "JWT_ORGANIZATIONS_CLAIM",
        Some("/organizations"),
        "Where tokens name organizations and roles in them: a JSON pointer, with `~1` for each `/` in a name, such as \
         `/https:~1~1example.com~1orgs`",
    ),
    setting(
        Section::Reader,
        "JWT_ADMIN_ROLES",
        Some("owner,admin"),
        "The roles that read a whole organization; with any other one is a member, who reads their own usage",
    ),
    setting(
        Section::Reader,
        "JWT_STAFF_CLAIM",
        Some("/platformRole"),
        "Where tokens say who is staff of the platform: a JSON pointer to a text, or to a list of texts",
    ),
    setting(
        Section::Reader,
        "JWT_STAFF_VALUE",
        Some("staff"),
        "What the claim of staff then says, or holds; staff reads everything",
    ),
    setting(
        Section::Worker,
        "BATCH_MAX_EVENTS",
        Some("10000"),
        "Commit at the latest after this many events",
    ),
    setting(
        Section::Worker,
        "BATCH_MAX_AGE",
        Some("250ms"),
        "Commit at the latest when the oldest event has waited this long",
    ),
    setting(
        Section::Worker,
        "BATCH_MAX_BYTES",
        Some("8MiB"),
        "Commit at the latest after this many bytes of events",
    ),
    setting(
        Section::Worker,
        "BATCH_MAX_ROWS",
        Some("20000"),
        "Statements of a transaction, at most: rows, rollups, ids and letters. How many it has is learned",
    ),
    setting(
        Section::Worker,
        "COMMIT_TARGET",
        Some("1s"),
        "How long that part of a commit should take that grows with its statements",
    ),
    setting(
        Section::Worker,
        "DEDUPE_WINDOW",
        Some("24h"),
        "For how long, in the source's time, an event id is remembered",
    ),
    setting(
        Section::Worker,
        "DEDUPE_SCOPE",
        Some("lane"),
        "Where a duplicate is recognised: `lane` (in the partition or change stream of the first copy: one on another \
         partition counts again) or `ledger` (anywhere; slower)",
    ),
    setting(
        Section::Worker,
        "DEDUPE_MAX_IDS",
        Some("50000000"),
        "Remember at most this many ids; beyond, the window shrinks",
    ),
    setting(
        Section::Rules,
        "START_AT",
        None,
        "Skip events completed before this instant (RFC 3339): another ledger has them",
    ),
    setting(
        Section::Rules,
        "MAX_AGE",
        None,
        "Reject events completed longer ago than this; not applied to history",
    ),
    setting(
        Section::Worker,
        "JOURNAL_KEEP",
        Some("400d"),
        "Keep the entries behind the totals for this time, at least as long as the window: what is older cannot be proved",
    ),
    setting(
        Section::Worker,
        "DEAD_LETTER_KEEP",
        None,
        "Drop the payloads of open dead letters after this time; the letters stay. For ever where it is not set",
    ),
    setting(
        Section::Worker,
        "DELETES",
        Some("keep"),
        "A deleted event document leaves the bill as it is: `keep`",
    ),
    setting(
        Section::Worker,
        "LEASE",
        Some("10s"),
        "A worker that was silent for this long counts as dead: another one takes its change stream, and may end its transaction",
    ),
    setting(
        Section::Periods,
        "TIME_ZONE",
        Some("UTC"),
        "The IANA time zone of all periods; fixed when the ledger is created",
    ),
    setting(
        Section::Currency,
        "CURRENCY",
        Some("USD"),
        "The ISO 4217 currency of all costs; fixed when the ledger is created",
    ),
    setting(
        Section::Periods,
        "GRANULARITIES",
        Some("daily,weekly,monthly"),
        "Periods kept: `daily` and any of `hourly,weekly,monthly`; answers by the hour need `hourly`; `migrate` adds some to a ledger, and takes none away",
    ),
    setting(
        Section::Reader,
        "EXCLUDED_ORGANIZATIONS",
        None,
        "Organizations booked but left out of the platform table: `a,b`",
    ),
    setting(
        Section::Process,
        "DRAIN_TIMEOUT",
        Some("20s"),
        "After SIGTERM, commit what was read within this time",
    ),
    setting(
        Section::Worker,
        "VERIFY_EVERY",
        None,
        "Compare rows with their entries this long after the last time, one worker at a time; never where it is not set",
    ),
    setting(
        Section::Worker,
        "VERIFY_DAYS",
        Some("2"),
        "Compare rows of so many days, the last of which is today",
    ),
    setting(
        Section::Verify,
        "VERIFY_MEMORY",
        Some("512MiB"),
        "Memory that is taken, about; sums of entries that do not fit go to unnamed files in the folder for temporary ones",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_has_a_file_as_its_twin_and_nothing_else_has() {
        let secrets = SETTINGS.iter().filter(|setting| setting.is_secret);
        let twins: Vec<String> = secrets.map(|secret| format!("{}_FILE", secret.name)).collect();
        let files = SETTINGS.iter().filter(|setting| setting.holds.is_some());
        assert_eq!(files.clone().map(|file| file.name).collect::<Vec<_>>(), twins);
        for file in files {
            assert_eq!(
                file.holds.map(|name| format!("{name}_FILE")).as_deref(),
                Some(file.name)
            );
        }
    }
}
