//! Tokens as identity providers write them, at the running program, and the settings that say where they say what.

use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::product::Product;
use testkit::world::{World, run};

use crate::reader_routes::{SECRET, ask, event, token};

/// Stands in claims that cannot be read: neither answers nor the log repeat it.
const HIDDEN: &str = "geheim";

/// A program with usage of one person in two organizations, that checks tokens with these settings.
async fn serving(name: &str, more: &[(&'static str, &'static str)]) -> (World, Product) {
    let world = World::new(name).await;
    let settings = [&[("AUTH", "jwt"), ("JWT_SECRET", SECRET)], more].concat();
    let mut product = world.ready(&settings).await;
    for organization in ["acme", "urn:globex:5"] {
        world
            .insert_one(event(organization, 0, &[("userId", "u1")]))
            .await;
    }
    world.wait_read(&mut product, 2).await;
    (world, product)
}

/// What somebody gets of two organizations: their whole usage, and their own.
async fn gets(product: &Product, claims: &Value) -> String {
    let token = token(claims);
    let mut statuses = Vec::new();
    for path in [
        "summary?organizationId=acme",
        "me?organizationId=acme",
        "summary?organizationId=urn:globex:5",
        "me?organizationId=urn:globex:5",
    ] {
        let (status, answer) = ask(product, path, &token).await;
        assert!(!answer.to_string().contains(HIDDEN), "{claims}: {answer}");
        statuses.push(status.to_string());
    }
    statuses.join(" ")
}

fn times(product: &Product, words: &[&str]) -> usize {
    let said = product.said();
    let lines = said
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    lines.count()
}

/// However often tokens came, what is wrong with them is said once, with the claim's name.
fn wrongs_are_said_once(reader: &Product) {
    for words in [
        &["\"claim\":\"organizations\"", "left out", "an id is none"][..],
        &["\"claim\":\"organizations\"", "left out", "a role is neither"],
        &["\"claim\":\"organizations\"", "left out", "last colon"],
        &["\"claim\":\"organizations\"", "left out", "neither an object"],
        &["\"claim\":\"platformRole\"", "left out"],
        &["\"claim\":\"organizations\"", "refused with 403"],
    ] {
        assert_eq!(times(reader, words), 1, "{words:?}: {}", reader.said());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_form_of_a_token_opens_what_it_says_and_no_more() {
    let (_world, mut reader) = serving("tokens", &[]).await;
    for (organizations, expected) in [
        (
            json!({"acme": "admin", "urn:globex:5": "member"}),
            "200 200 403 200",
        ),
        (
            json!({"acme": ["viewer", "owner"], "urn:globex:5": []}),
            "200 200 403 200",
        ),
        (
            json!({"acme": {"roles": ["admin"]}, "urn:globex:5": {}}),
            "200 200 403 200",
        ),
        (json!(["acme:admin", "urn:globex:5:member"]), "200 200 403 200"),
        (json!(["acme"]), "403 200 403 403"),
        (json!(["acme:viewer", "urn:globex:5"]), "403 200 403 403"),
        (
            json!(["acme", "urn:globex:5:owner", 7, HIDDEN.repeat(30)]),
            "403 200 200 200",
        ),
        (
            json!({"acme": "admin", "urn:globex:5": {"roles": {HIDDEN: true}}}),
            "200 200 403 403",
        ),
        (json!({"acme": {"roles": [HIDDEN, 7]}}), "403 403 403 403"),
        (json!(HIDDEN), "403 403 403 403"),
        (json!(null), "403 403 403 403"),
    ] {
        assert_eq!(
            gets(&reader, &json!({"organizations": organizations})).await,
            expected,
            "{organizations}"
        );
    }
    for (claims, expected) in [
        (json!({}), "403 403 403 403"),
        (json!({"platformRole": ["auditor", "staff"]}), "200 200 200 200"),
        (json!({"platformRole": {"staff": true}}), "403 403 403 403"),
        (
            json!({"platformRole": "staff", "organizations": HIDDEN}),
            "200 200 200 200",
        ),
        // A signature is not enough.
        (
            json!({"exp": 1, "organizations": ["acme:admin"]}),
            "401 401 401 401",
        ),
        (
            json!({"sub": 7, "organizations": ["acme:admin"]}),
            "401 401 401 401",
        ),
    ] {
        assert_eq!(gets(&reader, &claims).await, expected, "{claims}");
    }
    let (_, problem) = ask(&reader, "me", &token(&json!({}))).await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("the claim `organizations`"), "{problem}");

    wrongs_are_said_once(&reader);
    assert!(!reader.said().contains(HIDDEN), "{}", reader.said());
    reader.stop(PATIENCE).await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tokens_say_what_is_what_the_settings_say() {
    let (_world, mut reader) = serving(
        "tokens_elsewhere",
        &[
            ("JWT_ORGANIZATIONS_CLAIM", "/https:~1~1example.com~1orgs"),
            ("JWT_ADMIN_ROLES", "billing-admin"),
            ("JWT_STAFF_CLAIM", "/realm_access/roles"),
            ("JWT_STAFF_VALUE", "usage-staff"),
        ],
    )
    .await;
    for (claims, expected) in [
        (
            json!({"https://example.com/orgs": {"acme": ["billing-admin"], "urn:globex:5": ["admin"]}}),
            "200 200 403 200",
        ),
        (
            json!({"realm_access": {"roles": ["offline", "usage-staff"]}}),
            "200 200 200 200",
        ),
        (
            json!({"organizations": {"acme": "admin"}, "platformRole": "staff"}),
            "403 403 403 403",
        ),
    ] {
        assert_eq!(gets(&reader, &claims).await, expected, "{claims}");
    }
    let (_, problem) = ask(&reader, "me", &token(&json!({"organizations": ["acme"]}))).await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("`https://example.com/orgs`"), "{problem}");
    reader.stop(PATIENCE).await.expect("stops");
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn settings_of_tokens_that_are_wrong_are_all_named_with_64() {
    let wrong = variables(&[
        ("JWT_SECRET", &SECRET[..31]),
        ("JWT_ORGANIZATIONS_CLAIM", "https://example.com/orgs"),
        ("JWT_ADMIN_ROLES", ","),
        ("JWT_STAFF_CLAIM", "/https://example.com/staff"),
    ]);
    for command in [&["serve"][..], &["run"], &["config", "check"]] {
        let (code, told) = run(command, wrong.clone()).await;
        assert_eq!(code, 64, "{told}");
        for name in ["JWT_ORGANIZATIONS_CLAIM", "JWT_ADMIN_ROLES", "JWT_STAFF_CLAIM"] {
            assert!(
                told.contains(&format!("USAGE_LEDGER_{name}: expected")),
                "{name}: {told}"
            );
        }
        assert!(!told.contains(&SECRET[..31]), "{told}");
    }
    for (given, name) in [
        (&[("JWT_SECRET", &SECRET[..31])][..], "JWT_SECRET"),
        (&[("JWT_JWKS_URL", "https://id.example.com/keys")], "JWT_AUDIENCE"),
    ] {
        let (code, told) = run(&["config", "check"], variables(given)).await;
        assert_eq!(code, 64, "{told}");
        assert!(told.contains(&format!("USAGE_LEDGER_{name}: expected")), "{told}");
    }
    let (code, told) = run(&["config", "check"], variables(&[("JWT_SECRET", SECRET)])).await;
    assert_eq!(code, 0, "{told}");
    for line in [
        "JWT_ORGANIZATIONS_CLAIM=/organizations",
        "JWT_ADMIN_ROLES=owner,admin",
        "JWT_STAFF_VALUE=staff",
    ] {
        assert!(told.contains(&format!("USAGE_LEDGER_{line}")), "{told}");
    }
    for (command, has_tokens) in [
        ("serve", true),
        ("run", true),
        ("ingest", false),
        ("migrate", false),
    ] {
        let (code, told) = run(&[command, "--help"], Vec::new()).await;
        assert_eq!(code, 0, "{told}");
        for flag in [
            "--jwt-organizations-claim",
            "--jwt-admin-roles",
            "--jwt-staff-claim",
            "--jwt-staff-value",
        ] {
            assert_eq!(told.contains(flag), has_tokens, "{command} {flag}");
        }
        assert_eq!(told.contains("~1"), has_tokens, "{command}");
    }
}
