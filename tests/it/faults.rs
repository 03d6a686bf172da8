//! The database fails in the middle, and nothing is lost or counted twice.

use mongodb::bson::doc;
use testkit::eventually;
use testkit::mongodb::{Mongo, Options};
use testkit::proxy::Command;
use testkit::world::{World, admin, items, truth};

/// Lessons D1 and D2: the acknowledgement of a commit is lost, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d1_d2_a_lost_acknowledgement_counts_once() {
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "lost_ack").await;
    world.uri = mongo.proxied_uri(&proxy);
    let items = items(3, 3_000);
    let truth = truth(&items);
    let mut worker = world.start("ingest", &[("BATCH_MAX_EVENTS", "100")]);
    for (round, items) in items.chunks(300).enumerate() {
        let commit = proxy.when(Command::named("commitTransaction")).once();
        let lost = if round % 2 == 0 {
            commit.lose_reply().arm()
        } else {
            commit.lose_request().arm()
        };
        world.insert(items).await;
        lost.wait_fired(1).await;
    }
    world.wait_read(&mut worker, truth.read).await;
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(&world).await;
}

/// Killed and started again: the worker keeps its batch, says that it is not ready, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_worker_recovers_by_itself_when_mongodb_returns() {
    let mut mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let world = World::on(&mongo, "restart").await;
    let items = items(4, 4_000);
    let truth = truth(&items);
    let mut worker = world.ready(&[("BATCH_MAX_EVENTS", "200")]).await;
    world.insert(&items[..3_000]).await;
    eventually("progress", || async { world.fence_number("read").await > 500 }).await;
    mongo.kill9().expect("kills");
    eventually("not ready", || async { admin(&worker, "/readyz").await.0 == 503 }).await;
    assert_eq!(admin(&worker, "/healthz").await.0, 200);
    assert!(admin(&worker, "/readyz").await.1.contains("mongodb_unreachable"));
    mongo.restart().await.expect("restarts");
    world.insert(&items[3_000..]).await;
    world.wait_read(&mut worker, truth.read).await;
    worker.wait_ready(testkit::PATIENCE).await.expect("ready again");
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(&world).await;
}

/// A booking that does not fit a stored counter is a dead letter; those around it are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_overflow_is_one_dead_letter_and_the_lane_goes_on() {
    let world = World::new("overflow").await;
    let mut worker = world.ready(&[]).await;
    let sized = |tokens: i64| {
        let mut event = testkit::world::event("acme");
        event.insert("inputTokens", tokens);
        event
    };
    world.insert_one(sized(1)).await;
    world.wait_read(&mut worker, 1).await;
    let almost = doc! {"$set": {"inputTokens": i64::MAX - 100, "totalTokens": i64::MAX - 1_000}};
    world
        .collection("usageLedger")
        .update_many(doc! {"granularity": "daily"}, almost)
        .await
        .expect("updates");
    let events: Vec<_> = [10, 20, 500, 30].map(sized).into_iter().collect();
    world
        .collection("requestEvents")
        .insert_many(events)
        .await
        .expect("inserts");
    world.wait_read(&mut worker, 5).await;
    assert_eq!(
        (
            world.fence_number("counted").await,
            world.fence_number("deadLetter").await
        ),
        (4, 1)
    );
    let letters = world.letters().await;
    assert_eq!(letters[0].get_str("reason").expect("a reason"), "overflow");
    let payload = letters[0]
        .get_document("payload")
        .expect("the event")
        .get_document("fullDocument")
        .expect("the event");
    assert_eq!(payload.get_i64("inputTokens").expect("tokens"), 500);
    let sums = world.sums(doc! {}).await;
    assert_eq!(
        sums["ledger daily"]["inputTokens"],
        i128::from(i64::MAX) - 100 + 60
    );
    assert_eq!(sums["ledger monthly"]["inputTokens"], 61);
}
