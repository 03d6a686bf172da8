//! Settings: from texts to values that the program can rely on.
//!
//! [`Config::parse`] is a function of strings. It looks at every setting before it says anything, so that
//! all problems are reported at once, each naming its variable.

mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod parse;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ingest::batch::Limits;
use ingest::dedupe::Scope;
use ingest::kafka;
use rollup::fold::Grouping;

pub use table::{SETTINGS, Setting};

/// Settings as they were given, by name (without `USAGE_LEDGER_`). What is not set is not in it.
pub type Given = BTreeMap<&'static str, String>;

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The environment variable.
    pub variable: String,
    /// What was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.message)
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Where events come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The change stream of a collection.
    ChangeStream {
        /// Its database.
        database: String,
        /// The collection.
        collection: String,
    },
    /// A Kafka topic.
    Kafka(kafka::Settings),
}

impl Source {
    /// The name of the kind of source.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Source::ChangeStream { .. } => "change-stream",
            Source::Kafka(_) => "kafka",
        }
    }
}

/// The de-duplication of event ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// For how long an id is remembered, in the source's time.
    pub window: Duration,
    /// How far a duplicate is looked for.
    pub scope: Scope,
    /// The most ids that this process remembers.
    pub max_ids: usize,
}

/// What one ledger is for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which rows an event is booked to: time zone and granularities.
    pub grouping: Grouping,
    /// ISO 4217.
    pub currency: String,
}

/// Settings that passed every check.
#[derive(Debug, Clone)]
pub struct Config {
    /// The replica set. May hold a password.
    pub mongodb_uri: Secret,
    /// The ledger's database.
    pub database: String,
    /// Where events come from.
    pub source: Source,
    /// Where the reader listens.
    pub api_addr: SocketAddr,
    /// Where metrics and health listen.
    pub admin_addr: SocketAddr,
    /// Connections that the reader takes at once.
    pub api_max_connections: usize,
    /// Connections that metrics and health take at once.
    pub admin_max_connections: usize,
    /// Who may read; `None` for commands that serve nothing.
    pub access: Option<api::Access>,
    /// When a batch is committed.
    pub limits: Limits,
    /// The de-duplication of event ids.
    pub dedupe: Dedupe,
    /// Events completed before are skipped.
    pub start_at: Option<DateTime<Utc>>,
    /// Events completed longer ago are rejected.
    pub max_age: Option<Duration>,
    /// How long the payloads of open dead letters are kept.
    pub letter_keep: Option<Duration>,
    /// How long a silent leader keeps a change stream.
    pub lease: Duration,
    /// What the ledger is for ever.
    pub identity: Identity,
    /// Organizations left out of the platform table.
    pub excluded_organizations: Vec<String>,
    /// How long a drain may take.
    pub drain_timeout: Duration,
}

impl Config {
    /// Checks all settings. `serves` says whether the command answers readers, so that access matters.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(given: &Given, serves: bool) -> Result<Self, Vec<Problem>> {
        parse::config(given, serves, Vec::new())
    }

    /// Reads the files that settings name, and checks all settings.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(given: &Given, serves: bool) -> Result<Self, Vec<Problem>> {
        let (given, problems) = files::read(given, |path| std::fs::read(path));
        parse::config(&given, serves, problems)
    }
}
