//! A database that says nothing: whatever is asked of it is given up in time, and nothing is concluded from that.

use testkit::eventually;
use testkit::mongodb::{Mongo, Options};
use testkit::proxy::Command;
use testkit::world::{World, admin, event};

/// A commit is applied, its worker is told that nobody knows, and the question what became of it is never answered:
/// it is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: a question is waited for ten seconds"]
async fn a_question_that_is_never_answered_is_asked_again() {
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "unanswered").await;
    world.uri = mongo.proxied_uri(&proxy);
    let mut worker = world.ready(&[]).await;
    let asked = proxy
        .when(Command::named("find").collection("usageFences"))
        .once()
        .hold()
        .arm();
    proxy
        .when(Command::named("commitTransaction").transaction_statements(4..))
        .once()
        .reply_error(50, "MaxTimeMSExpired")
        .labels(["UnknownTransactionCommitResult"])
        .after_server();
    world.insert_one(event("acme")).await;
    asked.wait_fired(1).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 2).await;
    assert_eq!(world.fence_number("counted").await, 2);
    assert_eq!(world.fence_number("epoch").await, 1, "the lane was never lost");
}

/// The database falls silent when a transaction has just begun: that says nothing of how much it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: an attempt is waited for ten seconds"]
async fn silence_is_no_sign_of_too_much() {
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "silent").await;
    world.uri = mongo.proxied_uri(&proxy);
    let mut worker = world.ready(&[]).await;
    let began = Command::named("update")
        .collection("usageFences")
        .in_transaction();
    let began = proxy.when(began).once().hold().arm();
    world.insert_one(event("acme")).await;
    began.wait_fired(1).await;
    proxy.blackhole().await;
    let outcomes = async |outcome: &str| {
        let (_, metrics) = admin(&worker, "/metrics").await;
        metrics.contains(&format!("usage_ledger_commits_total{{outcome=\"{outcome}\"}} 1"))
    };
    eventually("the attempt is given up", || async {
        outcomes("away").await || outcomes("too_much").await
    })
    .await;
    assert!(!outcomes("too_much").await, "nobody said so");
    proxy.pass().await;
    world.wait_read(&mut worker, 1).await;
    assert_eq!(world.fence_number("counted").await, 1);
}
