//! The settings of the reader.

use std::fmt;
use std::time::Duration;

use rollup::period::{Calendar, Granularity};

pub use crate::access::{Claims, NoPointer, Pointer};

/// The settings of the public routes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The calendar of the ledger's zone: the one fixed by `migrate`.
    pub calendar: Calendar,
    /// The ledger's currency, ISO 4217.
    pub currency: String,
    /// The granularities that are stored.
    pub granularities: Vec<Granularity>,
    /// Organizations that the platform table leaves out.
    pub excluded_organizations: Vec<String>,
    /// The check of callers.
    pub access: Access,
    /// How much one caller, one question and one cache may take.
    pub limits: Limits,
}

impl Settings {
    /// The settings of a ledger in this calendar and currency, with everything else at its default.
    #[must_use]
    pub fn new(calendar: Calendar, currency: impl Into<String>, access: Access) -> Self {
        Self {
            calendar,
            currency: currency.into(),
            granularities: vec![Granularity::Daily, Granularity::Weekly, Granularity::Monthly],
            excluded_organizations: Vec::new(),
            access,
            limits: Limits::default(),
        }
    }
}

/// The check of callers.
#[derive(Debug, Clone)]
pub enum Access {
    /// Everybody may read everything, except `/v1/usage/me`. Only for addresses of this machine.
    Off,
    /// Bearer tokens.
    Jwt(Jwt),
}

/// How a bearer token is checked.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// The key of signatures. The algorithm follows from it.
    pub key: Key,
    /// The `iss` that a token must carry, if one is required.
    pub issuer: Option<String>,
    /// The `aud` that a token must carry, if one is required.
    pub audience: Option<String>,
    /// Where a token says to which organizations its bearer belongs, and who is staff.
    pub claims: Claims,
    /// How far the clocks of the issuer and of this process may differ.
    pub leeway: Duration,
}

impl Jwt {
    /// Tokens checked with this key, from any issuer and for any audience.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self {
            key,
            issuer: None,
            audience: None,
            claims: Claims::default(),
            leeway: Duration::from_secs(30),
        }
    }
}

/// The key of signatures.
#[derive(Clone)]
pub enum Key {
    /// A shared secret: HS256.
    Secret(String),
    /// A public key in PEM: RS256 for an RSA key, ES256 for one on P-256.
    PublicKey(String),
    /// A JSON Web Key Set: RS256 and ES256.
    Jwks {
        /// Where it is. May hold a password.
        address: String,
        /// Plain HTTP will do, also from another machine.
        may_be_plain: bool,
    },
}

impl Key {
    /// The least bytes of a shared secret. RFC 7518: a key of HS256 has at least as many bits as its hash.
    pub const MIN_SECRET_BYTES: usize = 32;
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Secret(_) => f.write_str("Secret(…)"),
            Key::PublicKey(_) => f.write_str("PublicKey(…)"),
            Key::Jwks { .. } => f.write_str("Jwks(…)"),
        }
    }
}

/// How much one caller, one question and one cache may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests per second that one caller may go on making.
    pub requests_per_second: u32,
    /// Requests that one caller may make at once.
    pub request_burst: u32,
    /// How long a question may take until its answer begins.
    pub timeout: Duration,
    /// Stored rows that one question may read.
    pub rows: u64,
    /// Cells (rows × periods) that one answer may hold as JSON. CSV is sent while it is made, whole.
    pub cells: usize,
    /// Bytes that all answers under way may take.
    pub bytes_under_way: usize,
    /// Answers that one caller may have under way at once.
    pub answers_at_once: usize,
    /// Bytes that remembered answers and parts of answers may take.
    pub cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 50,
            request_burst: 100,
            timeout: Duration::from_secs(30),
            rows: 5_000_000,
            cells: 20_000,
            bytes_under_way: 64 * 1024 * 1024,
            answers_at_once: 4,
            cache_bytes: 64 * 1024 * 1024,
        }
    }
}

/// A fault of the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The key that tokens are checked with is unusable.
    #[error("{0}")]
    Key(String),
    /// The currency is not a code of ISO 4217.
    #[error("expected a currency such as `USD`, got `{0}`")]
    Currency(String),
    /// The description of the routes cannot be written.
    #[error("the description of the routes cannot be written")]
    Description(#[from] serde_json::Error),
    /// A metric is registered twice.
    #[error("the metrics of the reader cannot be registered")]
    Metrics(#[from] prometheus::Error),
}
