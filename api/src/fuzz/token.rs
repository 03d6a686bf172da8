//! Tokens: whose signature is not ours is nobody.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::DateTime;
use futures_util::FutureExt as _;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

use super::given::{NOW_SECONDS, base64, printable};
use crate::access::token::Verifier;
use crate::access::{Caller, Person, Role};
use crate::settings::{Access, Jwt, Key};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const LEEWAY_SECONDS: f64 = 30.0;

/// A reader that checks tokens with one key, and what only the owner of the key can make.
struct Checked {
    verifier: Verifier,
    algorithm: Algorithm,
    signing: EncodingKey,
    /// What is public of the key: it signs nothing.
    public: &'static str,
}

static READERS: LazyLock<[Checked; 3]> = LazyLock::new(|| {
    let reader = |algorithm, key, signing, public| Checked {
        verifier: Verifier::new(&Access::Jwt(Jwt::new(key))).expect("a key"),
        algorithm,
        signing,
        public,
    };
    let rsa = include_str!("../access/token/keys/rsa.pub.pem");
    let ec = include_str!("../access/token/keys/ec.pub.pem");
    let rsa_signs = include_bytes!("../access/token/keys/rsa.pem");
    let ec_signs = include_bytes!("../access/token/keys/ec.pem");
    [
        reader(
            Algorithm::HS256,
            Key::Secret(SECRET.to_owned()),
            EncodingKey::from_secret(SECRET.as_bytes()),
            "nothing",
        ),
        reader(
            Algorithm::RS256,
            Key::PublicKey(rsa.to_owned()),
            EncodingKey::from_rsa_pem(rsa_signs).expect("a key"),
            rsa,
        ),
        reader(
            Algorithm::ES256,
            Key::PublicKey(ec.to_owned()),
            EncodingKey::from_ec_pem(ec_signs).expect("a key"),
            ec,
        ),
    ]
});

/// A token as it is sent, or its header, its claims and its signature, line by line. Whoever is let in has a
/// signature of ours and says in the claims who they are; made by others, the same token lets nobody in.
pub fn token(bytes: &[u8]) {
    if !bytes.starts_with(b"{") {
        READERS.iter().for_each(|reader| sent(reader, bytes));
        return;
    }
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (head, claims, signature) = (line(), line(), line());
    let message = format!("{}.{}", base64(head), base64(claims));
    for reader in &*READERS {
        let forged = [
            base64(signature),
            // The public key taken for a secret.
            signed(
                &message,
                &EncodingKey::from_secret(reader.public.as_bytes()),
                Algorithm::HS256,
            ),
            signed(&message, &EncodingKey::from_secret(b""), Algorithm::HS256),
        ];
        for signature in forged {
            let token = format!("{message}.{signature}");
            assert_eq!(caller(reader, token.as_bytes()), None, "forged: {token}");
        }
        // Signing is dear, and a header that names another algorithm needs none to be refused.
        let name = format!("{:?}", reader.algorithm);
        if !head.windows(name.len()).any(|part| part == name.as_bytes()) {
            continue;
        }
        let token = format!(
            "{message}.{}",
            signed(&message, &reader.signing, reader.algorithm)
        );
        if let Some(person) = caller(reader, token.as_bytes()) {
            says(reader, head, claims, &person);
        }
    }
}

/// Whoever is let in with bytes of the fuzzer's own sent what we signed.
fn sent(reader: &Checked, token: &[u8]) {
    let Some(person) = caller(reader, token) else {
        return;
    };
    let token = std::str::from_utf8(token).expect("a header is text").trim();
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let (head, claims) = message.split_once('.').expect("three parts");
    // Each signature of ES256 is another one.
    if reader.algorithm != Algorithm::ES256 {
        assert_eq!(
            signature,
            signed(message, &reader.signing, reader.algorithm),
            "{token}"
        );
    }
    says(reader, &decoded(head), &decoded(claims), &person);
}

/// A person is who the claims name, now, in a token for this algorithm.
fn says(reader: &Checked, head: &[u8], claims: &[u8], person: &Person) {
    let value = |part| serde_json::from_slice::<Value>(part).ok();
    // What nobody looks at may hold escapes that mean no character.
    let (Some(head), Some(claims)) = (value(head), value(claims)) else {
        return;
    };
    let algorithm = format!("{:?}", reader.algorithm);
    assert_eq!(head["alg"].as_str(), Some(algorithm.as_str()), "{head}");
    assert!(head["crit"].is_null(), "{head}");

    #[expect(clippy::cast_precision_loss, reason = "exact")]
    let now = NOW_SECONDS as f64;
    assert!(
        claims["exp"]
            .as_f64()
            .is_some_and(|end| now < end + LEEWAY_SECONDS),
        "{claims}"
    );
    assert!(
        claims["nbf"].is_null()
            || claims["nbf"]
                .as_f64()
                .is_some_and(|begin| begin - LEEWAY_SECONDS <= now),
        "{claims}"
    );
    assert!(!person.subject.is_empty());
    assert_eq!(claims["sub"].as_str(), Some(person.subject.as_str()));
    rights(&claims, person);
}

/// Each right is one that the claims name, and somebody has one.
fn rights(claims: &Value, person: &Person) {
    let texts = |value: &Value| -> Vec<String> {
        let items = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let is_admin = |role: &String| role == "owner" || role == "admin";
    assert!(person.staff || !person.organizations.is_empty(), "{claims}");
    assert!(
        !person.staff || texts(&claims["platformRole"]).contains(&"staff".to_owned()),
        "{claims}"
    );
    let stated = &claims["organizations"];
    let listed = texts(stated);
    for (organization, role) in &person.organizations {
        let administers = match stated {
            Value::Object(entries) => {
                let entry = &entries[organization];
                let roles = entry
                    .as_object()
                    .map_or(entry, |entry| entry.get("roles").unwrap_or(&Value::Null));
                texts(roles).iter().any(is_admin)
            }
            Value::Array(_) => {
                let behind = |item: &String| {
                    item.strip_prefix(organization)?
                        .strip_prefix(':')
                        .map(str::to_owned)
                };
                let roles: Vec<String> = listed.iter().filter_map(behind).collect();
                assert!(!roles.is_empty() || listed.contains(organization), "{claims}");
                roles.iter().any(is_admin)
            }
            _ => panic!("an organization out of nothing: {claims}"),
        };
        assert_eq!(*role == Role::Admin, administers, "{organization} of {claims}");
    }
    // Nothing that is plainly said is lost.
    for id in listed
        .iter()
        .filter(|id| stated.is_array() && id.starts_with("org-"))
    {
        let is_plain = id.len() <= 128
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        assert!(
            !is_plain || person.organizations.contains_key(id),
            "{id} of {claims}"
        );
    }
}

fn caller(reader: &Checked, token: &[u8]) -> Option<Person> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    let now = DateTime::from_timestamp(NOW_SECONDS, 0).expect("an instant");
    let asked = reader.verifier.caller(&headers, now).now_or_never();
    match asked.expect("a fixed key is at hand") {
        Ok(Caller::Person(person)) => Some(person),
        Ok(Caller::Anybody) => panic!("let in without a name"),
        Err(problem) => {
            printable(&problem);
            None
        }
    }
}

fn signed(message: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    sign(message.as_bytes(), key, algorithm).expect("a signature")
}

fn decoded(part: &str) -> Vec<u8> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .expect("what was read once")
}
