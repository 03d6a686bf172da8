//! Workers with `VERIFY_EVERY` compare rows with their entries by themselves: one at a time, and no more often than that.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;
use testkit::product::Product;
use testkit::proxy::Command;
use testkit::world::{World, event, items, run, truth};
use testkit::{eventually, process, shared};

use crate::verify::{change, id, some};

const DRAIN: Duration = Duration::from_secs(20);
/// The traffic of tests is of the past.
const SETTINGS: [(&str, &str); 2] = [("VERIFY_EVERY", "1h"), ("VERIFY_DAYS", "3660")];

/// What is noted of the last comparison.
async fn verified(world: &World) -> Option<Document> {
    let meta = world.collection("usageMeta");
    let meta = meta.find_one(doc! {"_id": "ledger"}).await.expect("reads")?;
    meta.get_document("verified").ok().cloned()
}

/// Makes the next comparison due: the last one was long ago. When.
async fn make_due(world: &World) -> DateTime {
    let long_ago = DateTime::from_millis(testkit::now().timestamp_millis() - 2 * 3_600_000);
    eventually("there is a last one", || async {
        verified(world).await.is_some()
    })
    .await;
    let set = doc! {"$set": {"verified.at": long_ago}};
    let meta = world.collection("usageMeta").update_one(doc! {}, set).await;
    assert_eq!(meta.expect("writes").matched_count, 1);
    long_ago
}

/// The next comparison, which is made at once.
async fn again(world: &World) -> Document {
    let long_ago = make_due(world).await;
    eventually("rows are compared", || async {
        let found = verified(world).await.expect("noted");
        found.get_datetime("at").is_ok_and(|at| *at > long_ago)
    })
    .await;
    verified(world).await.expect("noted")
}

/// A sample; `None`: it is not given.
async fn sample(product: &Product, name: &str) -> Option<f64> {
    let text = product.metrics().await.expect("metrics");
    let name = format!("usage_ledger_verify_{name} ");
    let line = text.lines().find(|line| line.starts_with(&name))?;
    line[name.len()..].parse().ok()
}

async fn eventually_is(product: &Product, name: &str, number: f64) {
    let what = format!("{name} is {number}");
    eventually(&what, || async { sample(product, name).await == Some(number) }).await;
}

async fn runs(product: &Product, outcome: &str) -> f64 {
    let name = format!("runs_total{{outcome=\"{outcome}\"}}");
    sample(product, &name).await.expect("from the start")
}

async fn told(product: &Product) -> Value {
    let question = format!("{}/v1/usage/meta?organizationId=org-1", product.api());
    let (status, body) = product.get(&question).await.expect("answers");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    answer["verified"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn drift_is_found_and_told_and_after_a_rebuild_rows_are_proved() {
    let world = World::new("verify_schedule").await;
    let mut worker = world.ready(&SETTINGS).await;
    let traffic = items(11, 400);
    world.insert(&traffic).await;
    let truth = truth(&traffic);
    world.wait_read(&mut worker, truth.read).await;
    // There was none: one is made at once, and the next one when it is due.
    eventually("the first one", || async { verified(&world).await.is_some() }).await;
    let first = again(&world).await;
    assert_eq!(first.get_bool("clean").ok(), Some(true), "{first}");
    assert_eq!(
        first.get_i64("entries").ok(),
        Some(world.fence_number("counted").await),
        "{first}"
    );
    assert!(first.get_i64("rows").expect("rows") > 100, "{first}");
    eventually_is(&worker, "drift_rows", 0.0).await;
    let clean_at = |of: &Document| of.get_datetime("cleanAt").expect("a time").timestamp_millis();
    let seconds = |ms: i64| f64::from(u32::try_from(ms / 1_000).expect("before 2106"));
    eventually("all workers know when", || async {
        let shown = sample(&worker, "last_success_timestamp_seconds").await;
        shown.is_some_and(|shown| (shown - seconds(clean_at(&first))).abs() < 1.5)
    })
    .await;

    let rollup = id(&some(&world, "usageRollups", doc! {"set": "user"}, 7).await);
    change(
        &world,
        "usageRollups",
        &rollup,
        doc! {"$inc": {"requests": 1_i64, "images": 2_i64}},
    )
    .await;
    let wrong = again(&world).await;
    assert_eq!(wrong.get_bool("clean").ok(), Some(false), "{wrong}");
    assert_eq!(wrong.get_i64("differences").ok(), Some(1), "one row: {wrong}");
    assert_eq!(clean_at(&wrong), clean_at(&first), "it was right then");
    eventually_is(&worker, "drift_rows", 1.0).await;
    assert!((runs(&worker, "drift").await - 1.0).abs() < 0.1);
    assert_eq!(told(&worker).await["clean"], Value::from(false));
    let log = process::log_after(worker.process().log(), 0);
    assert!(
        log.contains(&rollup) && log.contains("`usage-ledger verify` names all of them"),
        "{log}"
    );

    let (code, said) = run(&["rebuild"], world.variables(&[])).await;
    assert_eq!(code, 0, "{said}");
    let right = again(&world).await;
    assert_eq!(right.get_bool("clean").ok(), Some(true), "{right}");
    assert!(clean_at(&right) > clean_at(&first));
    eventually_is(&worker, "drift_rows", 0.0).await;
    assert_eq!(told(&worker).await["to"], right.get_str("to").expect("a day"));

    worker.stop(DRAIN).await.expect("drains");
    let lease = world
        .collection("usageLeases")
        .find_one(doc! {"_id": "verify"})
        .await;
    assert_eq!(lease.expect("reads"), None, "it is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_several_workers_one_compares_and_all_know_what_was_found() {
    let world = World::new("verify_turns").await;
    // Somebody else compares, and will never be done.
    let length_ms = 8_000;
    let now = DateTime::from_millis(testkit::now().timestamp_millis());
    let lease = doc! {"_id": "verify", "owner": "dead", "renewedAt": now, "lengthMs": i64::from(length_ms)};
    world
        .collection("usageLeases")
        .insert_one(lease)
        .await
        .expect("inserts");
    let workers = [world.ready(&SETTINGS).await, world.ready(&SETTINGS).await];
    let both = async |count: f64| {
        for worker in &workers {
            eventually_is(worker, "drift_rows", 0.0).await;
        }
        eventually("it is counted", || async {
            runs(&workers[0], "clean").await + runs(&workers[1], "clean").await >= count
        })
        .await;
        let found = runs(&workers[0], "clean").await + runs(&workers[1], "clean").await;
        assert!((found - count).abs() < 0.1, "{found} for {count}");
    };
    both(1.0).await;
    let first = verified(&world).await.expect("noted");
    let at = first.get_datetime("at").expect("a time").timestamp_millis();
    assert!(
        at >= now.timestamp_millis() + i64::from(length_ms),
        "not before that lease was over"
    );
    again(&world).await;
    both(2.0).await;
    for worker in &workers {
        assert!(runs(worker, "failed").await < 0.1);
    }
}

/// What fails there is told, and stops nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_comparison_that_fails_is_counted_and_events_go_on() {
    let mut world = World::new("verify_fails").await;
    let mongo = shared::mongo().await;
    let proxy = mongo.proxy().await.expect("a proxy");
    world.uri = mongo.proxied_uri(&proxy);
    let mut worker = world.ready(&SETTINGS).await;
    eventually_is(&worker, "drift_rows", 0.0).await;
    let rows = Command::named("find").collection("usageLedger").in_session();
    let refused = proxy.when(rows).reply_error(13, "Unauthorized").arm();
    let long_ago = make_due(&world).await;
    eventually("it fails", || async { runs(&worker, "failed").await > 0.5 }).await;
    assert!(refused.fired() > 0);
    let last = verified(&world).await.expect("noted");
    assert_eq!(last.get_datetime("at").ok(), Some(&long_ago), "{last}");
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    let log = process::log_after(worker.process().log(), 0);
    assert!(
        log.contains("rows could not be compared with their entries"),
        "{log}"
    );
    let leases = world.collection("usageLeases");
    eventually("another worker may try", || async {
        let lease = leases.find_one(doc! {"_id": "verify"}).await;
        lease.expect("reads").is_none()
    })
    .await;
}
