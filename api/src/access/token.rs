//! Bearer tokens: their claims, and the keys that check them.

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use prometheus::Registry;

use super::json::Json;
use super::jwks::Jwks;
use super::once::Once;
use super::{Caller, Person};
use crate::problem::{Kind, Problem};
use crate::settings::{Access, Jwt, Key, SettingsError};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The claims that every token has in one place.
struct Registered<'a> {
    subject: &'a str,
    expires: f64,
    begins: Option<f64>,
}

impl<'a> Registered<'a> {
    /// `None`: one is missing, there twice, or of another type.
    fn of(claims: &'a Json) -> Option<Self> {
        let number = |value: &Json| match value {
            Json::Number(number) => Some(*number),
            _ => None,
        };
        let begins = match claims.member("nbf") {
            None if claims.has("nbf") => return None,
            None | Some(Json::Null) => None,
            Some(value) => Some(number(value)?),
        };
        Some(Self {
            subject: claims
                .member("sub")?
                .text()
                .filter(|subject| !subject.is_empty())?,
            expires: number(claims.member("exp")?)?,
            begins,
        })
    }
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
    once: Once,
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
        let once = Once::default();
        Ok(Self::Tokens(Box::new(Tokens { keys, settings, once })))
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
        let claims = decode::<Json>(token, &key, &self.validation(algorithm))
            .map_err(|error| {
                tracing::debug!(error = %error, "a token is refused");
                invalid()
            })?
            .claims;
        let registered = Registered::of(&claims)
            .filter(|registered| self.is_in_time(registered, now))
            .ok_or_else(invalid)?;
        self.stated(registered.subject, &claims)
    }

    fn is_in_time(&self, registered: &Registered<'_>, now: DateTime<Utc>) -> bool {
        let leeway = self.settings.leeway.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "exact until the year 285 million")]
        let now = now.timestamp() as f64;
        let is_early = registered.begins.is_some_and(|begin| now < begin - leeway);
        now < registered.expires + leeway && !is_early
    }

    /// Whoever a token with a good signature says that its bearer is. One that says nothing is no fault of its bearer,
    /// who has to hear where its issuer should say it.
    fn stated(&self, subject: &str, token: &Json) -> Result<Person, Problem> {
        let claims = &self.settings.claims;
        let stated = claims.read(token);
        for flaw in stated.flaws {
            self.once.left_out(flaw, claims);
        }
        if stated.organizations.is_empty() && !stated.is_staff {
            self.once.refused(claims);
            let detail = format!(
                "the claim `{}` of the token names no organization that can be read",
                claims.organizations
            );
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        Ok(Person {
            subject: subject.to_owned(),
            organizations: stated.organizations,
            staff: stated.is_staff,
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
