mod key_set;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::{Value, json};

use super::super::Role;
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RSA: &str = include_str!("keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");
const EC: &str = include_str!("keys/ec.pem");
const EC_PUBLIC: &str = include_str!("keys/ec.pub.pem");
const NOW: i64 = 1_800_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).expect("an instant")
}

fn claims() -> Value {
    json!({"sub": "u1", "exp": NOW + 60, "iss": "me", "aud": ["you", "them"],
           "organizations": {"a": "admin", "b": "gardener"}, "platformRole": "staff"})
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA.as_bytes()).expect("a key")
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(EC.as_bytes()).expect("a key")
}

fn hs(claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .expect("a token")
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, &claims(), key).expect("a token")
}

fn verifier(key: Key, edit: impl FnOnce(&mut Jwt)) -> Verifier {
    let mut settings = Jwt::new(key);
    edit(&mut settings);
    Verifier::new(&Access::Jwt(settings)).expect("settings")
}

async fn status(verifier: &Verifier, token: &str) -> u16 {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        format!("Bearer {token}").parse().expect("a header"),
    );
    match verifier.caller(&headers, now()).await {
        Ok(_) => 200,
        Err(problem) => problem.status(),
    }
}

#[tokio::test]
async fn a_valid_token_says_who_asks() {
    let verifier = verifier(Key::Secret(SECRET.to_owned()), |jwt| {
        jwt.issuer = Some("me".to_owned());
        jwt.audience = Some("you".to_owned());
    });
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        format!("bearer {}", hs(&claims())).parse().expect("a header"),
    );
    let person = Person {
        subject: "u1".to_owned(),
        organizations: [("a".to_owned(), Role::Admin), ("b".to_owned(), Role::Member)].into(),
        staff: true,
    };
    assert_eq!(verifier.caller(&headers, now()).await, Ok(Caller::Person(person)));
}

#[tokio::test]
async fn every_other_token_is_refused() {
    let verifier = verifier(Key::Secret(SECRET.to_owned()), |jwt| {
        jwt.issuer = Some("me".to_owned());
        jwt.audience = Some("you".to_owned());
    });
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        hs(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(name);
        hs(&claims)
    };
    // With these members in front, some of which are then there twice.
    let as_text = |members: &str| {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let claims = claims().to_string().replacen('{', &format!("{{{members},"), 1);
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&claims));
        let signature = sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
        format!("{message}.{signature}")
    };
    assert_eq!(
        status(&verifier, &as_text(r#""other":1"#)).await,
        200,
        "signed by us"
    );
    let good = hs(&claims());
    let (head, rest) = good.split_once('.').expect("parts");
    let (body, signature) = rest.split_once('.').expect("parts");
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let other_secret = EncodingKey::from_secret(b"another secret of thirty-two byte");
    for (name, token) in [
        ("expired", with("exp", json!(NOW - 31))),
        ("expiry as text", with("exp", json!("tomorrow"))),
        ("no expiry", without("exp")),
        ("not yet valid", with("nbf", json!(NOW + 31))),
        ("wrong issuer", with("iss", json!("you"))),
        ("no issuer", without("iss")),
        ("wrong audience", with("aud", json!("me"))),
        ("no audience", without("aud")),
        ("no subject", without("sub")),
        ("empty subject", with("sub", json!(""))),
        ("subject as number", with("sub", json!(7))),
        ("begin as text", with("nbf", json!("yesterday"))),
        ("subject twice", as_text(r#""sub":"u1","sub":"u1""#)),
        ("expiry twice", as_text(r#""exp":4000000000"#)),
        ("begin twice", as_text(r#""nbf":1,"nbf":1"#)),
        ("another secret", signed(Algorithm::HS256, None, &other_secret)),
        (
            "another algorithm",
            encode(
                &Header::new(Algorithm::HS512),
                &claims(),
                &EncodingKey::from_secret(SECRET.as_bytes()),
            )
            .expect("a token"),
        ),
        ("something critical", {
            let header = Header {
                crit: Some(vec!["exp".to_owned()]),
                ..Header::new(Algorithm::HS256)
            };
            encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token")
        }),
        ("another kind of key", signed(Algorithm::RS256, None, &rsa())),
        ("alg none, no signature", format!("{none}.{body}.")),
        ("alg none, old signature", format!("{none}.{body}.{signature}")),
        (
            "forged body",
            format!(
                "{head}.{}.{signature}",
                &hs(&json!({"sub": "root"})).split('.').nth(1).expect("a part")
            ),
        ),
        ("no token", String::new()),
        ("no dots", "x".repeat(10_000)),
    ] {
        assert_eq!(status(&verifier, &token).await, 401, "{name}");
    }
    assert_eq!(
        status(&verifier, &with("exp", json!(NOW - 29))).await,
        200,
        "within the leeway"
    );
    assert_eq!(
        status(&verifier, &with("nbf", json!(NOW + 29))).await,
        200,
        "within the leeway"
    );
    for headers in [
        HeaderMap::new(),
        HeaderMap::from_iter([(header::AUTHORIZATION, "Basic eA==".parse().expect("a header"))]),
    ] {
        assert_eq!(
            verifier
                .caller(&headers, now())
                .await
                .expect_err("refused")
                .status(),
            401
        );
    }
}

/// A token of ours without a right is no forgery: its bearer hears where its issuer should have said what.
#[tokio::test]
async fn a_token_that_names_no_organization_is_told_which_claim_should() {
    let at = |claim: &str| {
        verifier(Key::Secret(SECRET.to_owned()), |jwt| {
            jwt.claims.organizations = claim.parse().expect("a pointer");
        })
    };
    let (usual, other) = (at("/organizations"), at("/https:~1~1example.com~1orgs"));
    let of = |more: Value| {
        let mut claims = json!({"sub": "u1", "exp": NOW + 60});
        let more = more.as_object().expect("an object").clone();
        claims.as_object_mut().expect("an object").extend(more);
        hs(&claims)
    };
    for (verifier, name, more, expected) in [
        (&usual, "organizations", json!({}), 403),
        (&usual, "organizations", json!({"organizations": "a"}), 403),
        (&usual, "organizations", json!({"organizations": {"a": 7}}), 403),
        (
            &usual,
            "organizations",
            json!({"organizations": [], "platformRole": "auditor"}),
            403,
        ),
        (
            &usual,
            "organizations",
            json!({"organizations": {"a": 7}, "platformRole": "staff"}),
            200,
        ),
        (
            &usual,
            "organizations",
            json!({"organizations": {"a": 7, "b": "admin"}}),
            200,
        ),
        (
            &other,
            "https://example.com/orgs",
            json!({"organizations": {"a": "admin"}}),
            403,
        ),
        (
            &other,
            "https://example.com/orgs",
            json!({"https://example.com/orgs": ["a"]}),
            200,
        ),
    ] {
        let headers = HeaderMap::from_iter([(
            header::AUTHORIZATION,
            format!("Bearer {}", of(more.clone())).parse().expect("a header"),
        )]);
        match verifier.caller(&headers, now()).await {
            Ok(_) => assert_eq!(expected, 200, "{more}"),
            Err(problem) => {
                assert_eq!(problem.status(), expected, "{more}");
                assert!(
                    problem.detail().contains(&format!("`{name}`")),
                    "{}",
                    problem.detail()
                );
            }
        }
    }
}

/// A public key must not work as the shared secret of HS256.
#[tokio::test]
async fn the_algorithm_follows_from_the_key_and_not_from_the_token() {
    let confused = |pem: &str| {
        encode(
            &Header::new(Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(pem.as_bytes()),
        )
        .expect("a token")
    };
    let with_rsa = verifier(Key::PublicKey(RSA_PUBLIC.to_owned()), |_| {});
    assert_eq!(
        status(&with_rsa, &signed(Algorithm::RS256, None, &rsa())).await,
        200
    );
    assert_eq!(
        status(&with_rsa, &signed(Algorithm::RS512, None, &rsa())).await,
        401
    );
    assert_eq!(
        status(&with_rsa, &signed(Algorithm::ES256, None, &ec())).await,
        401
    );
    assert_eq!(status(&with_rsa, &confused(RSA_PUBLIC)).await, 401);
    let with_ec = verifier(Key::PublicKey(EC_PUBLIC.to_owned()), |_| {});
    assert_eq!(
        status(&with_ec, &signed(Algorithm::ES256, None, &ec())).await,
        200
    );
    assert_eq!(
        status(&with_ec, &signed(Algorithm::RS256, None, &rsa())).await,
        401
    );
    assert_eq!(status(&with_ec, &confused(EC_PUBLIC)).await, 401);
}

fn key_set(address: &str) -> Key {
    Key::Jwks {
        address: address.to_owned(),
        may_be_plain: false,
    }
}

#[test]
fn unusable_keys_are_refused_at_the_start() {
    for key in [
        Key::Secret(String::new()),
        Key::Secret("x".repeat(Key::MIN_SECRET_BYTES - 1)),
        Key::PublicKey("no key".to_owned()),
        Key::PublicKey(RSA.to_owned()),
        key_set("not an address"),
        key_set("file:///etc/passwd"),
        key_set("http://keys.example.com/"),
    ] {
        assert!(
            Verifier::new(&Access::Jwt(Jwt::new(key.clone()))).is_err(),
            "{key:?}"
        );
    }
}
