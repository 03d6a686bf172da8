//! Dead letters are looked at, judged again when a person says so, and counted exactly once, whichever comes
//! first: the replay, or an event with the same id.

use mongodb::bson::{DateTime, Document, doc};
use testkit::product::Product;

use testkit::eventually;
use testkit::world::{World, event};

/// An event that completed long ago, with an id of its own.
fn old(id: &str) -> Document {
    let mut document = event("acme");
    document.insert("eventId", id);
    document
}

/// The same event, broken.
fn broken(id: &str) -> Document {
    let mut document = old(id);
    document.insert("inputTokens", -1);
    document
}

/// A worker that rejects what is older than a day.
const STRICT: [(&str, &str); 1] = [("MAX_AGE", "1d")];

async fn stop(mut worker: Product) {
    worker.stop(testkit::PATIENCE).await.expect("drains");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_letter_is_listed_shown_marked_and_then_counted_once() {
    let world = World::new("letters_replayed").await;
    let worker = world.ready(&STRICT).await;
    world.insert_one(old("a")).await;
    world.insert_one(old("b")).await;
    world.insert_one(broken("c")).await;
    world.wait_tally([3, 0, 0, 0, 3]).await;

    let (code, told) = world.letters_command(&["list"]).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(told.matches("too_old `completedAt`").count(), 2, "{told}");
    let why = "`inputTokens` is -1: an integer from 0 to 10^15";
    assert!(told.contains(why), "{told}");
    let (code, told) = world
        .letters_command(&["list", "--reason", "out_of_range", "--json"])
        .await;
    let letter: serde_json::Value = told
        .lines()
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("a letter as JSON: {code} {told}"));
    assert_eq!(
        (&letter["field"], &letter["eventId"]),
        (&"inputTokens".into(), &"c".into())
    );
    let id = letter["_id"].as_str().expect("an id");
    let (code, told) = world.letters_command(&["show", id]).await;
    assert!(code == 0 && told.contains("\"inputTokens\": -1"), "{told}");
    assert!(told.contains(&format!("\"message\": \"{why}\"")), "{told}");
    let (code, told) = world.letters_command(&["show", "nothing/here"]).await;
    assert!(
        code == 1 && told.contains("there is no dead letter `nothing/here`"),
        "{told}"
    );
    let (code, told) = world.letters_command(&["replay"]).await;
    assert!(
        code == 64 && told.contains("--all"),
        "nothing is replayed that nobody named: {told}"
    );

    let (code, told) = world.letters_command(&["replay", "--all", "--dry-run"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("2  would be counted"),
        "without the worker's maximum age: {told}"
    );
    assert!(
        told.contains("1  would stay a dead letter: `inputTokens`: out_of_range"),
        "{told}"
    );
    assert_eq!(
        world.letters_where(doc! {"state": "open"}).await,
        3,
        "nothing was marked"
    );

    // The worker still has its maximum age: they stay.
    let (code, told) = world.letters_command(&["replay", "--all"]).await;
    assert!(code == 0 && told.contains("3 marked"), "{told}");
    eventually("they are judged again", || async {
        world
            .letters_where(doc! {"state": "open", "replayedAt": {"$exists": true}})
            .await
            == 3
    })
    .await;
    assert_eq!(world.tally().await, [3, 0, 0, 0, 3]);
    stop(worker).await;

    let worker = world.ready(&[]).await;
    let (code, _) = world.letters_command(&["replay", "--event-id", "a"]).await;
    assert_eq!(code, 0);
    world.wait_tally([3, 1, 0, 0, 2]).await;
    let (_, told) = world.letters_command(&["replay", "--all"]).await;
    assert!(told.contains("2 marked"), "{told}");
    world.wait_tally([3, 2, 0, 0, 1]).await;
    eventually("the broken one waits again", || async {
        world
            .letters_where(doc! {"state": "open", "reason": "out_of_range", "message": why})
            .await
            == 1
    })
    .await;
    let (_, told) = world.letters_command(&["list", "--state", "closed"]).await;
    assert_eq!(told.matches("closed by replay: counted").count(), 2, "{told}");
    assert!(world.requests().await.iter().all(|requests| *requests == 2));
    // What was counted by a replay is known like any other.
    world.insert_one(old("a")).await;
    world.wait_tally([4, 2, 1, 0, 1]).await;
    stop(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_counted_event_closes_the_letters_with_its_id_and_a_replay_after_it_ends_as_a_duplicate() {
    let world = World::new("letters_closed").await;
    let worker = world.ready(&STRICT).await;
    let recent = |id: &str| {
        let mut document = old(id);
        document.insert(
            "completedAt",
            DateTime::from_system_time(std::time::SystemTime::from(now())),
        );
        document
    };
    for document in [broken("a"), broken("a"), old("b"), old("c")] {
        world.insert_one(document).await;
    }
    world.wait_tally([4, 0, 0, 0, 4]).await;
    // The emitter sends it again, whole.
    world.insert_one(recent("a")).await;
    world.wait_tally([5, 1, 0, 0, 4]).await;
    assert_eq!(
        world
            .letters_where(doc! {"state": "closed", "closedBy": "event"})
            .await,
        2
    );
    // A letter that comes after its event was counted.
    world.insert_one(old("a")).await;
    world.wait_tally([6, 1, 1, 0, 4]).await;
    world.insert_one(broken("a")).await;
    world.wait_tally([7, 1, 1, 0, 5]).await;
    stop(worker).await;

    // Both sides at once: marked, and sent again.
    let worker = world.ready(&[]).await;
    let (_, told) = world.letters_command(&["replay", "--event-id", "b"]).await;
    assert!(told.contains("1 marked"), "{told}");
    world.insert_one(recent("b")).await;
    eventually("counted by one of them", || async {
        let [read, counted, duplicate, _, letters] = world.tally().await;
        read == 8 && counted == 2 && duplicate + letters == 6
    })
    .await;
    assert_eq!(
        world
            .letters_where(doc! {"eventId": "b", "state": "closed"})
            .await,
        1
    );
    assert!(world.requests().await.iter().all(|requests| *requests == 2));
    stop(worker).await;
}

/// Broken emitters send one id for everything: one event must not have to close all letters in its transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_closes_any_number_of_letters() {
    const LETTERS: u64 = 2_500;
    let world = World::new("letters_many").await;
    let worker = world.ready(&[]).await;
    let documents: Vec<Document> = (0..LETTERS).map(|_| broken("undefined")).collect();
    let events = world.collection("requestEvents");
    events.insert_many(documents).await.expect("inserts");
    let letters = i64::try_from(LETTERS).expect("few");
    world.wait_tally([letters, 0, 0, 0, letters]).await;
    world.insert_one(old("undefined")).await;
    world.wait_tally([letters + 1, 1, 0, 0, letters]).await;
    eventually("all are closed", || async {
        world
            .letters_where(doc! {"state": "closed", "closedBy": "event"})
            .await
            == LETTERS
    })
    .await;
    stop(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_counted_once_through_kill_9() {
    kill_while_judging("letters_killed", 1, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: each of the kills waits for a lease to run out"]
async fn letters_are_counted_once_through_kill_9_again_and_again() {
    kill_while_judging("letters_killed_often", 6, 6_000).await;
}

/// A worker is killed this often while it judges letters: each is counted once.
async fn kill_while_judging(name: &str, kills: i64, letters: i64) {
    let world = World::new(name).await;
    let worker = world.ready(&STRICT).await;
    let documents: Vec<Document> = (0..letters).map(|number| old(&format!("e-{number}"))).collect();
    let events = world.collection("requestEvents");
    events.insert_many(documents).await.expect("inserts");
    world.wait_tally([letters, 0, 0, 0, letters]).await;
    stop(worker).await;
    let (_, told) = world.letters_command(&["replay", "--all"]).await;
    assert!(told.contains(&format!("{letters} marked")), "{told}");
    let quick = [("BATCH_MAX_EVENTS", "100")];
    for kill in 1..=kills {
        let mut worker = world.start("ingest", &quick);
        eventually("some are counted", || async {
            world.fence_number("counted").await >= kill * 300
        })
        .await;
        worker.process().kill9().expect("killed");
    }
    let worker = world.ready(&quick).await;
    world.wait_tally([letters, letters, 0, 0, 0]).await;
    assert_eq!(
        world.letters_where(doc! {"state": "closed"}).await,
        letters.unsigned_abs()
    );
    assert!(
        world
            .requests()
            .await
            .iter()
            .all(|requests| *requests == i128::from(letters))
    );
    stop(worker).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

/// Payloads hold whatever an emitter sent: they go with their letter, or by age.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn payloads_are_dropped_when_letters_close_and_by_age() {
    let world = World::new("letters_dropped").await;
    let worker = world.ready(&[]).await;
    let long = "x".repeat(200_000);
    for id in ["a", "b", &long] {
        world.insert_one(broken(id)).await;
    }
    world.wait_tally([3, 0, 0, 0, 3]).await;
    let kept = doc! {"payload": {"$exists": true}};
    assert_eq!(world.letters_where(kept.clone()).await, 3);
    assert_eq!(
        world.letters_where(doc! {"eventId": "x".repeat(128)}).await,
        1,
        "of a long id the beginning is kept"
    );
    world.insert_one(old("a")).await;
    world.wait_tally([4, 1, 0, 0, 3]).await;
    let closed = doc! {"state": "closed", "payload": {"$exists": false}, "format": "dropped"};
    assert_eq!(world.letters_where(closed).await, 1);
    stop(worker).await;

    let worker = world.ready(&[("DEAD_LETTER_KEEP", "1s")]).await;
    eventually("no payload is kept", || async {
        world.letters_where(kept.clone()).await == 0
    })
    .await;
    assert_eq!(world.letters_where(doc! {"state": "lost"}).await, 2);
    let (code, told) = world.letters_command(&["replay", "--all"]).await;
    assert!(
        code == 0 && told.contains("0 marked") && told.contains("2 cannot be judged"),
        "{told}"
    );
    let (_, told) = world.letters_command(&["replay", "--all", "--dry-run"]).await;
    assert!(
        told.contains("2  cannot be judged: its payload was dropped"),
        "{told}"
    );
    // The letter is still known by its id, and closed by its event.
    world.insert_one(old("b")).await;
    world.wait_tally([5, 2, 0, 0, 3]).await;
    assert_eq!(world.letters_where(doc! {"state": "lost"}).await, 1);
    stop(worker).await;
}
