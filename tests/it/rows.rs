//! Rows that somebody else changes: while a worker believes to know them, and while a reader remembers them.

use chrono::DateTime;
use mongodb::bson::{Document, doc};
use rollup::counters::{Counter, Counters, Sums};
use rollup::fold::{Delta, Marginal, RollupRow, RowDelta};
use rollup::key;
use rollup::period::{Calendar, Granularity, Period};
use serde_json::Value;
use testkit::product::Product;
use testkit::world::{World, event};
use usage_ledger::config::{self, Given};
use usage_ledger::store::Store;

/// What the rows of a collection hold of these filters, in requests.
async fn requests(world: &World, collection: &str, filter: Document) -> Vec<i64> {
    let mut cursor = world.collection(collection).find(filter).await.expect("reads");
    let mut requests = Vec::new();
    while cursor.advance().await.expect("reads") {
        let row = cursor.deserialize_current().expect("a row");
        requests.push(row.get_i64("requests").expect("a counter"));
    }
    requests
}

/// A worker adds to rows that it has written before without looking whether they are there. One that somebody
/// removed must not swallow what is added to it: it is booked whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_row_that_somebody_removed_is_booked_whole_again() {
    let world = World::new("rows_removed").await;
    let mut worker = world.ready(&[]).await;
    let book = async |worker: &mut _, read: u64| {
        let mut event = event("acme");
        event.insert("eventId", format!("e-{read}"));
        world.insert_one(event).await;
        world.wait_read(worker, read).await;
    };
    book(&mut worker, 1).await;
    book(&mut worker, 2).await;
    for (collection, removed) in [
        ("usageLedger", doc! {"granularity": "daily"}),
        ("usageRollups", doc! {"granularity": "weekly", "set": "user"}),
    ] {
        let rows = world.collection(collection);
        let whole = rows
            .find_one(removed.clone())
            .await
            .expect("reads")
            .expect("a row");
        let deleted = rows.delete_many(removed.clone()).await.expect("deletes");
        assert_eq!(deleted.deleted_count, 1);
        let read = u64::try_from(world.fence_number("read").await).expect("a count");
        book(&mut worker, read + 1).await;
        let anew = rows
            .find_one(removed.clone())
            .await
            .expect("reads")
            .expect("a row");
        assert!(
            whole.keys().all(|name| anew.contains_key(name)),
            "{anew} is as whole as {whole}"
        );
        assert_eq!(
            anew.get_i64("requests").expect("a counter"),
            1,
            "{collection}: only what came after"
        );
        book(&mut worker, read + 2).await;
        assert_eq!(
            requests(&world, collection, removed.clone()).await,
            [2],
            "{collection}"
        );
    }
    // What nobody touched has everything.
    let rest = doc! {"granularity": "monthly"};
    assert_eq!(requests(&world, "usageLedger", rest.clone()).await, [6]);
    assert_eq!(requests(&world, "usageRollups", rest).await, [6; 5]);
    let tally = ["read", "counted", "duplicate", "skipped", "deadLetter"];
    for (name, expected) in tally.into_iter().zip([6, 6, 0, 0, 0]) {
        assert_eq!(world.fence_number(name).await, expected, "{name}");
    }
}

/// The users of a day, as a reader has them, and in requests.
async fn users(reader: &Product, day: &str) -> Vec<(String, i64)> {
    let question = format!("organizationId=acme&from={day}&to={day}&by=user");
    let url = format!("{}/v1/usage/breakdown?{question}", reader.api());
    let (status, answer) = reader.get(&url).await.expect("answers");
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut users: Vec<(String, i64)> = answer["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let requests = row["totals"]["requests"].as_i64().expect("a counter");
            (row["userId"].as_str().expect("a user").to_owned(), requests)
        })
        .collect();
    users.sort();
    users
}

/// What moves requests of a day from one user to another: the organization's totals stay what they are.
fn moved(day: Period, from: &str, to: &str, requests: i64) -> Delta {
    let row = |user: &str, requests: i64| {
        let mut counters = Counters::default();
        counters[Counter::Requests] = requests;
        let row = RollupRow {
            period: day,
            organization: "acme".into(),
            marginal: Marginal::User,
            value: user.into(),
            provider: None,
            booked: RowDelta {
                sums: Sums::from(counters),
                first_event_ms: 0,
                last_event_ms: 0,
            },
        };
        (key::rollup("acme", day, Marginal::User, user, None), row)
    };
    let mut delta = Delta::default();
    delta.rollups.extend([row(from, -requests), row(to, requests)]);
    delta
}

/// A job changes rows that a running reader remembers, and whose totals it does not change: the reader shows it at
/// once. A job that read before another one wrote writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_job_changes_is_seen_by_readers_and_a_job_that_read_too_early_writes_nothing() {
    let world = World::new("rows_job").await;
    let mut worker = world.ready(&[]).await;
    let day = "2026-01-05";
    for (read, user) in (1..).zip(["ada", "ada", "grace"]) {
        let mut event = event("acme");
        event.insert("eventId", format!("e-{read}"));
        event.insert("userId", user);
        let at = DateTime::parse_from_rfc3339(&format!("{day}T10:00:00Z")).expect("an instant");
        event.insert("completedAt", mongodb::bson::DateTime::from_chrono(at));
        world.insert_one(event).await;
        world.wait_read(&mut worker, read).await;
    }
    let mut reader = world.start("serve", &[]);
    reader.wait_ready(testkit::PATIENCE).await.expect("ready");
    let shown = async |expected: [(&str, i64); 2]| {
        for product in [&worker, &reader] {
            // Twice: what was asked before is remembered.
            for _ in 0..2 {
                let expected = expected.map(|(user, requests)| (user.to_owned(), requests));
                assert_eq!(users(product, day).await, expected);
            }
        }
    };
    shown([("ada", 2), ("grace", 1)]).await;

    let given = Given::from([
        ("MONGODB_URI", world.uri.clone()),
        ("MONGODB_DATABASE", world.name.clone()),
    ]);
    let store = Store::open(&config::parse(&given).expect("settings"))
        .await
        .expect("a store");
    let period = Period::parse(Granularity::Daily, day).expect("a day");
    let write = async |revision: i64, delta: Delta| {
        let at = DateTime::from_timestamp_millis(0).expect("an instant");
        let written = store.add_rows(Calendar::UTC, revision, &delta, at).await;
        written.expect("writes")
    };
    let revision = store.revision().await.expect("a revision");
    assert!(write(revision, moved(period, "ada", "grace", 1)).await);
    shown([("ada", 1), ("grace", 2)]).await;
    assert!(
        !write(revision, moved(period, "ada", "grace", 1)).await,
        "it read too early"
    );
    shown([("ada", 1), ("grace", 2)]).await;
    assert_eq!(store.revision().await.expect("a revision"), revision + 1);
}
