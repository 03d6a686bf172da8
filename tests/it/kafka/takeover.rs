//! Lanes change hands in the middle of a commit.

use mongodb::bson::{Document, doc};
use testkit::mongodb::{Mongo, Options};
use testkit::proxy::Command;

use super::{LEAVE, Topic};
use testkit::eventually;
use testkit::world::World;

/// Everything that commits write.
async fn everything(world: &World) -> Vec<Document> {
    let mut all = Vec::new();
    for name in [
        "usageLedger",
        "usageRollups",
        "usageJournal",
        "usageDeadLetters",
        "usageFences",
    ] {
        let collection = world.collection(name);
        let sorted = collection.find(doc! {}).sort(doc! {"_id": 1});
        let mut cursor = sorted.await.expect("reads");
        while cursor.advance().await.expect("reads") {
            all.push(cursor.deserialize_current().expect("a document"));
        }
    }
    all
}

/// A worker freezes with its commit on the way; another one takes its lanes over and counts what it read. Then the
/// commit arrives, and the worker wakes up.
async fn held(name: &str, request: Command) {
    let broker = testkit::shared::broker().await;
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let world = World::on(&mongo, name).await;
    let mut topic = Topic::on(&broker, world, name, 2).await;
    let group = (
        "KAFKA_PROPERTIES",
        "session.timeout.ms=3000,heartbeat.interval.ms=500",
    );
    let direct = std::mem::replace(&mut topic.world.uri, mongo.proxied_uri(&proxy));
    let mut zombie = topic.worker(&[group]);
    topic.world.uri = direct;
    topic.send(0, 0..100);
    topic.send(1, 1_000..1_100);
    topic.wait_next(0, 100).await;
    topic.wait_next(1, 100).await;

    let held = proxy.when(request).once().hold().arm();
    topic.send(0, 100..150);
    topic.send(1, 1_100..1_150);
    held.wait_fired(1).await;
    zombie.process().pause().expect("freezes");
    let mut heir = topic.worker(&[group]);
    topic.wait_next(0, 150).await;
    topic.wait_next(1, 150).await;
    assert_eq!(topic.sum("counted").await, 300);
    heir.stop(LEAVE).await.expect("leaves");

    let before = everything(&topic.world).await;
    held.let_go();
    zombie.process().resume().expect("wakes up");
    eventually("the zombie is an owner like any other", || async {
        let epoch = |fence: Document| fence.get_i64("epoch").unwrap_or(0);
        epoch(topic.fence(0).await) > 2 && epoch(topic.fence(1).await) > 2
    })
    .await;
    // Fences change with their owners; nothing else may have.
    let rows = |all: &[Document]| -> Vec<Document> {
        let is_fence = |document: &&Document| document.contains_key("epoch");
        all.iter()
            .filter(|document| !is_fence(document))
            .cloned()
            .collect()
    };
    let after = everything(&topic.world).await;
    assert_eq!(rows(&before), rows(&after), "the zombie wrote something");

    topic.send(0, 150..200);
    topic.send(1, 1_150..1_200);
    topic.wait_next(0, 200).await;
    topic.wait_next(1, 200).await;
    assert_eq!((topic.sum("read").await, topic.sum("counted").await), (400, 400));
    crate::journal::assert_entries(&topic.world).await;
    for (what, sums) in topic.world.sums(doc! {}).await {
        assert_eq!((sums["requests"], sums["inputTokens"]), (400, 4_000), "{what}");
    }
    zombie.stop(LEAVE).await.expect("leaves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_commit_that_arrives_after_the_lanes_were_taken_over_writes_nothing() {
    held("held-commit", Command::named("commitTransaction")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_statement_that_arrives_after_the_lanes_were_taken_over_writes_nothing() {
    held(
        "held-statement",
        Command::any().collection("usageJournal").in_transaction(),
    )
    .await;
}
