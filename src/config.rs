//! Settings: from texts to values that the program can rely on.
//!
//! [`parse`] is a function of strings. It looks at every setting of a command before it says anything, so that all problems
//! are reported at once, each naming its variable. A command is told what it uses, as a [`Part`] or several, and has no
//! other settings.

mod certificate;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod given;
mod parse;
mod parts;
mod table;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use ingest::batch::Limits;
use ingest::dedupe::Scope;
use ingest::kafka;
use rollup::fold::Grouping;

pub use certificate::{Certificate, CertificateFiles, Contents, Mark};
pub use given::{Given, Problem};
pub use parse::{Parser, Part};
pub use table::{SETTINGS, Section, Setting};

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

/// Where the ledger is.
#[derive(Debug, Clone)]
pub struct Database {
    /// The replica set. May hold a password.
    pub uri: Secret,
    /// The ledger's database.
    pub name: String,
}

/// What one ledger is for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which rows an event is booked to: time zone and granularities.
    pub grouping: Grouping,
    /// ISO 4217.
    pub currency: String,
}

/// What an event must be, besides its contract.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Those that do not depend on the clock.
    pub event: rollup::event::Rules,
    /// Events completed longer ago are rejected.
    pub max_age: Option<TimeDelta>,
}

/// How events are counted.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where events come from.
    pub source: Source,
    /// What an event must be.
    pub rules: Rules,
    /// When a batch is committed.
    pub limits: Limits,
    /// The de-duplication of event ids.
    pub dedupe: Dedupe,
    /// How long the payloads of open dead letters are kept.
    pub letter_keep: Option<Duration>,
    /// How long the entries behind the totals are kept.
    pub journal_keep: Duration,
    /// How long a silent leader keeps a change stream.
    pub lease: Duration,
    /// When rows are compared with their entries beside all that; `None`: never.
    pub verify: Option<Schedule>,
}

/// When a worker compares rows with their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// From the end of one comparison to the begin of the next, whichever worker makes it.
    pub every: Duration,
    /// Rows of so many days are compared, the last of which is today.
    pub days: u32,
    /// Bytes of sums that are held in memory.
    pub memory: usize,
}

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: SocketAddr,
    /// Connections that are taken at once.
    pub max_connections: usize,
}

/// Who is answered, and where.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Where the reader listens.
    pub listen: Listen,
    /// What secures that port; `None`: it is plain.
    pub certificate: Option<Certificate>,
    /// Who may read.
    pub access: api::Access,
    /// Organizations left out of the platform table.
    pub excluded_organizations: Vec<String>,
}

/// Where a process that stays tells how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// The address.
    pub address: SocketAddr,
}

/// What every process has that stays.
#[derive(Debug, Clone)]
pub struct Process {
    /// Where the ledger is.
    pub database: Database,
    /// What it is for ever.
    pub identity: Identity,
    /// Where metrics and health listen.
    pub admin: Listen,
    /// How long a drain may take.
    pub drain_timeout: Duration,
}

/// How rows are compared with their entries.
#[derive(Debug, Clone)]
pub struct Verify {
    /// Where the ledger is.
    pub database: Database,
    /// Bytes that it takes, about.
    pub memory: usize,
}

/// Checks the settings of these parts. Of files that they name none is there.
///
/// # Errors
/// All problems at once.
pub fn parse<T: Part>(given: &Given) -> Result<T, Vec<Problem>> {
    let none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    Parser::new(given, Vec::new(), &none).read()
}

/// Reads the files that settings name, and checks the settings of these parts.
///
/// # Errors
/// All problems at once.
pub fn load<T: Part>(given: &Given) -> Result<T, Vec<Problem>> {
    let files = |path: &Path| std::fs::read(path);
    let (given, problems) = files::read(given, files);
    Parser::new(&given, problems, &files).read()
}
