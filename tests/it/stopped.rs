//! A lane that cannot go on stops loudly, and goes on when a person says how.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::proxy::Command;

use testkit::eventually;
use testkit::world::{World, admin, event, resume, run};

async fn wait_reason(product: &Product, reason: &str) {
    eventually(reason, || async {
        let (status, body) = admin(product, "/readyz").await;
        status == 503 && body.contains(reason)
    })
    .await;
    assert_eq!(admin(product, "/healthz").await.0, 200);
}

/// Lesson D8: after the history was lost nothing is skipped by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d8_a_lost_history_stops_the_lane_until_it_is_resumed() {
    let options = Options {
        oplog_entries: 500,
        oplog_retention: Duration::from_secs(1),
        ..Options::default()
    };
    let mongo = Mongo::start(options).await.expect("MongoDB starts");
    let world = World::on(&mongo, "history_lost").await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    worker.stop(Duration::from_secs(20)).await.expect("drains");
    // More than the history holds.
    for _ in 0..6 {
        let events: Vec<_> = (0..1_000).map(|_| event("acme")).collect();
        world
            .collection("requestEvents")
            .insert_many(events)
            .await
            .expect("inserts");
    }
    let mut worker = world.start("run", &[]);
    wait_reason(&worker, "history_lost").await;
    assert_eq!(world.fence_number("read").await, 1, "nothing was skipped");
    let lane = format!("mongodb/{}.requestEvents", world.name);

    world.wait_stopped().await;
    let (code, told) = run(&["lanes", "list"], world.variables(&[])).await;
    assert_eq!(code, 0);
    assert!(
        told.contains(&lane) && told.contains("stopped: history_lost"),
        "{told}"
    );
    let (code, told) = run(
        &["lanes", "resume", "--lane", &lane, "--from", "now"],
        world.variables(&[]),
    )
    .await;
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("--accept-gap"), "{told}");
    let (code, told) = resume(&lane, "now", world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 2).await;
    let fence = world.fence().await.expect("a fence");
    assert_eq!(fence.get_array("gaps").expect("gaps").len(), 1);
    let (code, told) = resume(&lane, "now", world.variables(&[])).await;
    assert_eq!(code, 1, "a lane that is not stopped is left alone: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dropped_collection_stops_the_lane_and_loses_nothing() {
    let world = World::new("dropped").await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.collection("requestEvents").drop().await.expect("drops");
    wait_reason(&worker, "invalidated").await;
    eventually("what was read is committed", || async {
        world.fence_number("read").await == 1
    })
    .await;
    world.insert_one(event("acme")).await;
    let lane = format!("mongodb/{}.requestEvents", world.name);
    world.wait_stopped().await;
    let (code, told) = resume(&lane, "earliest", world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    world.wait_read(&mut worker, 2).await;
    worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
    assert_eq!(world.fence_number("counted").await, 2);
    assert!(
        told.contains("What cannot be known") && told.contains("`_id` only are counted again"),
        "{told}"
    );
    let fence = world.fence().await.expect("a fence");
    assert_eq!(
        fence.get_array("gaps").expect("a gap").len(),
        1,
        "nobody knows what was in it before"
    );
}

/// However often a collection ended, one word is enough: it was said of all ends until then, and of none after.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_word_is_enough_for_any_number_of_ends() {
    let world = World::new("ended_often").await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    let drop_it = async || world.collection("requestEvents").drop().await.expect("drops");
    drop_it().await;
    wait_reason(&worker, "invalidated").await;
    for _ in 0..2 {
        world.insert_one(event("acme")).await;
        drop_it().await;
    }
    world.insert_one(event("acme")).await;
    let lane = format!("mongodb/{}.requestEvents", world.name);
    world.wait_stopped().await;
    let (code, told) = resume(&lane, "earliest", world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    world.wait_read(&mut worker, 4).await;
    worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
    assert_eq!(world.fence_number("counted").await, 4);
    drop_it().await;
    wait_reason(&worker, "invalidated").await;
}

/// A lane that only a person can mend stays as it is, and since when: it is looked at, and taken again only when it was
/// resumed, or by a worker that begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopped_lane_is_left_alone_until_it_is_resumed() {
    let mongo = testkit::shared::mongo().await;
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "left_alone").await;
    world.uri = mongo.proxied_uri(&proxy);
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    world.collection("requestEvents").drop().await.expect("drops");
    let stopped = async |epoch: i64| {
        eventually("the stop is stored", || async {
            let fence = world.fence().await.expect("a fence");
            fence.contains_key("stopped") && fence.get_i64("epoch").ok() == Some(epoch)
        })
        .await;
        let fence = world.fence().await.expect("a fence");
        let stopped = fence.get_document("stopped").expect("it stopped");
        let since = *stopped.get_datetime("at").expect("an instant");
        (since, fence)
    };
    let (since, fence) = stopped(1).await;
    let looks = |command: &Document| {
        let filter = command.get_document("filter");
        filter.is_ok_and(|filter| filter.contains_key("stopped"))
    };
    let look = Command::named("find").collection("usageFences").matching(looks);
    let looks = proxy.when(look).arm();
    looks.wait_fired(3).await;
    assert_eq!(stopped(1).await, (since, fence), "nothing was written");
    wait_reason(&worker, "invalidated").await;
    // A new worker looks for itself, once.
    worker.stop(Duration::from_secs(20)).await.expect("drains");
    let mut worker = world.start("run", &[]);
    wait_reason(&worker, "invalidated").await;
    let so_far = looks.fired();
    looks.wait_fired(so_far + 2).await;
    assert_eq!(stopped(2).await.0, since, "since then");
    world.insert_one(event("acme")).await;
    let lane = format!("mongodb/{}.requestEvents", world.name);
    let (code, told) = resume(&lane, "earliest", world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    world.wait_read(&mut worker, 2).await;
    worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
    let fence = world.fence().await.expect("a fence");
    assert!(!fence.contains_key("stopped"), "{fence}");
    assert_eq!(fence.get_i64("epoch").ok(), Some(4), "resumed, and taken once");
}
