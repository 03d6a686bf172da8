//! The settings, as people see them: one row each. Flags, variables, `--help` and the README's table all
//! follow from it.

/// One setting: a flag and its environment variable.
#[derive(Debug)]
pub struct Setting {
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

const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting {
        name,
        default,
        help,
        is_secret: false,
        holds: None,
    }
}

const fn secret(name: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting {
        name,
        default,
        help,
        is_secret: true,
        holds: None,
    }
}

/// The twin of a secret: a file that holds it. What is in a file is neither in `ps` nor in an environment.
const fn file(name: &'static str, holds: &'static str) -> Setting {
    Setting {
        name,
        default: None,
        help: "A file that holds the setting before, instead of the setting itself",
        is_secret: false,
        holds: Some(holds),
    }
}

/// Every setting, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    secret(
        "MONGODB_URI",
        Some("mongodb://127.0.0.1:27017"),
        "The MongoDB replica set that holds the ledger",
    ),
    file("MONGODB_URI_FILE", "MONGODB_URI"),
    setting("MONGODB_DATABASE", Some("usage"), "The ledger's database"),
    setting(
        "SOURCE",
        Some("change-stream"),
        "Where events come from: `change-stream` or `kafka`",
    ),
    setting(
        "EVENTS_COLLECTION",
        Some("requestEvents"),
        "The collection that services insert events into; `database.collection` for another database",
    ),
    setting(
        "KAFKA_BROKERS",
        None,
        "Kafka's bootstrap servers: `host:port,host:port`",
    ),
    setting(
        "KAFKA_TOPIC",
        Some("request-events"),
        "The topic that services produce events to",
    ),
    setting(
        "KAFKA_GROUP",
        Some("usage-ledger"),
        "The consumer group; workers of one group share the partitions",
    ),
    secret(
        "KAFKA_PROPERTIES",
        None,
        "More properties of librdkafka: `key=value,key=value`, with `\\,` for a comma in a value",
    ),
    file("KAFKA_PROPERTIES_FILE", "KAFKA_PROPERTIES"),
    setting("API_ADDR", Some("127.0.0.1:8080"), "Where the reader listens"),
    setting(
        "ADMIN_ADDR",
        Some("127.0.0.1:9464"),
        "Where metrics and health listen",
    ),
    setting(
        "API_MAX_CONNECTIONS",
        Some("1024"),
        "Connections that the reader takes at once; further ones take the place of the one that is quiet for longest",
    ),
    setting(
        "ADMIN_MAX_CONNECTIONS",
        Some("64"),
        "The same for metrics and health",
    ),
    setting(
        "AUTH",
        Some("jwt"),
        "Who may read: `jwt`, or `off` (only on loopback)",
    ),
    secret(
        "JWT_SECRET",
        None,
        "Shared secret of HS256 tokens, 32 bytes or more",
    ),
    file("JWT_SECRET_FILE", "JWT_SECRET"),
    setting(
        "JWT_PUBLIC_KEY",
        None,
        "Public key (PEM) of RS256 or ES256 tokens",
    ),
    secret(
        "JWT_JWKS_URL",
        None,
        "Where the keys of RS256 or ES256 tokens are published",
    ),
    file("JWT_JWKS_URL_FILE", "JWT_JWKS_URL"),
    setting(
        "JWT_JWKS_PLAIN_HTTP",
        Some("false"),
        "`true`: keys may come over plain HTTP from another machine; whoever is on the way can then forge tokens",
    ),
    setting("JWT_ISSUER", None, "The issuer that tokens must name"),
    setting(
        "JWT_AUDIENCE",
        None,
        "The audience that tokens must name; required with a key set, whose issuer has other audiences too",
    ),
    setting(
        "BATCH_MAX_EVENTS",
        Some("10000"),
        "Commit at the latest after this many events",
    ),
    setting(
        "BATCH_MAX_AGE",
        Some("250ms"),
        "Commit at the latest when the oldest event has waited this long",
    ),
    setting(
        "BATCH_MAX_BYTES",
        Some("8MiB"),
        "Commit at the latest after this many bytes of events",
    ),
    setting(
        "BATCH_MAX_ROWS",
        Some("20000"),
        "Statements of a transaction, at most: rows, rollups, ids and letters. How many it has is learned",
    ),
    setting(
        "COMMIT_TARGET",
        Some("1s"),
        "How long that part of a commit should take that grows with its statements",
    ),
    setting(
        "DEDUPE_WINDOW",
        Some("24h"),
        "For how long, in the source's time, an event id is remembered",
    ),
    setting(
        "DEDUPE_SCOPE",
        Some("lane"),
        "Where a duplicate is recognised: `lane` (in the partition or change stream of the first copy: one on another \
         partition counts again) or `ledger` (anywhere; slower)",
    ),
    setting(
        "DEDUPE_MAX_IDS",
        Some("50000000"),
        "Remember at most this many ids; beyond, the window shrinks",
    ),
    setting(
        "START_AT",
        None,
        "Skip events completed before this instant (RFC 3339): another ledger has them",
    ),
    setting(
        "MAX_AGE",
        None,
        "Reject events completed longer ago than this; not applied to history",
    ),
    setting(
        "DEAD_LETTER_KEEP",
        None,
        "Drop the payloads of open dead letters after this time; the letters stay. For ever where it is not set",
    ),
    setting(
        "DELETES",
        Some("keep"),
        "A deleted event document leaves the bill as it is: `keep`",
    ),
    setting(
        "LEASE",
        Some("10s"),
        "A worker that was silent for this long counts as dead: another one takes its change stream, and may end its transaction",
    ),
    setting(
        "TIME_ZONE",
        Some("UTC"),
        "The IANA time zone of all periods; fixed when the ledger is created",
    ),
    setting(
        "CURRENCY",
        Some("USD"),
        "The ISO 4217 currency of all costs; fixed when the ledger is created",
    ),
    setting(
        "GRANULARITIES",
        Some("daily,weekly,monthly"),
        "Periods kept: `daily` and any of `hourly,weekly,monthly`; fixed when the ledger is created",
    ),
    setting(
        "EXCLUDED_ORGANIZATIONS",
        None,
        "Organizations booked but left out of the platform table: `a,b`",
    ),
    setting(
        "DRAIN_TIMEOUT",
        Some("20s"),
        "After SIGTERM, commit what was read within this time",
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
