//! The parts, and the settings that each is made of.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use ingest::batch::Limits;
use ingest::dedupe::Scope;
use ingest::kafka;
use mongodb::options::ConnectionString;
use rollup::fold::Grouping;
use rollup::period::{Calendar, Granularity};

use super::certificate::{CERTIFICATE, KEY};
use super::parse::Parser;
use super::table::{Section, variable};
use super::{
    Admin, Certificate, CertificateFiles, Database, Dedupe, Identity, Listen, Part, Process, Reader, Rules,
    Schedule, Secret, Source, Verify, Worker,
};

/// Ids of one commit and lane are stored as one document of at most 16 MiB.
const MAX_BATCH_EVENTS: usize = 200_000;
/// More often a ledger is not compared: it would be all that the worker does.
const LEAST_VERIFY_EVERY: Duration = Duration::from_secs(60);
/// Longer than any journal is kept.
const MOST_VERIFY_DAYS: usize = 36_600;
/// Below this nothing can be learned from what commits take.
const LEAST_COMMIT_TARGET: Duration = Duration::from_millis(10);
/// No system lets a process open more.
const MAX_CONNECTIONS: usize = 1_000_000;

impl<A: Part, B: Part> Part for (A, B) {
    fn sections() -> Vec<Section> {
        [A::sections(), B::sections()].concat()
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        (A::read(parser), B::read(parser))
    }
}

impl<A: Part, B: Part, C: Part> Part for (A, B, C) {
    fn sections() -> Vec<Section> {
        [A::sections(), B::sections(), C::sections()].concat()
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        (A::read(parser), B::read(parser), C::read(parser))
    }
}

impl Part for Database {
    fn sections() -> Vec<Section> {
        vec![Section::Database]
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        let uri = parser.text("MONGODB_URI").unwrap_or_default();
        if ConnectionString::parse(&uri).is_err() {
            // The driver's words may repeat a part of it.
            parser.problem(
                "MONGODB_URI",
                "expected a connection string such as `mongodb://host:27017/?replicaSet=rs0`",
            );
        }
        Self {
            uri: Secret(uri),
            name: parser.name("MONGODB_DATABASE"),
        }
    }
}

impl Part for Identity {
    fn sections() -> Vec<Section> {
        vec![Section::Periods, Section::Currency]
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        let calendar = parser.value::<Calendar>("TIME_ZONE").unwrap_or(Calendar::UTC);
        let mut granularities = Vec::new();
        for name in parser.list("GRANULARITIES") {
            match name.parse::<Granularity>() {
                Ok(granularity) => granularities.push(granularity),
                Err(error) => parser.problem("GRANULARITIES", error.to_string()),
            }
        }
        let grouping = Grouping::new(calendar, &granularities).or_else(|error| {
            parser.problem("GRANULARITIES", error.to_string());
            Grouping::new(calendar, &[Granularity::Daily])
        });
        Self {
            grouping: grouping.expect("`daily` alone is a grouping"),
            currency: currency(parser),
        }
    }
}

fn currency(parser: &mut Parser<'_>) -> String {
    let currency = parser.text("CURRENCY").unwrap_or_default();
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        parser.problem(
            "CURRENCY",
            format!("expected an ISO 4217 code such as `USD`, got `{currency}`"),
        );
    }
    currency
}

impl Part for Rules {
    fn sections() -> Vec<Section> {
        vec![Section::Rules, Section::Currency]
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        let start_at = parser.instant("START_AT");
        let max_age = parser.duration("MAX_AGE", Duration::from_secs(1));
        Self {
            event: rollup::event::Rules {
                currency: currency(parser),
                start_at_ms: start_at.map(|start| start.timestamp_millis()),
            },
            max_age: max_age.map(|age| TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX)),
        }
    }
}

impl Part for Source {
    fn sections() -> Vec<Section> {
        vec![Section::Database, Section::Source]
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        match parser.one_of("SOURCE", &["change-stream", "kafka"]) {
            Some("kafka") => kafka_source(parser).unwrap_or_else(|| change_stream(parser)),
            _ => change_stream(parser),
        }
    }
}

fn change_stream(parser: &mut Parser<'_>) -> Source {
    let name = parser.text("EVENTS_COLLECTION").unwrap_or_default();
    let (database, collection) = match name.split_once('.') {
        Some((database, collection)) => (database.to_owned(), collection.to_owned()),
        None => (parser.name("MONGODB_DATABASE"), name.clone()),
    };
    if database.is_empty() || collection.is_empty() || collection.contains(['$', '\0']) {
        parser.problem(
            "EVENTS_COLLECTION",
            format!("expected `collection` or `database.collection`, got `{name}`"),
        );
    }
    Source::ChangeStream { database, collection }
}

/// `None`: a problem was noted.
fn kafka_source(parser: &mut Parser<'_>) -> Option<Source> {
    let properties = parser.properties("KAFKA_PROPERTIES");
    let text = |name| parser.text(name).unwrap_or_default();
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
                parser.problem(name, message);
            }
            None
        }
    }
}

impl Part for Worker {
    fn sections() -> Vec<Section> {
        let own = vec![Section::Worker, Section::Verify];
        [Source::sections(), Rules::sections(), own].concat()
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        parser.one_of("DELETES", &["keep"]);
        let window = parser
            .duration("DEDUPE_WINDOW", Duration::ZERO)
            .unwrap_or_default();
        let journal_keep = parser
            .duration("JOURNAL_KEEP", Duration::ZERO)
            .unwrap_or_default();
        if journal_keep < window {
            parser.problem(
                "JOURNAL_KEEP",
                "expected at least USAGE_LEDGER_DEDUPE_WINDOW: the window is loaded from the journal",
            );
        }
        Self {
            source: Source::read(parser),
            rules: Rules::read(parser),
            limits: limits(parser),
            dedupe: Dedupe {
                window,
                scope: match parser.one_of("DEDUPE_SCOPE", &["lane", "ledger"]) {
                    Some("ledger") => Scope::Ledger,
                    _ => Scope::Lane,
                },
                max_ids: parser.number("DEDUPE_MAX_IDS", 1, usize::MAX),
            },
            journal_keep,
            letter_keep: parser.duration("DEAD_LETTER_KEEP", Duration::from_secs(1)),
            lease: parser
                .duration("LEASE", Duration::from_secs(1))
                .unwrap_or_default(),
            verify: schedule(parser),
        }
    }
}

fn schedule(parser: &mut Parser<'_>) -> Option<Schedule> {
    let every = parser.duration("VERIFY_EVERY", Duration::ZERO);
    if every.is_some_and(|every| every < LEAST_VERIFY_EVERY) {
        parser.problem("VERIFY_EVERY", "expected at least `1m`");
    }
    let days = parser.number("VERIFY_DAYS", 1, MOST_VERIFY_DAYS);
    let memory = parser.bytes("VERIFY_MEMORY");
    every.map(|every| Schedule {
        every,
        days: u32::try_from(days).unwrap_or(u32::MAX),
        memory,
    })
}

fn limits(parser: &mut Parser<'_>) -> Limits {
    Limits {
        max_events: parser.number("BATCH_MAX_EVENTS", 1, MAX_BATCH_EVENTS),
        max_age: parser
            .duration("BATCH_MAX_AGE", Duration::ZERO)
            .unwrap_or_default(),
        max_bytes: parser.bytes("BATCH_MAX_BYTES"),
        max_rows: parser.number("BATCH_MAX_ROWS", 1, usize::MAX),
        commit_target: parser
            .duration("COMMIT_TARGET", LEAST_COMMIT_TARGET)
            .unwrap_or_default(),
    }
}

impl Part for Admin {
    fn sections() -> Vec<Section> {
        vec![Section::Admin]
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        let address = parser.address("ADMIN_ADDR");
        if address.port() == 0 && !parser.is_wrong("ADMIN_ADDR") {
            parser.problem("ADMIN_ADDR", "expected the port on which the process listens");
        }
        Self { address }
    }
}

impl Part for Process {
    fn sections() -> Vec<Section> {
        let own = vec![Section::Admin, Section::Process];
        [Database::sections(), Identity::sections(), own].concat()
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        Self {
            database: Database::read(parser),
            identity: Identity::read(parser),
            admin: listen(parser, "ADMIN_ADDR", "ADMIN_MAX_CONNECTIONS"),
            drain_timeout: parser
                .duration("DRAIN_TIMEOUT", Duration::from_millis(1))
                .unwrap_or_default(),
        }
    }
}

impl Part for Verify {
    fn sections() -> Vec<Section> {
        [Database::sections(), vec![Section::Verify]].concat()
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        Self {
            database: Database::read(parser),
            memory: parser.bytes("VERIFY_MEMORY"),
        }
    }
}

fn listen(parser: &mut Parser<'_>, address: &'static str, max_connections: &'static str) -> Listen {
    Listen {
        address: parser.address(address),
        max_connections: parser.number(max_connections, 1, MAX_CONNECTIONS),
    }
}

impl Part for Reader {
    fn sections() -> Vec<Section> {
        vec![Section::Reader]
    }

    fn read(parser: &mut Parser<'_>) -> Self {
        let listen = listen(parser, "API_ADDR", "API_MAX_CONNECTIONS");
        let address = listen.address;
        if address.port() != 0 && address == parser.address("ADMIN_ADDR") {
            parser.problem("ADMIN_ADDR", "expected another address than that of the reader");
        }
        Self {
            listen,
            certificate: certificate(parser),
            // Where it cannot be told a problem was noted.
            access: access(parser, address).unwrap_or(api::Access::Off),
            excluded_organizations: parser.list("EXCLUDED_ORGANIZATIONS"),
        }
    }
}

/// `None`: none is set, or a problem was noted.
fn certificate(parser: &mut Parser<'_>) -> Option<Certificate> {
    let (certificate, key) = match (parser.text(CERTIFICATE), parser.text(KEY)) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate.into(), key.into()),
        (certificate, _) => {
            let (set, missing) = match certificate {
                Some(_) => (CERTIFICATE, KEY),
                None => (KEY, CERTIFICATE),
            };
            parser.problem(
                missing,
                format!("expected a file beside that of {}", variable(set)),
            );
            return None;
        }
    };
    let files = CertificateFiles { certificate, key };
    let contents = files.read(|path| parser.file(path));
    let judged = files.judge(&contents);
    judged
        .map_err(|problems| problems.into_iter().for_each(|problem| parser.note(problem)))
        .ok()
}

fn access(parser: &mut Parser<'_>, address: SocketAddr) -> Option<api::Access> {
    match parser.one_of("AUTH", &["jwt", "off"])? {
        "off" => {
            if !address.ip().is_loopback() {
                parser.problem(
                    "AUTH",
                    format!(
                        "`off` lets everybody read everything: not on `{address}`, which is no loopback address"
                    ),
                );
            }
            Some(api::Access::Off)
        }
        _ => jwt(parser).map(api::Access::Jwt),
    }
}

fn jwt(parser: &mut Parser<'_>) -> Option<api::Jwt> {
    // Before the key: also where that is missing, all that is wrong is said.
    let claims = claims(parser);
    let may_be_plain = parser.one_of("JWT_JWKS_PLAIN_HTTP", &["true", "false"]) == Some("true");
    let keys = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"];
    if keys
        .into_iter()
        .any(|name| parser.is_wrong(&format!("{name}_FILE")))
    {
        // That is the problem, and not that there is no key.
        return None;
    }
    let mut set = keys
        .into_iter()
        .filter_map(|name| Some((name, parser.text(name)?)));
    let (Some((name, text)), None) = (set.next(), set.next()) else {
        let names = keys.map(variable);
        parser.problem(
            "AUTH",
            format!("`jwt` needs one of {}, {} and {}", names[0], names[1], names[2]),
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
        issuer: parser.text("JWT_ISSUER"),
        audience: parser.text("JWT_AUDIENCE"),
        claims: claims?,
        ..api::Jwt::new(key)
    };
    if name == "JWT_JWKS_URL" && jwt.audience.is_none() {
        parser.problem(
            "JWT_AUDIENCE",
            "expected one with a key set: its issuer signs tokens for other services too",
        );
    }
    if let Err(error) = api::check_access(&api::Access::Jwt(jwt.clone())) {
        parser.problem(name, error.to_string());
    }
    Some(jwt)
}

/// Where tokens say what. `None`: a problem was noted.
fn claims(parser: &mut Parser<'_>) -> Option<api::Claims> {
    let (organizations, staff) = (
        parser.value("JWT_ORGANIZATIONS_CLAIM"),
        parser.value("JWT_STAFF_CLAIM"),
    );
    let admin_roles = parser.list("JWT_ADMIN_ROLES");
    if admin_roles.is_empty() {
        parser.problem("JWT_ADMIN_ROLES", "expected roles such as `owner,admin`");
    }
    Some(api::Claims {
        organizations: organizations?,
        admin_roles,
        staff: staff?,
        staff_value: parser.text("JWT_STAFF_VALUE")?,
    })
}

#[cfg(test)]
mod tests;
