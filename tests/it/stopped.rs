//! A lane that cannot go on stops loudly, and goes on when a person says how.

use std::time::Duration;

use mongodb::bson::doc;
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;

use testkit::eventually;
use testkit::world::{World, admin, event, run};

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

    eventually("the stop is stored", || async {
        world
            .fence()
            .await
            .is_some_and(|fence| fence.contains_key("stopped"))
    })
    .await;
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
    let resume = [
        "lanes",
        "resume",
        "--lane",
        &lane,
        "--from",
        "now",
        "--accept-gap",
    ];
    let (code, told) = run(&resume, world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 2).await;
    let fence = world.fence().await.expect("a fence");
    assert_eq!(fence.get_array("gaps").expect("gaps").len(), 1);
    let (code, told) = run(&resume, world.variables(&[])).await;
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
    eventually("the stop is stored", || async {
        world
            .fence()
            .await
            .is_some_and(|fence| fence.contains_key("stopped"))
    })
    .await;
    let resume = [
        "lanes",
        "resume",
        "--lane",
        &lane,
        "--from",
        "earliest",
        "--accept-gap",
    ];
    let (code, told) = run(&resume, world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    world.wait_read(&mut worker, 2).await;
    worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
    assert_eq!(world.fence_number("counted").await, 2);
    let gaps = world
        .collection("usageFences")
        .find_one(doc! {"gaps": {"$exists": true}})
        .await
        .expect("reads");
    assert_eq!(gaps, None, "nothing is missing");
}
