//! Answers that take long: no transaction limits them, what is gone is said, and nobody else waits for them.
//!
//! The embedded server keeps no instants of the past: the proxy plays one that does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jsonwebtoken::{EncodingKey, Header, encode};
use mongodb::bson::{DateTime as BsonTime, Document, Timestamp, doc};
use serde_json::json;
use testkit::mongodb::Mongo;
use testkit::product::Product;
use testkit::proxy::{Command, Proxy};
use testkit::world::{World, admin, event};
use testkit::{PATIENCE, eventually, shared};
use tokio::task::JoinSet;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ORGANIZATIONS: i64 = 300;
/// All organizations, a cell for each of 31 days: more than the reader reads at once.
const TABLE: &str = "table?scope=platform&granularity=daily&from=2026-01-01&to=2026-01-31";

fn concern(command: &Document) -> Option<&Document> {
    command.get_document("readConcern").ok()
}

fn is_of_snapshot(command: &Document) -> bool {
    concern(command).is_some_and(|concern| concern.get_str("level").is_ok_and(|level| level == "snapshot"))
}

fn instant(command: &Document) -> Option<Timestamp> {
    concern(command)?.get_timestamp("atClusterTime").ok()
}

/// Makes the server one that keeps instants: each read that names none gets another one, and each that names one is of
/// that.
pub(crate) fn keep_instants(proxy: &Proxy) {
    let reads = |of: fn(Option<Timestamp>) -> bool| {
        proxy.when(Command::any().matching(move |command| is_of_snapshot(command) && of(instant(command))))
    };
    let time = u32::try_from(testkit::now().timestamp() - 10).expect("an instant");
    let mut increment = 1;
    reads(|at| at.is_none()).edit_reply(move |reply| {
        increment += 1;
        if let Ok(cursor) = reply.get_document_mut("cursor") {
            cursor.insert("atClusterTime", Timestamp { time, increment });
        }
    });
    reads(|at| at.is_some()).edit_reply(|reply| {
        if let Ok(cursor) = reply.get_document_mut("cursor") {
            cursor.remove("atClusterTime");
        }
    });
}

/// A ledger with a day's usage of each organization, and a reader behind a proxy.
struct Stand {
    world: World,
    proxy: Proxy,
    reader: Product,
    _mongo: Arc<Mongo>,
}

impl Stand {
    async fn new(name: &str) -> Self {
        let mongo = shared::mongo().await;
        let mut world = World::on(&mongo, name).await;
        let mut worker = world.ready(&[]).await;
        let events = (0..ORGANIZATIONS).map(|n| {
            let mut event = event(&format!("org-{n}"));
            let day = BsonTime::from_millis(1_767_225_600_000 + n % 31 * 86_400_000);
            event.insert("completedAt", day);
            event
        });
        let events: Vec<Document> = events.collect();
        let inserted = world.collection("requestEvents").insert_many(events).await;
        inserted.expect("inserts");
        world
            .wait_read(&mut worker, u64::try_from(ORGANIZATIONS).expect("fits"))
            .await;
        worker.stop(PATIENCE).await.expect("stops");
        let proxy = mongo.proxy().await.expect("a proxy");
        keep_instants(&proxy);
        world.uri = mongo.proxied_uri(&proxy);
        let mut reader = world.start("serve", &[]);
        reader.wait_ready(PATIENCE).await.expect("ready");
        Self {
            world,
            proxy,
            reader,
            _mongo: mongo,
        }
    }

    async fn ask(&self, question: &str, accept: &str) -> reqwest::Response {
        let url = format!("{}/v1/usage/{question}", self.reader.api());
        let request = reqwest::Client::new().get(url).header("accept", accept);
        request.send().await.expect("an answer")
    }
}

/// The requests of a table, all cells together.
fn requests(csv: &str) -> i64 {
    let mut lines = csv.lines().map(|line| line.split(','));
    let at = lines
        .next()
        .and_then(|mut names| names.position(|name| name == "requests"));
    let at = at.expect("a column");
    lines
        .map(|mut cells| {
            cells
                .nth(at)
                .and_then(|cell| cell.parse::<i64>().ok())
                .expect("a number")
        })
        .sum()
}

/// Fences, rows and rollups of an answer are of one instant, and no transaction holds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_answer_reads_is_of_one_instant() {
    let stand = Stand::new("one_instant").await;
    let heard: Arc<Mutex<Vec<Document>>> = Arc::default();
    let record = {
        let heard = Arc::clone(&heard);
        move |command: &Document| {
            heard.lock().expect("no panic").push(command.clone());
            true
        }
    };
    let of_ledger = Command::any().database(&stand.world.name).matching(record);
    stand.proxy.when(of_ledger);
    let mut instants = BTreeSet::new();
    for (question, accept) in [
        (
            "summary?organizationId=org-1&from=2026-01-01&to=2026-01-31",
            "application/json",
        ),
        (
            "series?organizationId=org-2&groupBy=user&from=2026-01-01&to=2026-01-31",
            "application/json",
        ),
        (
            "breakdown?organizationId=org-3&by=user&include=teams&from=2026-01-01&to=2026-01-31",
            "text/csv",
        ),
        ("meta?organizationId=org-4", "application/json"),
        (TABLE, "text/csv"),
    ] {
        heard.lock().expect("no panic").clear();
        let answer = stand.ask(question, accept).await;
        assert_eq!(answer.status().as_u16(), 200, "{question}");
        let body = answer.text().await.expect("whole");
        if question == TABLE {
            assert_eq!(requests(&body), ORGANIZATIONS);
        }
        let heard = std::mem::take(&mut *heard.lock().expect("no panic"));
        let (first, others) = heard.split_first().expect("it reads");
        assert!(is_of_snapshot(first) && instant(first).is_none(), "{first}");
        let at = others.first().and_then(instant);
        assert!(at.is_some() && others.len() > 1, "{question}: {heard:?}");
        for read in others {
            assert!(is_of_snapshot(read) && instant(read) == at, "{question}: {read}");
        }
        assert!(
            heard.iter().all(|read| !read.contains_key("txnNumber")),
            "{heard:?}"
        );
        instants.insert(at);
    }
    assert_eq!(instants.len(), 5, "each answer is of its own instant");
}

/// However slowly a table is read, and however soon transactions end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_takes_longer_than_transactions_live_is_whole() {
    let stand = Stand::new("long_table").await;
    stand
        .proxy
        .when(Command::any().in_transaction())
        .reply_error(251, "NoSuchTransaction");
    let rows = Command::named("aggregate").collection("usageRollups");
    let held = stand.proxy.when(rows).nth(3).hold().arm();
    let mut answer = stand.ask(TABLE, "text/csv").await;
    assert_eq!(answer.status().as_u16(), 200);
    let mut csv = Vec::new();
    // Some of it is there, and the rest of it has not been read yet.
    loop {
        tokio::select! {
            block = answer.chunk() => csv.extend_from_slice(&block.expect("whole").expect("more")),
            () = held.wait_fired(1) => break,
        }
    }
    assert!(!csv.is_empty());
    held.let_go();
    while let Some(block) = answer.chunk().await.expect("whole") {
        csv.extend_from_slice(&block);
    }
    assert_eq!(requests(&String::from_utf8(csv).expect("text")), ORGANIZATIONS);
}

/// A table that has begun breaks off, and the log says why; whatever has not begun is asked anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_instant_is_gone_breaks_off_or_begins_anew() {
    let stand = Stand::new("long_answers_gone").await;
    let rows = || Command::named("aggregate").collection("usageRollups");
    let gone = stand
        .proxy
        .when(rows())
        .nth(3)
        .reply_error(239, "SnapshotTooOld")
        .arm();
    let answer = stand.ask(TABLE, "text/csv").await;
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.bytes().await.is_err(), "it breaks off");
    gone.wait_fired(1).await;
    gone.stop();
    eventually("the log says why", || async {
        let said = stand.reader.said();
        said.contains("a table broke off") && said.contains("239 SnapshotTooOld")
    })
    .await;

    for (code, name, accept) in [
        (239, "SnapshotTooOld", "text/csv"),
        (246, "SnapshotUnavailable", "application/json"),
    ] {
        let question = format!("{}&granularity=monthly", TABLE.replace("&granularity=daily", ""));
        let once = stand.proxy.when(rows()).once().reply_error(code, name).arm();
        let answer = stand.ask(&question, accept).await;
        assert_eq!(answer.status().as_u16(), 200, "{name}");
        answer.bytes().await.expect("whole");
        assert!(once.matched() > 1, "it is asked anew");
        once.stop();
        let always = stand.proxy.when(rows()).reply_error(code, name).arm();
        let refused = stand.ask(&question.replace("-31", "-30"), accept).await;
        assert_eq!(refused.status().as_u16(), 503, "{name}");
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(always.matched(), 3, "not for ever");
        always.stop();
    }
}

fn staff(name: &str) -> String {
    let claims = json!({"sub": name, "platformRole": "staff", "exp": 4_000_000_000_u64});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).expect("a token")
}

/// As many questions as are worked on at once are stuck in the database: readiness is told, leases are renewed, and
/// commits go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_are_stuck_hold_up_neither_readiness_nor_leases_nor_commits() {
    let mongo = shared::mongo().await;
    let proxy = mongo.proxy().await.expect("a proxy");
    keep_instants(&proxy);
    let mut world = World::on(&mongo, "stuck_questions").await;
    world.uri = mongo.proxied_uri(&proxy);
    let mut worker = world.ready(&[("AUTH", "jwt"), ("JWT_SECRET", SECRET)]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    let rollups = Command::any().collection("usageRollups").matching(is_of_snapshot);
    let stuck = proxy.when(rollups).hold().arm();
    let mut asking = JoinSet::new();
    for n in 0..api::QUESTIONS_AT_ONCE + 4 {
        let query = format!("organizationId=acme&from=2026-01-01&to=2026-01-{}", n + 10);
        let url = format!("{}/v1/usage/summary?{query}", worker.api());
        let request = reqwest::Client::new()
            .get(url)
            .bearer_auth(staff(&format!("u{n}")));
        asking.spawn(async move { request.send().await.expect("an answer").status().as_u16() });
    }
    stuck.wait_fired(u64::from(api::QUESTIONS_AT_ONCE)).await;
    let renewed = async || {
        let leases = world.collection("usageLeases");
        let lease = leases.find_one(doc! {"_id": {"$regex": "^mongodb/"}}).await;
        let lease = lease.expect("reads").expect("a lease");
        lease.get_datetime("renewedAt").copied().expect("a time")
    };
    let before = renewed().await;
    for _ in 0..3 {
        world.insert_one(event("acme")).await;
    }
    world.wait_read(&mut worker, 4).await;
    assert_eq!(world.fence_number("counted").await, 4);
    eventually("the lease is renewed", || async { renewed().await > before }).await;
    assert_eq!(admin(&worker, "/readyz").await.0, 200);
    assert_eq!(
        stuck.fired(),
        u64::from(api::QUESTIONS_AT_ONCE),
        "no more at once"
    );
    stuck.stop();
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
    worker.stop(PATIENCE).await.expect("stops");
}
