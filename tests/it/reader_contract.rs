//! The reader as its OpenAPI document describes it, asked by a program that knows nothing but the document.

use std::process::Stdio;

use chrono::{DateTime, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use testkit::tools;
use testkit::traffic::{Generator, Item, Options};

use testkit::world::World;
use tokio::task::JoinSet;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Every route of the document.
const ROUTES: [&str; 6] = ["breakdown", "me", "meta", "series", "summary", "table"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_program_answers_as_its_document_says() {
    answers_as_described("reader_contract", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: many examples"]
async fn the_running_program_answers_as_its_document_says_to_many_questions() {
    answers_as_described("reader_contract_long", 100).await;
}

/// No answer is a 5xx, each is as the document says, and what the document does not allow is refused: also
/// without a token, and with a wrong one. Each route is asked this many questions, besides those that the document
/// leads to by itself.
async fn answers_as_described(name: &str, examples: u32) {
    let world = World::new(name).await;
    let mut product = world.ready(&[("AUTH", "jwt"), ("JWT_SECRET", SECRET)]).await;
    let mut generator = Generator::new(Options::plain(3));
    let items: Vec<Item> = (0..500).map(|_| generator.item(now())).collect();
    world.insert(&items).await;
    world.wait_read(&mut product, 500).await;
    let document = product.get(&format!("{}/openapi.json", product.api())).await;
    let document: serde_json::Value = serde_json::from_str(&document.expect("answers").1).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").keys();
    let described: Vec<String> = paths.cloned().collect();
    assert_eq!(described, ROUTES.map(|route| format!("/v1/usage/{route}")));

    let mut asking = JoinSet::new();
    for route in ROUTES {
        asking.spawn(ask(product.api().to_owned(), route, examples));
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("no panic");
    }
    product.stop(testkit::PATIENCE).await.expect("stops");
}

/// Asks one route, as somebody of its own: one caller may ask fifty times a second.
async fn ask(api: String, route: &str, examples: u32) {
    let schemathesis = tools::from_folder("schemathesis/bin/schemathesis")
        .or_else(|| tools::on_path("schemathesis"))
        .expect("schemathesis, which `deploy/setup.sh test` installs");
    let claims = json!({"sub": route, "exp": 4_000_000_000_u64, "platformRole": "staff"});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&Header::default(), &claims, &key).expect("a token");
    let output = tokio::process::Command::new(schemathesis)
        .args(["run", &format!("{api}/openapi.json")])
        .args(["--include-path", &format!("/v1/usage/{route}")])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all"])
        // What one parameter means for another cannot be said in the document: `from` needs `to`.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", &examples.to_string(), "--seed", "1"])
        .args(["--rate-limit", "40/s", "--request-timeout", "20", "--no-color"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("Tested: 1"), "{route} is asked: {said}");
}
