//! What is read of a lane that changes hands, and how fresh it is said to be, while a majority is behind.

use std::sync::{Arc, Mutex, PoisonError};

use mongodb::bson::{DateTime, Document, Timestamp, doc};
use testkit::mongodb::Mongo;
use testkit::process;
use testkit::proxy::{Command, Proxy};
use testkit::world::{World, admin, event};
use testkit::{PATIENCE, eventually, shared};

/// A database behind a proxy of its own.
async fn behind_proxy(mongo: &Mongo, name: &str) -> (World, Proxy) {
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(mongo, name).await;
    world.uri = mongo.proxied_uri(&proxy);
    (world, proxy)
}

/// What is collected while others go on.
type Notes<T> = Arc<Mutex<Vec<T>>>;

fn noted<T: Clone>(notes: &Notes<T>) -> Vec<T> {
    notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn note<T>(notes: &Notes<T>, what: T) {
    notes.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

/// Moves a fence on: takes its lane.
fn takes_a_lane(command: &Document) -> bool {
    let inc = command
        .get_document("update")
        .and_then(|update| update.get_document("$inc"));
    inc.is_ok_and(|inc| inc.contains_key("epoch"))
}

/// Of what time a read is at least, and whether it is by majority.
fn since(read: &Document) -> Option<(Timestamp, bool)> {
    let concern = read.get_document("readConcern").ok()?;
    let is_majority = concern.get_str("level").is_ok_and(|level| level == "majority");
    Some((concern.get_timestamp("afterClusterTime").ok()?, is_majority))
}

fn asks_for_open_letters(command: &Document) -> bool {
    let projection = command.get_document("projection");
    projection.is_ok_and(|projection| projection.contains_key("identity"))
}

fn is_causal(command: &Document) -> bool {
    since(command).is_some()
}

/// After a fail-over a new primary may have yet to learn what a majority has: whatever is read of a lane is of no time
/// before its fence was moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lane_is_read_in_the_session_that_took_it() {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, "causal").await;
    let (moves, times, reads) = (Notes::default(), Notes::default(), Notes::default());
    let (all, taken) = (Arc::clone(&moves), Arc::clone(&times));
    let take = Command::named("findAndModify")
        .collection("usageFences")
        .matching(move |command| {
            let takes = takes_a_lane(command);
            if takes {
                note(&all, command.get_document("lsid").cloned().expect("a session"));
            }
            takes
        });
    proxy.when(take).edit_reply(move |reply| {
        note(&taken, reply.get_timestamp("operationTime").expect("a time"));
    });
    let finds = [
        Command::named("find")
            .collection("usageFences")
            .matching(is_causal),
        Command::named("find").collection("usageMeta").matching(is_causal),
        Command::named("find")
            .collection("usageJournal")
            .outside_transactions(),
        Command::named("find")
            .collection("usageDeadLetters")
            .outside_transactions()
            .matching(asks_for_open_letters),
    ];
    for find in finds {
        let all = Arc::clone(&reads);
        proxy.when(find.matching(move |command| {
            note(&all, command.clone());
            true
        }));
    }
    for round in 1..=2 {
        let mut worker = world.ready(&[]).await;
        let mut counted = event("acme");
        counted.insert("eventId", format!("event {round}"));
        world.insert_one(counted).await;
        world.wait_read(&mut worker, round).await;
        worker.stop(PATIENCE).await.expect("drains");
    }
    let (moves, times, reads) = (noted(&moves), noted(&times), noted(&reads));
    assert_eq!((moves.len(), times.len()), (2, 2), "one for each worker");
    // How events are booked, the newest document, the window, and the letters.
    let collections = [
        "usageFences",
        "usageMeta",
        "usageJournal",
        "usageJournal",
        "usageDeadLetters",
    ];
    let asked = reads
        .iter()
        .map(|read| read.get_str("find").expect("a collection"));
    assert_eq!(asked.collect::<Vec<_>>(), [collections, collections].concat());
    for (at, read) in reads.iter().enumerate() {
        let at = at / collections.len();
        assert_eq!(read.get_document("lsid").ok(), Some(&moves[at]), "{read}");
        let (since, is_majority) = since(read).unwrap_or_else(|| panic!("not causal: {read}"));
        assert!(is_majority, "{read}");
        let order = |time: Timestamp| (time.time, time.increment);
        assert!(order(since) >= order(times[at]), "{read} after {}", times[at]);
    }
}

/// A fence was moved, and no majority says so: that is said, waited for, and the move is not made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_majority_that_is_away_is_said_and_waited_for() {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, "no_majority").await;
    let confirm = Command::named("find")
        .collection("usageFences")
        .matching(is_causal);
    let away = proxy.when(confirm).reply_error(50, "MaxTimeMSExpired").arm();
    let mut worker = world.start("run", &[]);
    away.wait_fired(4).await;
    eventually("it is said", || async {
        let (status, body) = admin(&worker, "/readyz").await;
        status == 503 && body.contains("mongodb_unreachable")
    })
    .await;
    assert_eq!(admin(&worker, "/healthz").await.0, 200);
    assert_eq!(world.fence_number("epoch").await, 1, "it was moved once");
    world.insert_one(event("acme")).await;
    away.stop();
    world.wait_read(&mut worker, 1).await;
    worker.wait_ready(PATIENCE).await.expect("ready");
    assert_eq!(world.fence_number("epoch").await, 1);
    let log = process::log_after(worker.process().log(), 0);
    assert!(log.contains("a majority of the replica set"), "{log}");
}

/// What is written and not yet there for a majority has reached the source, and no change stream brings it: an idle
/// stream is no fresher than what a majority has.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_stream_is_no_fresher_than_a_majority() {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, "behind").await;
    let mut worker = world.ready(&[]).await;
    let watermark = async || {
        let fence = world.fence().await.expect("a fence");
        fence.get_datetime("watermark").ok().copied()
    };
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    eventually("it is known how fresh it is", || async {
        watermark().await.is_some()
    })
    .await;
    let behind = |hello: &mut Document| {
        if let Ok(last) = hello.get_document_mut("lastWrite")
            && let Ok(written) = last.get_datetime("lastWriteDate").copied()
        {
            let ms = written.timestamp_millis() - 60_000;
            let time = u32::try_from(ms / 1000).expect("this century");
            let majority = doc! {"ts": Timestamp { time, increment: 1 }, "t": 1_i64};
            last.extend(doc! {"majorityOpTime": majority, "majorityWriteDate": DateTime::from_millis(ms)});
        }
    };
    let hello = proxy.when(Command::named("hello")).edit_reply(behind).arm();
    let commits = async |count: i64| {
        let seq = world.fence_number("seq").await;
        eventually("idle commits", || async {
            world.fence_number("seq").await >= seq + count
        })
        .await;
    };
    // What was known before is on its way still.
    hello.wait_fired(4).await;
    commits(2).await;
    let before = watermark().await;
    commits(3).await;
    assert_eq!(watermark().await, before, "a majority is a minute behind");
    hello.stop();
    eventually("it goes on", || async { watermark().await > before }).await;
}
