//! Errors of MongoDB while the program runs: none ends it, readiness says why, and it goes on by itself.

use mongodb::bson::Document;
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::proxy::{Command, Proxy};
use testkit::world::{World, admin, event, items, truth};
use testkit::{PATIENCE, eventually, process, shared};

const UNKNOWN: (i32, &str) = (99_999, "NobodyKnows");

/// A database behind a proxy of its own.
async fn behind_proxy(mongo: &Mongo, name: &str) -> (World, Proxy) {
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(mongo, name).await;
    world.uri = mongo.proxied_uri(&proxy);
    (world, proxy)
}

async fn says(worker: &Product, reason: &str) {
    eventually(&format!("not ready: {reason}"), || async {
        let (status, body) = admin(worker, "/readyz").await;
        status == 503 && body.contains(reason)
    })
    .await;
}

async fn summary(worker: &Product) -> (u16, String) {
    let url = format!("{}/v1/usage/summary?organizationId=acme", worker.api());
    worker.get(&url).await.expect("answers")
}

fn log(worker: &mut Product) -> String {
    process::log_after(worker.process().log(), 0)
}

/// A commit that writes.
fn commits() -> Command {
    Command::named("commitTransaction").transaction_statements(1..)
}

/// Lesson D24: an unknown error ended the process, and the reader beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d24_an_unknown_error_of_a_commit_is_waited_out() {
    // Of its own: transactions are left open here, and others would wait for news.
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let (world, proxy) = behind_proxy(&mongo, "unknown_commit").await;
    let items = items(5, 600);
    let truth = truth(&items);
    let mut worker = world.ready(&[("BATCH_MAX_EVENTS", "50")]).await;
    for (is_applied, items) in [false, true].into_iter().zip(items.chunks(300)) {
        let when = proxy.when(commits()).reply_error(UNKNOWN.0, UNKNOWN.1);
        let fault = match is_applied {
            true => when.after_server().arm(),
            false => when.aborting_transaction().arm(),
        };
        world.insert(items).await;
        fault.wait_fired(3).await;
        if !is_applied {
            says(&worker, "mongodb_unreachable").await;
            assert_eq!(world.fence_number("counted").await, 0);
        }
        assert_eq!(admin(&worker, "/healthz").await.0, 200);
        eventually("the reader goes on", || async { summary(&worker).await.0 == 200 }).await;
        fault.stop();
    }
    world.wait_read(&mut worker, truth.read).await;
    worker.wait_ready(PATIENCE).await.expect("ready again");
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(&world).await;
    let log = log(&mut worker);
    assert!(
        log.contains("99999 NobodyKnows") && !log.contains("RawDocumentBuf"),
        "{log}"
    );
}

/// Whether the reader asks this: in a session, or in a transaction where the server keeps no snapshots.
fn is_of_snapshot(command: &Document) -> bool {
    let concern = command.get_document("readConcern");
    command.contains_key("autocommit")
        || concern.is_ok_and(|concern| concern.get_str("level").is_ok_and(|level| level == "snapshot"))
}

/// The reader's own reads fail with what nobody knows: an answer without internals, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d24_an_unknown_error_of_a_read_is_an_answer() {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, "unknown_read").await;
    let mut worker = world.ready(&[]).await;
    let reads = Command::named("find")
        .collection("usageRollups")
        .matching(is_of_snapshot);
    let fault = proxy.when(reads).reply_error(UNKNOWN.0, UNKNOWN.1).arm();
    world.insert_one(event("acme")).await;
    let (status, body) = summary(&worker).await;
    assert_eq!(status, 503, "{body}");
    assert!(!body.contains("NobodyKnows") && !body.contains("99999"), "{body}");
    fault.wait_fired(1).await;
    world.wait_read(&mut worker, 1).await;
    fault.stop();
    let meta = Command::named("find").collection("usageMeta");
    for (code, name, reason) in [
        (UNKNOWN.0, UNKNOWN.1, "mongodb_unreachable"),
        (13, "Unauthorized", "not_authorized"),
    ] {
        let fault = proxy.when(meta.clone()).reply_error(code, name).arm();
        says(&worker, reason).await;
        assert_eq!(summary(&worker).await.0, 503);
        fault.stop();
        worker.wait_ready(PATIENCE).await.expect("ready again");
        eventually("it answers again", || async { summary(&worker).await.0 == 200 }).await;
    }
    let log = log(&mut worker);
    assert!(
        log.contains("99999 NobodyKnows") && !log.contains("RawDocumentBuf"),
        "{log}"
    );
}

/// The stream fails with what nobody knows: it is opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d24_an_unknown_error_of_the_source_is_waited_out() {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, "unknown_source").await;
    let mut worker = world.ready(&[]).await;
    let events = |name: &str| Command::named(name).collection("requestEvents");
    let faults =
        ["getMore", "aggregate"].map(|name| proxy.when(events(name)).reply_error(UNKNOWN.0, UNKNOWN.1).arm());
    says(&worker, "source_unreachable").await;
    world.insert_one(event("acme")).await;
    eventually("the reader goes on", || async { summary(&worker).await.0 == 200 }).await;
    faults.iter().for_each(testkit::proxy::Rule::stop);
    world.wait_read(&mut worker, 1).await;
    worker.wait_ready(PATIENCE).await.expect("ready again");
    assert_eq!(world.fence_number("counted").await, 1);
}

/// The service that knows the passwords is away: whatever it makes the server say is waited out.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_in_that_fails_after_the_start_is_waited_out() {
    let options = Options {
        login: Some(("ledger".into(), "right".into())),
        ..Options::default()
    };
    let mongo = Mongo::start(options).await.expect("MongoDB starts");
    let (world, proxy) = behind_proxy(&mongo, "log_in").await;
    let mut worker = world.ready(&[]).await;
    for (round, (code, name)) in [(211, "KeyNotFound"), UNKNOWN].into_iter().enumerate() {
        let faults = ["saslStart", "saslContinue"]
            .map(|command| proxy.when(Command::named(command)).reply_error(code, name).arm());
        proxy.cut().await;
        world.insert_one(event("acme")).await;
        says(&worker, "mongodb_unreachable").await;
        assert_eq!(admin(&worker, "/healthz").await.0, 200);
        faults.iter().for_each(testkit::proxy::Rule::stop);
        let read = u64::try_from(round).expect("small") + 1;
        world.wait_read(&mut worker, read).await;
        worker.wait_ready(PATIENCE).await.expect("ready again");
    }
    assert_eq!(world.fence_number("counted").await, 2);
    assert!(!log(&mut worker).contains("RawDocumentBuf"));
}

/// What only a person can mend is said, and kept: what was read is counted when it is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: it is tried again after 30 s"]
async fn what_a_person_must_mend_is_said_and_kept() {
    let mongo = shared::mongo().await;
    tokio::join!(
        refused_right(&mongo),
        refused_write(&mongo),
        refused_source(&mongo)
    );
}

async fn refused_right(mongo: &Mongo) {
    let (world, proxy) = behind_proxy(mongo, "refused_right").await;
    let mut worker = world.ready(&[]).await;
    let said =
        "not authorized on usage to execute command { update: \"usageLedger\", updates: [ { q: {} } ] }";
    let fault = proxy
        .when(Command::any().collection("usageLedger").in_transaction())
        .reply_error(13, "Unauthorized")
        .message(said)
        .aborting_transaction()
        .arm();
    mended(&world, &mut worker, "not_authorized", || fault.stop()).await;
    let log = log(&mut worker);
    assert!(
        log.contains("13 Unauthorized: may not update on usage.usageLedger"),
        "{log}"
    );
    assert!(!log.contains("credentials"), "{log}");
    assert_eq!(
        log.matches("somebody has to act").count(),
        1,
        "once a minute: {log}"
    );
}

async fn refused_write(mongo: &Mongo) {
    let (world, proxy) = behind_proxy(mongo, "refused_write").await;
    let mut worker = world.ready(&[]).await;
    let fault = proxy
        .when(Command::any().collection("usageLedger").in_transaction())
        .reply_write_error(121, "Document failed validation")
        .aborting_transaction()
        .arm();
    mended(&world, &mut worker, "write_refused", || fault.stop()).await;
    let log = log(&mut worker);
    assert!(
        log.contains("121 DocumentValidationFailure: Document failed validation"),
        "{log}"
    );
}

async fn refused_source(mongo: &Mongo) {
    let (world, proxy) = behind_proxy(mongo, "refused_source").await;
    let mut worker = world.ready(&[]).await;
    let faults = ["getMore", "aggregate"].map(|name| {
        proxy
            .when(Command::named(name).collection("requestEvents"))
            .reply_error(13, "Unauthorized")
            .arm()
    });
    faults[0].wait_fired(1).await;
    mended(&world, &mut worker, "not_authorized", || {
        faults.iter().for_each(testkit::proxy::Rule::stop);
    })
    .await;
}

/// Something is refused, said, mended, and nothing is lost.
async fn mended(world: &World, worker: &mut Product, reason: &str, mend: impl FnOnce()) {
    let items = items(6, 200);
    let truth = truth(&items);
    world.insert(&items).await;
    says(worker, reason).await;
    assert_eq!(admin(worker, "/healthz").await.0, 200);
    assert_eq!(summary(worker).await.0, 200, "the reader goes on");
    assert_eq!(world.fence_number("counted").await, 0);
    mend();
    world.wait_read(worker, truth.read).await;
    worker.wait_ready(PATIENCE).await.expect("ready again");
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(world).await;
}
