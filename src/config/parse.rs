//! One function per kind of value; problems are collected, never thrown.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ingest::batch::Limits;
use ingest::dedupe::Scope;
use ingest::kafka;
use mongodb::options::ConnectionString;
use rollup::fold::Grouping;
use rollup::period::{Calendar, Granularity};

use super::table::{SETTINGS, variable};
use super::{Config, Dedupe, Given, Identity, Problem, Secret, Source};

/// Ids of one commit and lane are stored as one document of at most 16 MiB.
const MAX_BATCH_EVENTS: usize = 200_000;
/// Below this nothing can be learned from what commits take.
const LEAST_COMMIT_TARGET: Duration = Duration::from_millis(10);
/// No system lets a process open more.
const MAX_CONNECTIONS: usize = 1_000_000;

struct Parser<'a> {
    given: &'a Given,
    problems: Vec<Problem>,
}

pub(super) fn config(given: &Given, serves: bool, problems: Vec<Problem>) -> Result<Config, Vec<Problem>> {
    let mut parser = Parser { given, problems };
    let database = parser.name("MONGODB_DATABASE");
    // Where it is none a problem was noted, and no configuration comes of it.
    let source = parser.source(&database).unwrap_or_else(|| Source::ChangeStream {
        database: database.clone(),
        collection: String::new(),
    });
    let api_addr = parser.address("API_ADDR");
    let admin_addr = parser.address("ADMIN_ADDR");
    if serves && api_addr == admin_addr && api_addr.port() != 0 {
        parser.problem("ADMIN_ADDR", "expected another address than that of the reader");
    }
    let access = if serves { parser.access(api_addr) } else { None };
    let limits = parser.limits();
    let scope = match parser.one_of("DEDUPE_SCOPE", &["lane", "ledger"]) {
        Some("ledger") => Scope::Ledger,
        _ => Scope::Lane,
    };
    parser.one_of("DELETES", &["keep"]);
    let config = Config {
        mongodb_uri: parser.mongodb_uri(),
        database,
        source,
        api_addr,
        admin_addr,
        api_max_connections: parser.number("API_MAX_CONNECTIONS", 1, MAX_CONNECTIONS),
        admin_max_connections: parser.number("ADMIN_MAX_CONNECTIONS", 1, MAX_CONNECTIONS),
        access,
        limits,
        dedupe: Dedupe {
            window: parser
                .duration("DEDUPE_WINDOW", Duration::ZERO)
                .unwrap_or_default(),
            scope,
            max_ids: parser.number("DEDUPE_MAX_IDS", 1, usize::MAX),
        },
        start_at: parser.instant("START_AT"),
        max_age: parser.duration("MAX_AGE", Duration::from_secs(1)),
        letter_keep: parser.duration("DEAD_LETTER_KEEP", Duration::from_secs(1)),
        lease: parser
            .duration("LEASE", Duration::from_secs(1))
            .unwrap_or_default(),
        identity: parser.identity(),
        excluded_organizations: parser.list("EXCLUDED_ORGANIZATIONS"),
        drain_timeout: parser
            .duration("DRAIN_TIMEOUT", Duration::from_millis(1))
            .unwrap_or_default(),
    };
    if parser.problems.is_empty() {
        Ok(config)
    } else {
        Err(parser.problems)
    }
}

impl Parser<'_> {
    fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            variable: variable(name),
            message: message.into(),
        });
    }

    /// What was given, else the default. An empty text is "not set": that is how a shell clears a variable.
    fn text(&self, name: &str) -> Option<String> {
        let given = self.given.get(name).filter(|text| !text.is_empty()).cloned();
        given.or_else(|| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
            setting.default.map(str::to_owned)
        })
    }

    /// A value of a type that reads itself; its error says what was expected.
    fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, error.to_string());
                None
            }
        }
    }

    fn address(&mut self, name: &str) -> SocketAddr {
        let text = self.text(name).unwrap_or_default();
        text.parse().unwrap_or_else(|_| {
            self.problem(
                name,
                format!("expected an address such as `127.0.0.1:8080`, got `{text}`"),
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn name(&mut self, name: &str) -> String {
        let text = self.text(name).unwrap_or_default();
        let is_plain = |text: &str| {
            !text.is_empty() && text.len() <= 63 && !text.contains(['/', '\\', '.', ' ', '"', '$', '\0'])
        };
        if !is_plain(&text) {
            self.problem(name, format!("expected a database name, got `{text}`"));
        }
        text
    }

    fn number(&mut self, name: &str, min: usize, max: usize) -> usize {
        let text = self.text(name).unwrap_or_default();
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ if max == usize::MAX => {
                self.problem(name, format!("expected a whole number from {min}, got `{text}`"));
                min
            }
            _ => {
                self.problem(
                    name,
                    format!("expected a whole number from {min} to {max}, got `{text}`"),
                );
                min
            }
        }
    }

    fn duration(&mut self, name: &str, min: Duration) -> Option<Duration> {
        let text = self.text(name)?;
        match humantime::parse_duration(&text) {
            // Far beyond any sensible value, and far below where arithmetic on instants ends.
            Ok(duration) if (min..=Duration::from_secs(100 * 366 * 86_400)).contains(&duration) => {
                Some(duration)
            }
            _ => {
                self.problem(
                    name,
                    format!("expected a duration such as `250ms`, `20s` or `24h`, got `{text}`"),
                );
                None
            }
        }
    }

    fn bytes(&mut self, name: &str) -> usize {
        let text = self.text(name).unwrap_or_default();
        let bytes = text
            .parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| usize::try_from(size.as_u64()).ok());
        bytes.filter(|bytes| *bytes > 0).unwrap_or_else(|| {
            self.problem(name, format!("expected a size such as `8MiB`, got `{text}`"));
            1
        })
    }

    fn instant(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        match DateTime::parse_from_rfc3339(&text) {
            Ok(instant) => Some(instant.to_utc()),
            Err(_) => {
                self.problem(
                    name,
                    format!("expected an instant such as `2026-01-01T00:00:00Z`, got `{text}`"),
                );
                None
            }
        }
    }

    fn one_of(&mut self, name: &str, values: &[&'static str]) -> Option<&'static str> {
        let text = self.text(name)?;
        let found = values.iter().find(|value| **value == text).copied();
        if found.is_none() {
            let expected = values
                .iter()
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" or ");
            self.problem(name, format!("expected {expected}, got `{text}`"));
        }
        found
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn limits(&mut self) -> Limits {
        Limits {
            max_events: self.number("BATCH_MAX_EVENTS", 1, MAX_BATCH_EVENTS),
            max_age: self.duration("BATCH_MAX_AGE", Duration::ZERO).unwrap_or_default(),
            max_bytes: self.bytes("BATCH_MAX_BYTES"),
            max_rows: self.number("BATCH_MAX_ROWS", 1, usize::MAX),
            commit_target: self
                .duration("COMMIT_TARGET", LEAST_COMMIT_TARGET)
                .unwrap_or_default(),
        }
    }

    fn identity(&mut self) -> Identity {
        let calendar = self.value::<Calendar>("TIME_ZONE").unwrap_or(Calendar::UTC);
        let mut granularities = Vec::new();
        for name in self.list("GRANULARITIES") {
            match name.parse::<Granularity>() {
                Ok(granularity) => granularities.push(granularity),
                Err(error) => self.problem("GRANULARITIES", error.to_string()),
            }
        }
        let grouping = Grouping::new(calendar, &granularities).or_else(|error| {
            self.problem("GRANULARITIES", error.to_string());
            Grouping::new(calendar, &[Granularity::Daily])
        });
        let currency = self.text("CURRENCY").unwrap_or_default();
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.problem(
                "CURRENCY",
                format!("expected an ISO 4217 code such as `USD`, got `{currency}`"),
            );
        }
        Identity {
            grouping: grouping.expect("`daily` alone is a grouping"),
            currency,
        }
    }

    /// `None`: a problem was noted.
    fn source(&mut self, own_database: &str) -> Option<Source> {
        match self.one_of("SOURCE", &["change-stream", "kafka"]) {
            Some("kafka") => self.kafka(),
            _ => {
                let name = self.text("EVENTS_COLLECTION").unwrap_or_default();
                let (database, collection) = match name.split_once('.') {
                    Some((database, collection)) => (database.to_owned(), collection.to_owned()),
                    None => (own_database.to_owned(), name.clone()),
                };
                if database.is_empty() || collection.is_empty() || collection.contains(['$', '\0']) {
                    self.problem(
                        "EVENTS_COLLECTION",
                        format!("expected `collection` or `database.collection`, got `{name}`"),
                    );
                }
                Some(Source::ChangeStream { database, collection })
            }
        }
    }

    fn kafka(&mut self) -> Option<Source> {
        let properties = self.properties("KAFKA_PROPERTIES");
        let text = |name| self.text(name).unwrap_or_default();
        let (brokers, topic, group) = (text("KAFKA_BROKERS"), text("KAFKA_TOPIC"), text("KAFKA_GROUP"));
        match kafka::Settings::new(&brokers, &topic, &group, properties) {
            Ok(settings) => Some(Source::Kafka(settings)),
            Err(problems) => {
                for kafka::Problem { setting, message } in problems {
                    let name = match setting {
                        kafka::Setting::Brokers => "KAFKA_BROKERS",
                        kafka::Setting::Topic => "KAFKA_TOPIC",
                        kafka::Setting::Group => "KAFKA_GROUP",
                        kafka::Setting::Properties => "KAFKA_PROPERTIES",
                    };
                    self.problem(name, message);
                }
                None
            }
        }
    }

    /// `key=value,key=value`, with `\,` for a comma in a value.
    fn properties(&mut self, name: &str) -> Vec<(String, String)> {
        let text = self.text(name).unwrap_or_default();
        let mut items = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek() == Some(&',') => {
                    items.last_mut().expect("never empty").extend(characters.next());
                }
                ',' => items.push(String::new()),
                other => items.last_mut().expect("never empty").push(other),
            }
        }
        let mut properties = Vec::new();
        for item in items.iter().filter(|item| !item.trim().is_empty()) {
            match item.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    properties.push((key.trim().to_owned(), value.to_owned()));
                }
                // The item may be part of a password: it is not shown.
                _ => self.problem(
                    name,
                    "expected `key=value,key=value`, with `\\,` for a comma in a value",
                ),
            }
        }
        properties
    }

    fn access(&mut self, api_addr: SocketAddr) -> Option<api::Access> {
        match self.one_of("AUTH", &["jwt", "off"])? {
            "off" => {
                if !api_addr.ip().is_loopback() {
                    self.problem(
                        "AUTH",
                        format!("`off` lets everybody read everything: not on `{api_addr}`, which is no loopback address"),
                    );
                }
                Some(api::Access::Off)
            }
            _ => self.jwt().map(api::Access::Jwt),
        }
    }

    fn mongodb_uri(&mut self) -> Secret {
        let uri = self.text("MONGODB_URI").unwrap_or_default();
        if ConnectionString::parse(&uri).is_err() {
            // The driver's words may repeat a part of it.
            self.problem(
                "MONGODB_URI",
                "expected a connection string such as `mongodb://host:27017/?replicaSet=rs0`",
            );
        }
        Secret(uri)
    }

    fn jwt(&mut self) -> Option<api::Jwt> {
        let may_be_plain = self.one_of("JWT_JWKS_PLAIN_HTTP", &["true", "false"]) == Some("true");
        let keys = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"];
        let is_unread = |name: &str| {
            let twin = variable(&format!("{name}_FILE"));
            self.problems.iter().any(|problem| problem.variable == twin)
        };
        if keys.into_iter().any(is_unread) {
            // That is the problem, and not that there is no key.
            return None;
        }
        let mut set = keys.into_iter().filter_map(|name| Some((name, self.text(name)?)));
        let (Some((name, text)), None) = (set.next(), set.next()) else {
            self.problem(
                "AUTH",
                "`jwt` needs one of USAGE_LEDGER_JWT_SECRET, USAGE_LEDGER_JWT_PUBLIC_KEY and USAGE_LEDGER_JWT_JWKS_URL",
            );
            return None;
        };
        let key = match name {
            "JWT_SECRET" => api::Key::Secret(text),
            "JWT_PUBLIC_KEY" => api::Key::PublicKey(text),
            _ => api::Key::Jwks {
                address: text,
                may_be_plain,
            },
        };
        let jwt = api::Jwt {
            issuer: self.text("JWT_ISSUER"),
            audience: self.text("JWT_AUDIENCE"),
            ..api::Jwt::new(key)
        };
        if name == "JWT_JWKS_URL" && jwt.audience.is_none() {
            self.problem(
                "JWT_AUDIENCE",
                "expected one with a key set: its issuer signs tokens for other services too",
            );
        }
        if let Err(error) = api::check_access(&api::Access::Jwt(jwt.clone())) {
            self.problem(name, error.to_string());
        }
        Some(jwt)
    }
}

#[cfg(test)]
mod tests;
