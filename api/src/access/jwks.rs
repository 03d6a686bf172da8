//! The public keys of an issuer, fetched from its address and kept.

mod age;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use reqwest::redirect::Policy;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use age::Age;

use crate::host::is_loopback_host;
use crate::problem::{Kind, Problem};
use crate::settings::SettingsError;

/// How long keys are used before they are fetched again.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long keys are used while the issuer is away: one that it withdrew meanwhile must not be good for ever.
const LAST_AGE: Duration = Duration::from_secs(24 * 3_600);
/// How often the issuer may send us elsewhere.
const MAX_REDIRECTS: usize = 3;
/// The least time between two fetches, whatever tokens arrive.
const FETCH_FLOOR: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 1024 * 1024;

/// A key set at an address.
pub(crate) struct Jwks {
    url: reqwest::Url,
    client: reqwest::Client,
    known: Arc<RwLock<Known>>,
    /// Held while the set is fetched: when that was last begun.
    fetching: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    keys: Option<Vec<Entry>>,
    fetched: Option<Instant>,
    /// The last fetch came to nothing.
    failed: bool,
}

#[derive(Clone)]
struct Entry {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// Without the address, which may hold a password.
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("the key set is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the key set is malformed")]
    Malformed(#[from] serde_json::Error),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Jwks {
    pub(crate) fn new(address: &str, may_be_plain: bool) -> Result<Self, SettingsError> {
        // What is wrong with it is said without it: it may hold a password.
        let wrong = |what: &str| SettingsError::Key(what.to_owned());
        let parsed: reqwest::Url = address
            .parse()
            .map_err(|_| wrong("expected the address of a key set, an http(s) URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("expected a key set behind `https://` or `http://`"));
        }
        if !is_safe(&parsed, may_be_plain) {
            return Err(wrong(
                "expected `https://`: over plain HTTP whoever is on the way can forge keys \
                 (USAGE_LEDGER_JWT_JWKS_PLAIN_HTTP=true allows it)",
            ));
        }
        let is_tls = parsed.scheme() == "https";
        // No redirect may take keys where their own address could not be.
        let redirects = Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS || !is_safe(attempt.url(), may_be_plain) {
                attempt.error("the key set is sent elsewhere")
            } else {
                attempt.follow()
            }
        });
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(redirects)
            .https_only(is_tls)
            // Fetched so rarely that a kept connection would mostly be found closed.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| {
                SettingsError::Key(format!("the client for the key set cannot be made: {error}"))
            })?;
        Ok(Self {
            url: parsed,
            client,
            known: Arc::default(),
            fetching: Mutex::default(),
        })
    }

    /// The key that a token names. An unknown one makes the set be fetched again, but not more often than
    /// the floor allows: who makes up ids must not make us ask the issuer for each. Who has a known key
    /// never waits for somebody else's fetch.
    pub(crate) async fn key(&self, header: &Header) -> Result<Option<(Algorithm, DecodingKey)>, Problem> {
        let (found, is_fresh) = {
            let known = self.known();
            (known.find(header), known.is_fresh())
        };
        match found {
            Some(_) if is_fresh => return Ok(found),
            // Keys once seen stay good for a while: an issuer that is away must not lock everybody out.
            Some(_) => {
                if let Ok(last) = self.fetching.try_lock() {
                    self.refresh(last).await;
                }
            }
            None => self.refresh(self.fetching.lock().await).await,
        }
        let known = self.known();
        match known.find(header) {
            Some(_) if !known.is_good() => Err(unavailable()),
            // Whether the issuer has such a key by now is not known.
            None if known.keys.is_none() || known.failed => Err(unavailable()),
            found => Ok(found),
        }
    }

    /// How old the keys are, for Prometheus.
    pub(super) fn age(&self) -> prometheus::Result<Age> {
        Age::of(Arc::clone(&self.known))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(&self, mut last: MutexGuard<'_, Option<Instant>>) {
        if last.is_some_and(|begun| begun.elapsed() < FETCH_FLOOR) {
            return;
        }
        *last = Some(Instant::now());
        let keys = self.fetch().await;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.failed = keys.is_err();
        match keys {
            Ok(keys) => {
                known.keys = Some(keys);
                known.fetched = Some(Instant::now());
            }
            Err(error) => {
                let hours_left = known
                    .fetched
                    .map(|at| LAST_AGE.saturating_sub(at.elapsed()).as_secs() / 3_600);
                tracing::warn!(error = %error, hours_left, "the key set cannot be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Entry>, FetchError> {
        let mut response = self
            .client
            .get(self.url.clone())
            .send()
            .await?
            .error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
        }
        let set: JwkSet = serde_json::from_slice(&body)?;
        Ok(set.keys.iter().filter_map(usable).collect())
    }
}

impl Known {
    /// Whether the keys may be used at all.
    fn is_good(&self) -> bool {
        self.fetched.is_some_and(|at| at.elapsed() < LAST_AGE)
    }

    fn is_fresh(&self) -> bool {
        self.fetched.is_some_and(|at| at.elapsed() < MAX_AGE)
    }

    fn find(&self, header: &Header) -> Option<(Algorithm, DecodingKey)> {
        let mut fitting = self.keys.iter().flatten().filter(|entry| {
            let named = header.kid.is_none() || entry.id == header.kid;
            named && entry.algorithm == header.alg
        });
        // A token that names no key has one only where there is no choice.
        match (fitting.next(), fitting.next()) {
            (Some(entry), None) => Some((entry.algorithm, entry.key.clone())),
            _ => None,
        }
    }
}

fn unavailable() -> Problem {
    let detail = "the token cannot be checked at the moment: its issuer's keys are not there";
    Problem::new(Kind::Unavailable, detail).retry_after(FETCH_FLOOR.as_secs())
}

/// Whether nobody on the way can change what comes from here.
fn is_safe(url: &reqwest::Url, may_be_plain: bool) -> bool {
    may_be_plain || url.scheme() == "https" || url.host_str().is_some_and(is_loopback_host)
}

/// A key for signatures with RS256 or ES256. The algorithm follows from the kind of key, never from a token.
fn usable(jwk: &Jwk) -> Option<Entry> {
    if matches!(jwk.common.public_key_use, Some(ref usage) if *usage != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, declared) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    if jwk
        .common
        .key_algorithm
        .is_some_and(|algorithm| algorithm != declared)
    {
        return None;
    }
    Some(Entry {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
}
