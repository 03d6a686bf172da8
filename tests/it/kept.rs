//! What is kept from some time on, or for some time only: granularities that are switched on later, and entries that are
//! old.

use std::time::Duration;

use chrono::TimeDelta;
use mongodb::bson::{DateTime as BsonTime, Document, doc};
use testkit::eventually;
use testkit::world::{World, event, items, run, truth};

use crate::verify::{assert_clean, change, id, named, remove, some, verify};

const DRAIN: Duration = Duration::from_secs(20);
const WITH_HOURS: (&str, &str) = ("GRANULARITIES", "hourly,daily,weekly,monthly");

/// Events of today and of the days before.
fn recent(count: i64) -> Vec<Document> {
    let event = |number: i64| {
        let mut event = event(if number % 2 == 0 { "acme" } else { "beta" });
        let at = testkit::now() - TimeDelta::hours(number % 60);
        event.insert("completedAt", BsonTime::from_chrono(at));
        event.insert("inputTokens", number);
        event
    };
    (0..count).map(event).collect()
}

async fn rows(world: &World, granularity: &str) -> u64 {
    let rows = world.collection("usageLedger");
    let counted = rows.count_documents(doc! {"granularity": granularity}).await;
    counted.expect("counts")
}

/// The sum of a counter over all rows of a granularity.
async fn sum(world: &World, granularity: &str, counter: &str) -> i64 {
    let rows = world.collection("usageLedger");
    let mut cursor = rows.find(doc! {"granularity": granularity}).await.expect("reads");
    let mut sum = 0;
    while cursor.advance().await.expect("reads") {
        let row: Document = cursor.deserialize_current().expect("a row");
        sum += row.get_i64(counter).expect("a counter");
    }
    sum
}

/// Hours are switched on while a worker goes on: it books them from then on, and `rebuild` fills what came before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granularity_that_is_switched_on_later_is_filled() {
    let world = World::new("granularity_later").await;
    let mut worker = world.ready(&[]).await;
    let events = world.collection("requestEvents");
    events.insert_many(recent(200)).await.expect("inserts");
    world.wait_read(&mut worker, 200).await;
    assert_eq!(rows(&world, "hourly").await, 0);
    let (code, told) = run(&["run"], world.variables(&[WITH_HOURS])).await;
    assert_eq!(code, 64, "{told}");
    assert!(
        told.contains("`usage-ledger migrate` adds granularities"),
        "{told}"
    );

    let (code, told) = run(&["migrate"], world.variables(&[WITH_HOURS])).await;
    assert_eq!(code, 0, "{told}");
    let (code, told) = run(&["migrate"], world.variables(&[])).await;
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("no granularity can be taken away"), "{told}");
    // The worker that is there since before goes on, by the new rules.
    events.insert_many(recent(100)).await.expect("inserts");
    world.wait_read(&mut worker, 300).await;
    assert!(rows(&world, "hourly").await > 0);
    let (code, report) = verify(world.variables(&[WITH_HOURS]), &[]).await;
    assert_eq!(code, 0, "{report:#}");
    let left_out = report["notCompared"].to_string();
    assert!(left_out.contains("switched on later"), "{left_out}");
    let mut reader = world.ready(&[WITH_HOURS]).await;
    let yesterday = (testkit::now() - TimeDelta::days(1)).date_naive();
    let question = format!(
        "{}/v1/usage/series?organizationId=acme&granularity=hourly&from={yesterday}&to={yesterday}",
        reader.api()
    );
    let (status, problem) = reader.get(&question).await.expect("answers");
    assert_eq!(status, 400, "{problem}");
    assert!(problem.contains("is kept from"), "{problem}");

    let (code, told) = run(&["rebuild"], world.variables(&[WITH_HOURS])).await;
    assert_eq!(code, 0, "{told}");
    let (code, report) = verify(world.variables(&[WITH_HOURS]), &[]).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["notCompared"], serde_json::json!([]), "{report:#}");
    for counter in ["requests", "inputTokens"] {
        let hours = sum(&world, "hourly", counter).await;
        assert_eq!(hours, sum(&world, "daily", counter).await, "{counter}");
    }
    let (status, series) = reader.get(&question).await.expect("answers");
    assert_eq!(status, 200, "{series}");
    worker.stop(DRAIN).await.expect("drains");
    reader.stop(DRAIN).await.expect("drains");
}

/// Entries that are old are gone, and nobody takes them for missing ones. What they were counted in is compared with the
/// days, and follows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_old_are_kept_no_more() {
    let world = World::new("journal_old").await;
    let short = [
        ("JOURNAL_KEEP", "1s"),
        ("DEDUPE_WINDOW", "1s"),
        ("BATCH_MAX_EVENTS", "40"),
    ];
    let mut worker = world.ready(&short).await;
    let all = items(41, 400);
    let read = truth(&all).read;
    world.insert(&all).await;
    world.wait_read(&mut worker, read).await;
    let journal = world.collection("usageJournal");
    let before = journal.count_documents(doc! {}).await.expect("counts");
    assert!(before > 5, "{before}");
    // What is remembered is kept, until something new is.
    eventually("entries are gone", || async {
        world.insert_one(event("acme")).await;
        let meta = world.collection("usageMeta");
        let is_moved = doc! {"horizon": {"$exists": true}};
        let moved = meta.count_documents(is_moved).await.expect("counts");
        let left = journal.count_documents(doc! {"_id.seq": {"$lt": 4}}).await;
        moved == 1 && left.expect("counts") == 0
    })
    .await;
    let (code, report) = verify(world.variables(&short), &[]).await;
    assert_eq!(code, 0, "{report:#}");
    assert!(
        report["notCompared"].to_string().contains("kept no more"),
        "{report:#}"
    );

    let week = some(&world, "usageLedger", doc! {"granularity": "weekly"}, 3).await;
    let rollup = some(
        &world,
        "usageRollups",
        doc! {"granularity": "daily", "set": "user"},
        4,
    )
    .await;
    let month = some(&world, "usageLedger", doc! {"granularity": "monthly"}, 2).await;
    change(
        &world,
        "usageLedger",
        &id(&week),
        doc! {"$inc": {"requests": 3_i64}},
    )
    .await;
    change(
        &world,
        "usageRollups",
        &id(&rollup),
        doc! {"$inc": {"costNanos": -2_i64}},
    )
    .await;
    remove(&world, "usageLedger", &id(&month)).await;
    let (code, report) = verify(world.variables(&short), &[]).await;
    assert_eq!(code, 2, "{report:#}");
    let rows = report["differences"].as_array().expect("differences").iter();
    let mut rows: Vec<&str> = rows.filter_map(|one| one["_id"].as_str()).collect();
    rows.dedup();
    let mut expected = [id(&week), id(&rollup), id(&month)];
    expected.sort();
    rows.sort_unstable();
    assert_eq!(rows, expected, "{:?}", named(&report));
    let (code, told) = run(&["rebuild"], world.variables(&short)).await;
    assert_eq!(code, 0, "{told}");
    assert_clean(world.variables(&short)).await;
    for (collection, row) in [
        ("usageLedger", &week),
        ("usageLedger", &month),
        ("usageRollups", &rollup),
    ] {
        let now = some(&world, collection, doc! {"_id": id(row)}, 0).await;
        for counter in ["requests", "costNanos", "totalTokens"] {
            assert_eq!(now.get(counter), row.get(counter), "{counter} of {}", id(row));
        }
    }
    worker.stop(DRAIN).await.expect("drains");
}
