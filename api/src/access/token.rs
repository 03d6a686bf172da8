//! Bearer tokens: their claims, and the keys that check them.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use prometheus::Registry;
use serde::Deserialize;

use super::jwks::Jwks;
use super::{Caller, Person, Role};
use crate::problem::{Kind, Problem};
use crate::settings::{Access, Jwt, Key, SettingsError};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
const STAFF: &str = "staff";

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    organizations: BTreeMap<String, Role>,
    #[serde(rename = "platformRole")]
    platform_role: Option<String>,
}

/// Tells who asks.
pub(crate) enum Verifier {
    /// Access is not checked.
    Off,
    /// Bearer tokens are checked.
    Tokens(Box<Tokens>),
}

/// The key and the settings that check tokens.
pub(crate) struct Tokens {
    keys: Keys,
    settings: Jwt,
}

enum Keys {
    Fixed(Algorithm, DecodingKey),
    Set(Jwks),
}

/// Checks that tokens can be checked with these settings, without starting anything.
///
/// # Errors
/// When the key is unusable.
pub fn check_access(access: &Access) -> Result<(), SettingsError> {
    Verifier::new(access).map(drop)
}

impl Verifier {
    pub(crate) fn new(access: &Access) -> Result<Self, SettingsError> {
        let Access::Jwt(settings) = access else {
            return Ok(Self::Off);
        };
        let keys = match &settings.key {
            Key::Secret(secret) if secret.len() < Key::MIN_SECRET_BYTES => {
                return Err(SettingsError::Key(format!(
                    "expected a secret of {} bytes or more, got {}: a shorter one can be guessed",
                    Key::MIN_SECRET_BYTES,
                    secret.len()
                )));
            }
            Key::Secret(secret) => Keys::Fixed(Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes())),
            Key::PublicKey(pem) => public_key(pem)?,
            Key::Jwks {
                address,
                may_be_plain,
            } => Keys::Set(Jwks::new(address, *may_be_plain)?),
        };
        let settings = settings.clone();
        Ok(Self::Tokens(Box::new(Tokens { keys, settings })))
    }

    /// Registers what is told of the keys.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        match self {
            Verifier::Tokens(tokens) => match &tokens.keys {
                Keys::Set(set) => registry.register(Box::new(set.age()?)),
                Keys::Fixed(..) => Ok(()),
            },
            Verifier::Off => Ok(()),
        }
    }

    /// The sender of a request with these headers.
    pub(crate) async fn caller(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Caller, Problem> {
        match self {
            Verifier::Off => Ok(Caller::Anybody),
            Verifier::Tokens(tokens) => {
                let person = tokens.person(bearer(headers)?, now).await?;
                Ok(Caller::Person(person))
            }
        }
    }
}

fn public_key(pem: &str) -> Result<Keys, SettingsError> {
    if pem.contains("PRIVATE KEY") {
        return Err(SettingsError::Key(
            "expected a public key, got a private one".to_owned(),
        ));
    }
    let rsa = DecodingKey::from_rsa_pem(pem.as_bytes()).map(|key| Keys::Fixed(Algorithm::RS256, key));
    let ec = || DecodingKey::from_ec_pem(pem.as_bytes()).map(|key| Keys::Fixed(Algorithm::ES256, key));
    rsa.or_else(|_| ec()).map_err(|_| {
        SettingsError::Key("expected a public key in PEM, either RSA or on the curve P-256".to_owned())
    })
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unauthorized(
            "expected one header `Authorization: Bearer <token>`",
        ));
    };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    match parts {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES => {
            Ok(token.trim())
        }
        _ => Err(unauthorized("expected a header `Authorization: Bearer <token>`")),
    }
}

impl Tokens {
    async fn person(&self, token: &str, now: DateTime<Utc>) -> Result<Person, Problem> {
        // One text for whatever is wrong: it would only help who forges.
        let invalid = || unauthorized("the token is not valid here, or not any more");
        let header = decode_header(token).map_err(|_| invalid())?;
        if header.crit.is_some() {
            // RFC 7515: what a token calls critical and nobody here understands makes it invalid.
            return Err(invalid());
        }
        let (algorithm, key) = self.key(&header).await?.ok_or_else(invalid)?;
        let claims = decode::<Claims>(token, &key, &self.validation(algorithm))
            .map_err(|error| {
                tracing::debug!(error = %error, "a token is refused");
                invalid()
            })?
            .claims;
        let leeway = self.settings.leeway.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "exact until the year 285 million")]
        let now = now.timestamp() as f64;
        let early = claims.nbf.is_some_and(|begin| now < begin - leeway);
        if now >= claims.exp + leeway || early || claims.sub.is_empty() {
            return Err(invalid());
        }
        Ok(Person {
            subject: claims.sub,
            organizations: claims.organizations,
            staff: claims.platform_role.as_deref() == Some(STAFF),
        })
    }

    /// The key of a token, with the one algorithm that it may be used with.
    async fn key(&self, header: &Header) -> Result<Option<(Algorithm, DecodingKey)>, Problem> {
        match &self.keys {
            Keys::Fixed(algorithm, key) => Ok(Some((*algorithm, key.clone()))),
            Keys::Set(set) => set.key(header).await,
        }
    }

    /// Checks signature, issuer and audience. Times are checked against the clock that is given.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = self.settings.audience.is_some();
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        validation
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Kind::Unauthorized, detail)
}

#[cfg(test)]
mod tests;
