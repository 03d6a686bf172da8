//! The usage page in a real browser against the real program.
//!
//! What is on the page is checked by `api/dashboard/e2e`; this loads the events that it knows, starts the
//! program in the states that it asks for, and says where they are.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use mongodb::bson::{DateTime as BsonTime, Document, doc};
use serde_json::{Value, json};
use testkit::product::Product;
use testkit::tools;
use testkit::traffic::{Generator, Item, Options};

use testkit::PATIENCE;
use testkit::world::World;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Browsers that run side by side.
const BROWSERS: usize = 2;
/// People of the organization whose users are paged through.
const CROWD: i64 = 20_000;
/// Where another issuer's tokens say what.
const OTHER_CLAIMS: [(&str, &str); 2] = [
    ("JWT_ORGANIZATIONS_CLAIM", "/https:~1~1example.com~1orgs"),
    ("JWT_ADMIN_ROLES", "billing-admin"),
];
/// How far the worker of the program that is behind got, before now.
const BEHIND: TimeDelta = TimeDelta::minutes(2 * 60 + 10);

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn at(text: &str) -> BsonTime {
    let instant: DateTime<Utc> = text.parse().expect(text);
    BsonTime::from_chrono(instant)
}

/// An event of January 2025, or near it, with what the page is to show of it.
fn known(organization: &str, completed_at: &str, more: Document) -> Document {
    let mut event = doc! {"organizationId": organization, "completedAt": at(completed_at)};
    event.extend(more);
    event
}

fn known_events() -> Vec<Document> {
    let event = |day: &str, more: Document| known("known", &format!("{day}T10:00:00Z"), more);
    vec![
        event(
            "2024-06-10",
            doc! {"source": "chat", "agentSlug": "invoice\u{202e}gpj.exe", "userId": "ada", "model": "m1",
            "provider": "p1", "inputTokens": 1, "outputTokens": 1, "cost": "1.000000000"},
        ),
        event(
            "2024-12-15",
            doc! {"source": "chat", "agentSlug": "support", "userId": "ada", "model": "m1", "provider": "p1",
            "inputTokens": 500, "outputTokens": 50, "cost": "617.330000000"},
        ),
        event(
            "2025-01-05",
            doc! {"source": "chat", "agentSlug": "support", "userId": "ada", "teamId": "finance", "model": "m1",
            "provider": "p1", "inputTokens": 1_000_000, "outputTokens": 234_567, "cost": "0.100000001"},
        ),
        event(
            "2025-01-12",
            doc! {"source": "workflow", "agentSlug": "support", "userId": "grace", "teamId": "growth",
            "model": "m1", "provider": "p2", "inputTokens": 10, "outputTokens": 5, "cost": "1234.560000000",
            "outcome": "failed"},
        ),
        event(
            "2025-01-20",
            doc! {"source": "openai-compat", "userId": "ada", "model": "m2", "provider": "p1",
            "inputTokens": 100, "outputTokens": 50},
        ),
        known(
            "other",
            "2025-02-03T10:00:00Z",
            doc! {"source": "chat", "agentSlug": "solo", "userId": "eve", "model": "m1", "provider": "p1",
            "inputTokens": 1, "outputTokens": 1, "cost": "0.000000002"},
        ),
        known(
            "internal",
            "2025-01-07T10:00:00Z",
            doc! {"source": "chat", "agentSlug": "probe", "cost": "99.000000000"},
        ),
        known_but_for(
            "2025-03-03",
            doc! {"inputTokens": 1_000, "outputTokens": 500, "cost": 1.5},
        ),
        // Under the names of another contract, as JavaScript writes what it does not have, and not at all.
        known_but_for("2025-03-04", doc! {"prompt_tokens": 700, "cost": "2.5e-01"}),
        known_but_for(
            "2025-03-05",
            doc! {"inputTokens": f64::NAN, "outputTokens": f64::NAN},
        ),
        known_but_for("2025-03-06", doc! {"kind": "embedding"}),
        known_but_for("2025-03-07", doc! {"outcome": "failed"}),
    ]
}

/// Of one organization every event is refused, and of one event nobody knows whose it is.
fn refused_events() -> Vec<Document> {
    let event = |more: Document| {
        let mut event = known(
            "refused",
            "2025-01-15T10:00:00Z",
            doc! {"source": "chat", "agentSlug": "support"},
        );
        event.extend(more);
        event
    };
    let mut events = vec![event(doc! {"cost": "12,50"}); 30];
    events.extend(vec![event(doc! {"inputTokens": -1}); 7]);
    events.push(event(doc! {"organizationId": 7}));
    events
}

/// An event of which something is not known.
fn known_but_for(day: &str, what_is: Document) -> Document {
    let mut more =
        doc! {"source": "chat", "agentSlug": "support", "userId": "ada", "model": "m1", "provider": "p1"};
    more.extend(what_is);
    known("known", &format!("{day}T10:00:00Z"), more)
}

fn crowd() -> Vec<Document> {
    let person = |n: i64| {
        known(
            "crowd",
            "2025-02-10T10:00:00Z",
            doc! {"source": "chat", "agentSlug": "helper", "userId": format!("person-{n:05}"), "model": "m1",
            "provider": "p1", "inputTokens": 20, "outputTokens": 5, "costNanos": n % 500 * 1_000},
        )
    };
    (0..CROWD).map(person).collect()
}

/// Events of these days and the months before, for what is relative to today.
fn lively() -> Vec<Document> {
    let mut generator = Generator::new(Options::plain(11));
    let step = TimeDelta::hours(8);
    let items: Vec<Item> = (1..=600)
        .map(|n| generator.item(now() - step * (600 - n)))
        .collect();
    items.iter().map(Item::document).collect()
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}

/// The tokens of one of the browsers that run side by side. Each has subjects of its own, since what one caller
/// may ask at once is limited; the member's name is that of its usage.
fn tokens(browser: usize) -> Value {
    let until = 4_000_000_000_u64;
    json!({
        "staff": token(&json!({"sub": format!("page-staff-{browser}"), "exp": until, "platformRole": "staff"})),
        "admin": token(&json!({"sub": format!("page-admin-{browser}"), "exp": until,
            "organizations": {"known": "admin", "other": "member"}})),
        "member": token(&json!({"sub": "ada", "exp": until, "organizations": {"known": "member"}})),
        "expired": token(&json!({"sub": "page-admin", "exp": 1_700_000_000, "organizations": {"known": "admin"}})),
        "stranger": token(&json!({"sub": "page-stranger", "exp": until})),
        "provider": token(&json!({"sub": format!("page-provider-{browser}"), "exp": until,
            "https://example.com/orgs": ["known:billing-admin", "urn:other:5"]})),
    })
}

/// Loads documents through a worker.
async fn load(world: &World, product: &mut Product, documents: Vec<Document>) {
    let count = documents.len() as u64;
    for documents in documents.chunks(1_000) {
        world
            .collection("requestEvents")
            .insert_many(documents)
            .await
            .expect("inserts");
    }
    world.wait_read(product, count).await;
}

/// Asks once for what is much: a program built without optimisation, on a machine with other things to do, may
/// need longer for its first reading of all these users than it allows a question.
async fn warm(product: &Product, token: &str) {
    let client = reqwest::Client::new();
    let days = "organizationId=crowd&from=2025-02-10&to=2025-02-10";
    for question in [
        format!("breakdown?{days}&by=user&include=teams&limit=25"),
        format!("summary?{days}"),
        "summary?organizationId=crowd&from=2025-01-01&to=2025-02-28".to_owned(),
        "breakdown?organizationId=crowd&from=2025-01-01&to=2025-02-28&by=user".to_owned(),
    ] {
        let url = format!("{}/v1/usage/{question}", product.api());
        let answered = || async {
            let answer = client.get(&url).bearer_auth(token).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        testkit::eventually(&question, answered).await;
    }
}

/// A reader whose worker is gone since two hours, over a gap.
async fn behind(world: &World) -> Product {
    let mut worker = world.ready(&[]).await;
    let event = known_events().swap_remove(2);
    load(world, &mut worker, vec![event]).await;
    worker.stop(PATIENCE).await.expect("stops");
    let gap = doc! {"from": at("2025-01-10T08:00:00Z"), "to": at("2025-01-10T09:00:00Z")};
    let change = doc! {"$set": {"watermark": BsonTime::from_chrono(now() - BEHIND), "gaps": [gap]}};
    world
        .collection("usageFences")
        .update_one(doc! {}, change)
        .await
        .expect("updates");
    reader(world).await
}

/// A reader of a ledger that nothing was ever read into.
async fn empty(world: &World) -> Product {
    let (code, told) = testkit::world::run(&["migrate"], world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    reader(world).await
}

async fn reader(world: &World) -> Product {
    serving(world, &[]).await
}

async fn serving(world: &World, settings: &[(&str, &str)]) -> Product {
    let mut reader = world.start("serve", settings);
    reader.wait_ready(PATIENCE).await.expect("ready");
    reader
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of the page's package.
async fn npm(arguments: &[&str], variables: &[(&str, String)]) {
    let mut command = tokio::process::Command::new(root().join("deploy/npm.sh"));
    command
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command
        .output()
        .await
        .expect("npm runs: `deploy/setup.sh test` installs it");
    assert!(
        output.status.success(),
        "npm {arguments:?}:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn chromium() -> PathBuf {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(tools::on_path)
        .expect("chromium, which `deploy/setup.sh test` installs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_usage_page_shows_what_the_ledger_holds() {
    let main = [
        "--project=English",
        "access",
        "delivery",
        "figures",
        "hours",
        "prefix",
        "states",
        "table",
    ];
    browse("dashboard", &main).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: everything on the page, in both languages"]
async fn the_usage_page_shows_what_the_ledger_holds_in_both_languages() {
    browse("dashboard_all", &[]).await;
}

/// Runs the tests of the page that these arguments of Playwright choose.
async fn browse(name: &str, chosen: &[&str]) {
    let chromium = chromium();
    let world = World::new(name).await;
    let tokens_checked = [("AUTH", "jwt"), ("JWT_SECRET", SECRET)];
    let more = [
        ("EXCLUDED_ORGANIZATIONS", "internal"),
        ("GRANULARITIES", "hourly,daily,weekly,monthly"),
    ];
    let settings = [tokens_checked, more].concat();
    let mut product = world.ready(&settings).await;
    let page = product.get(product.api()).await.expect("answers").1;
    assert!(
        page.contains("<div id=\"root\">"),
        "the usage page was not built into this program: run `make test`, or `deploy/setup.sh test` and \
         `make dashboard` and this test again"
    );
    let documents: Vec<Document> = [known_events(), refused_events(), crowd(), lively()].concat();
    load(&world, &mut product, documents).await;
    let (old, new) = (
        World::new(&format!("{name}_behind")).await,
        World::new(&format!("{name}_empty")).await,
    );
    let (behind, empty) = (behind(&old).await, empty(&new).await);
    let provider = serving(&world, &[tokens_checked, OTHER_CLAIMS, more].concat()).await;

    let tokens: Value = (0..BROWSERS).map(tokens).collect();
    warm(&product, tokens[0]["staff"].as_str().expect("a token")).await;

    // The types that the page is checked with are those of this program.
    let document = format!("{}/openapi.json", product.api());
    npm(&["run", "--silent", "client", "--", &document, "--check"], &[]).await;
    let variables = [
        ("CHROMIUM", chromium.display().to_string()),
        ("PAGE_URL", product.api().to_owned()),
        ("PAGE_URL_STALE", behind.api().to_owned()),
        ("PAGE_URL_EMPTY", empty.api().to_owned()),
        ("PAGE_URL_PROVIDER", provider.api().to_owned()),
        ("PAGE_TOKENS", tokens.to_string()),
    ];
    npm(&[&["run", "--silent", "e2e", "--"], chosen].concat(), &variables).await;
    for mut program in [product, behind, empty, provider] {
        program.stop(PATIENCE).await.expect("stops");
    }
}
