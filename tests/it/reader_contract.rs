//! The reader as its OpenAPI document describes it, asked by a program that knows nothing but the document.

use std::process::Stdio;

use chrono::{DateTime, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use testkit::tools;
use testkit::traffic::{Generator, Item, Options};

use testkit::world::World;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// No answer is a 5xx, each is as the document says, and what the document does not allow is refused: also
/// without a token, and with a wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_program_answers_as_its_document_says() {
    let schemathesis = tools::from_folder("schemathesis/bin/schemathesis")
        .or_else(|| tools::on_path("schemathesis"))
        .expect("schemathesis, which `deploy/setup.sh test` installs");
    let world = World::new("reader_contract").await;
    let mut product = world.ready(&[("AUTH", "jwt"), ("JWT_SECRET", SECRET)]).await;
    let mut generator = Generator::new(Options::plain(3));
    let items: Vec<Item> = (0..500).map(|_| generator.item(now())).collect();
    world.insert(&items).await;
    world.wait_read(&mut product, 500).await;

    let claims = json!({"sub": "contract", "exp": 4_000_000_000_u64, "platformRole": "staff"});
    let token = encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .expect("a token");
    let output = tokio::process::Command::new(schemathesis)
        .args(["run", &format!("{}/openapi.json", product.api())])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all"])
        // What one parameter means for another cannot be said in the document: `from` needs `to`.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "40",
            "--seed",
            "1",
        ])
        // One caller may ask fifty times a second.
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
    assert!(said.contains("Tested: 6"), "every route is asked: {said}");
    product.stop(testkit::PATIENCE).await.expect("stops");
}
