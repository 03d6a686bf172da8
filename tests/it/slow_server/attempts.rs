//! Attempts to commit that fail: what is tried next, and that it is counted once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use testkit::product::Product;
use testkit::proxy::{Command, When};
use testkit::world::event;
use testkit::{eventually, shared};

use super::{LEASE, Stand, metric};

/// Events of a history: all in one batch, since they share their rows.
const EVENTS: i64 = 400;

/// An attempt to commit records.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Attempt {
    /// The random name of what it writes.
    content: i64,
    records: i64,
}

impl Attempt {
    /// The move of the only fence says it; `None` where only the position moves.
    fn of(command: &Document) -> Option<Self> {
        let fence = command.get_array("updates").ok()?.first()?.as_document()?;
        let update = fence.get_document("u").ok()?;
        let records = update.get_document("$inc").ok()?.get_i64("read").ok()?;
        let content = update.get_document("$set").ok()?.get_i64("content").ok()?;
        (records > 0).then_some(Self { content, records })
    }
}

/// A history of [`EVENTS`], and the attempts to commit them.
struct Watched {
    stand: Stand,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Watched {
    async fn new(name: &str) -> Self {
        let stand = Stand::on(shared::mongo().await, name).await;
        let events: Vec<Document> = (0..EVENTS).map(|_| event("acme")).collect();
        let events = stand.world.collection("requestEvents").insert_many(events).await;
        events.expect("inserts");
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&attempts);
        let note = move |command: &Document| {
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(Attempt::of(command));
            true
        };
        let moves = Command::named("update")
            .collection("usageFences")
            .in_transaction();
        stand.proxy.when(moves.matching(note));
        Self { stand, attempts }
    }

    fn attempts(&self) -> Vec<Attempt> {
        self.attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The statements that write rows, in a transaction.
    fn rows(&self) -> When {
        let rows = Command::any().collection("usageLedger").in_transaction();
        self.stand.proxy.when(rows.statements(1..))
    }

    fn start(&self, more: &[(&str, &str)]) -> Product {
        // However slow this machine is: no batch is cut by its age before all events are in it.
        let patient = ("BATCH_MAX_AGE", "3s");
        self.stand
            .world
            .start("ingest", &[&[LEASE, patient], more].concat())
    }

    /// All is counted, once, by the process that began.
    async fn assert_counted(&self, worker: &mut Product) {
        let events = u64::try_from(EVENTS).expect("fits");
        self.stand.world.wait_read(worker, events).await;
        let sums = self.stand.world.sums(doc! {}).await;
        assert_eq!(sums.len(), 18);
        let requests = sums.into_iter().map(|(what, sums)| (what, sums["requests"]));
        let other: Vec<_> = requests
            .filter(|(_, requests)| *requests != i128::from(EVENTS))
            .collect();
        let tally = self.stand.world.tally().await;
        assert_eq!(other, [], "{tally:?} after {:?}", self.attempts());
        assert_eq!(tally, [EVENTS, EVENTS, 0, 0, 0]);
        assert_eq!(self.stand.world.fence_number("epoch").await, 1);
        worker.process().check().expect("runs still");
    }
}

/// How many of these outcomes a worker has had.
async fn outcomes(worker: &Product, outcome: &str) -> i64 {
    metric(
        worker,
        &format!("usage_ledger_commits_total{{outcome=\"{outcome}\"}} "),
    )
    .await
}

/// Nothing answers for ten targets: what took that long is tried with half as much. What arrives too late of the attempt
/// that was given up changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_attempt_that_outlasts_its_target_by_far_is_cut_in_two() {
    let watched = Watched::new("given_up").await;
    let held = watched.rows().once().hold().arm();
    let mut worker = watched.start(&[("COMMIT_TARGET", "100ms")]);
    held.wait_fired(1).await;
    watched.assert_counted(&mut worker).await;
    held.let_go();
    let attempts = watched.attempts();
    assert_eq!(attempts[0].records, EVENTS, "{attempts:?}");
    assert_eq!(attempts[1].records, EVENTS / 2, "{attempts:?}");
    assert_eq!(outcomes(&worker, "too_much").await, 1);
    watched.assert_counted(&mut worker).await;
}

/// The transaction is gone, again and again: nothing is wrong with what was in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_transaction_that_is_gone_is_tried_again_whole() {
    let watched = Watched::new("gone").await;
    let gone = watched
        .rows()
        .first(12)
        .reply_error(251, "NoSuchTransaction")
        .labels(["TransientTransactionError"])
        .aborting_transaction()
        .arm();
    let mut worker = watched.start(&[]);
    watched.assert_counted(&mut worker).await;
    assert_eq!(gone.fired(), 12);
    let attempts = watched.attempts();
    assert_eq!(attempts.len(), 13, "{attempts:?}");
    assert!(
        attempts.iter().all(|attempt| attempt.records == EVENTS),
        "{attempts:?}"
    );
}

/// Transactions do not live long enough for the whole: half of it may get through.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: three attempts of four seconds each"]
async fn what_is_always_gone_by_age_is_cut_in_two() {
    let watched = Watched::new("aged").await;
    let is_whole = |command: &Document| Attempt::of(command).is_some_and(|attempt| attempt.records == EVENTS);
    let moves = Command::named("update")
        .collection("usageFences")
        .in_transaction()
        .matching(is_whole);
    watched
        .stand
        .proxy
        .when(moves)
        .delay(Duration::from_secs(4))
        .reply_error(251, "NoSuchTransaction")
        .labels(["TransientTransactionError"])
        .aborting_transaction()
        .arm();
    let mut worker = watched.start(&[("COMMIT_TARGET", "100ms")]);
    watched.assert_counted(&mut worker).await;
    let attempts = watched.attempts();
    let whole = attempts.iter().take_while(|attempt| attempt.records == EVENTS);
    assert_eq!(whole.count(), 3, "{attempts:?}");
}

/// Somebody is always in the way of the whole: half of it may get through.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_conflicts_again_and_again_is_cut_in_two() {
    let watched = Watched::new("conflicts").await;
    let conflict = watched
        .rows()
        .reply_error(112, "WriteConflict")
        .labels(["TransientTransactionError"])
        .aborting_transaction()
        .arm();
    let mut worker = watched.start(&[]);
    let is_half = |attempt: &Attempt| attempt.records == EVENTS / 2;
    eventually("half is tried", || async {
        watched.attempts().iter().any(is_half)
    })
    .await;
    conflict.stop();
    watched.assert_counted(&mut worker).await;
    let attempts = watched.attempts();
    let whole = attempts.iter().take_while(|attempt| attempt.records == EVENTS);
    let whole = whole.count();
    assert!((3..=8).contains(&whole), "{attempts:?}");
    assert!(is_half(&attempts[whole]), "{attempts:?}");
    assert!(
        attempts[..whole]
            .iter()
            .all(|attempt| attempt.content == attempts[0].content),
        "{attempts:?}"
    );
}

/// Nobody learns that the commit was done, and the fence cannot be asked: only the same may be tried, and it finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d26_a_commit_whose_answer_is_lost_twice_over_is_counted_once() {
    let watched = Watched::new("lost_answer").await;
    let proxy = &watched.stand.proxy;
    let commits = Command::named("commitTransaction").transaction_statements(5..);
    // The driver sends it again by itself.
    let lost = proxy.when(commits).first(2).lose_reply().arm();
    let asks_content = |command: &Document| {
        let fields = command.get_document("projection");
        fields.is_ok_and(|fields| fields.contains_key("content"))
    };
    let asks = Command::named("find")
        .collection("usageFences")
        .matching(asks_content);
    let refused = proxy.when(asks).first(2).reply_error(99_999, "NobodyKnows").arm();
    let mut worker = watched.start(&[]);
    watched.assert_counted(&mut worker).await;
    refused.wait_fired(2).await;
    assert_eq!(lost.fired(), 2);
    eventually("the worker learns that it was done", || async {
        outcomes(&worker, "applied").await > 0 && metric(&worker, "usage_ledger_pending_events ").await == 0
    })
    .await;
    watched.assert_counted(&mut worker).await;
    let attempts = watched.attempts();
    assert!(attempts.len() >= 3, "{attempts:?}");
    assert!(
        attempts.iter().all(|attempt| *attempt == attempts[0]),
        "{attempts:?}"
    );
    assert!(outcomes(&worker, "away").await > 0);
}
