//! A database that says nothing: whatever is asked of it is given up in time, and nothing is concluded from that.

use mongodb::bson::Document;
use testkit::mongodb::{Mongo, Options};
use testkit::proxy::Command;
use testkit::world::{World, admin, event};
use testkit::{PATIENCE, eventually};

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

/// One connection says nothing any more: what was asked on it is asked again on another, whatever it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: an answer is waited for ten seconds, that of a change stream for thirty"]
async fn what_a_connection_never_answers_is_asked_again() {
    // Of its own: what is held here is in the way of others.
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let of =
        |name: &str, collection: &str| Command::named(name).collection(collection).outside_transactions();
    let has = |field: &'static str, name: &'static str| {
        move |command: &Document| {
            let part = command.get_document(field);
            part.is_ok_and(|part| part.contains_key(name))
        }
    };
    let at_start = [
        ("lead", of("findAndModify", "usageLeases")),
        ("take", of("findAndModify", "usageFences")),
        (
            "confirm",
            of("find", "usageFences").matching(has("readConcern", "afterClusterTime")),
        ),
        ("window", of("find", "usageJournal")),
        (
            "letters",
            of("find", "usageDeadLetters").matching(has("projection", "identity")),
        ),
        ("topology", of("findAndModify", "usageMeta")),
        (
            "history",
            of("find", "requestEvents").matching(has("readConcern", "afterClusterTime")),
        ),
    ];
    let later = [
        (
            "marked",
            of("find", "usageDeadLetters").matching(|find: &Document| {
                let filter = find.get_document("filter");
                filter.is_ok_and(|filter| filter.get_str("state").is_ok_and(|state| state == "replay"))
            }),
        ),
        ("stream", of("getMore", "requestEvents")),
    ];
    let begin = at_start
        .into_iter()
        .map(|(name, command)| silent(&mongo, name, command, true));
    let go_on = later
        .into_iter()
        .map(|(name, command)| silent(&mongo, name, command, false));
    let all = futures_util::future::join_all(begin.chain(go_on));
    all.await;
}

/// The first of these commands is never answered, from the start of a worker on or once it reads.
async fn silent(mongo: &Mongo, name: &str, command: Command, at_start: bool) {
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(mongo, &format!("silent_{name}")).await;
    world.uri = mongo.proxied_uri(&proxy);
    let hold = || {
        let count = proxy.when(command.clone()).arm();
        (proxy.when(command.clone()).once().hold().arm(), count)
    };
    let (mut worker, (held, asked)) = match at_start {
        true => {
            let rules = hold();
            (world.start("run", &[]), rules)
        }
        false => (world.ready(&[]).await, hold()),
    };
    held.wait_fired(1).await;
    asked.wait_fired(2).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    worker.wait_ready(PATIENCE).await.expect("ready");
    assert_eq!(world.fence_number("counted").await, 1, "{name}");
    assert_eq!(
        world.fence_number("epoch").await,
        1,
        "{name}: the lane was taken once"
    );
    worker.stop(PATIENCE).await.expect("drains");
}
