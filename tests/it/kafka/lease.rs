//! What a worker that takes a partition does to the commits of those that live: nothing.

use testkit::mongodb::{Mongo, Options};
use testkit::proxy::Command;

use super::{LEAVE, Topic};
use testkit::eventually;
use testkit::world::World;

/// The first worker commits both partitions when the second joins and is given one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_takes_a_partition_waits_for_the_commit_of_the_one_that_had_it() {
    let broker = testkit::shared::broker().await;
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "takes-one").await;
    world.uri = mongo.proxied_uri(&proxy);
    let topic = Topic::on(&broker, world, "takes-one", 2).await;
    // A commit that is held for as long as a worker takes to join is not given up.
    let mut first = topic.worker(&[("COMMIT_TARGET", "60s")]);
    topic.send(0, 0..100);
    topic.send(1, 1_000..1_100);
    topic.wait_next(0, 100).await;
    topic.wait_next(1, 100).await;

    let ended = proxy.when(Command::named("killSessions")).arm();
    // One commit of both lanes.
    let both =
        |update: &mongodb::bson::Document| update.get_array("updates").is_ok_and(|fences| fences.len() == 2);
    let held = proxy
        .when(
            Command::named("update")
                .collection("usageFences")
                .in_transaction()
                .matching(both),
        )
        .once()
        .hold()
        .after_server()
        .arm();
    let mut sent = 100;
    while held.fired() == 0 {
        topic.send(0, sent..sent + 10);
        topic.send(1, 1_000 + sent..1_010 + sent);
        sent += 10;
    }
    let mut second = topic.worker(&[]);
    eventually("the second worker waits", || async {
        second.said().contains("another process has this lane")
    })
    .await;
    held.let_go();
    topic.send(0, sent..sent + 50);
    topic.send(1, 1_000 + sent..1_050 + sent);
    let end = i64::try_from(sent + 50).expect("fits");
    topic.wait_next(0, end).await;
    topic.wait_next(1, end).await;
    assert_eq!(topic.sum("counted").await, 2 * end);
    assert_eq!(ended.matched(), 0, "nobody was dead");
    let metrics = first.metrics().await.expect("metrics");
    for outcome in ["conflict", "too_much", "away", "lost"] {
        let line = format!("usage_ledger_commits_total{{outcome=\"{outcome}\"}} 0");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    second.stop(LEAVE).await.expect("leaves");
    first.stop(LEAVE).await.expect("leaves");
}
