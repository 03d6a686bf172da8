use std::task::{Context, Waker};

use chrono::TimeDelta;
use rollup::counters::{Counter, Counters};
use rollup::event::{Dimensions, DocumentId, Event, Identity, Kind};
use rollup::fold::{Delta, Fold, Grouping};
use rollup::journal::Packed;
use rollup::period::{Calendar, Granularity};

use super::*;
use crate::dedupe::{Generation, Remember, Scope};
use crate::identity::{CountedId, IdentityHash, Quantities};
use crate::lane::{ContentId, FenceMove, JournalHead, JournalId, Position};
use crate::ledger::{Granted, JournalCommit, LaneCommit, Tally};

fn lane(name: &str) -> LaneId {
    LaneId::from_stored(name)
}

fn ledger() -> FakeLedger {
    FakeLedger::new(Arc::new(|| DateTime::<Utc>::UNIX_EPOCH), "us")
}

async fn granted(ledger: &FakeLedger, name: &str) -> Granted {
    match ledger.acquire(&lane(name)).await {
        Ok(Acquired::Granted(granted)) => granted,
        other => panic!("expected the lane, got {other:?}"),
    }
}

/// Counts one id in each of these lanes, each at its (epoch, seq).
fn commit(lanes: &[(&str, i64, i64)], tokens: i64) -> Commit {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    counters[Counter::InputTokens] = tokens;
    let names = ["o", "a", "p", "m", "u", "t", "k", "s"].map(std::borrow::Cow::Borrowed);
    let event = Event {
        identity: Identity::Document(DocumentId::None),
        completed_at_ms: 0,
        dimensions: Dimensions::of(names, Kind::Llm),
        counters,
        is_cost_rounded: false,
    };
    let mut fold = Fold::new(Grouping::new(Calendar::UTC, &[Granularity::Daily]).expect("with daily"));
    let mut delta = Delta::default();
    for _ in lanes {
        fold.add(&event).expect("inside the calendar");
    }
    fold.close_into(&mut delta);
    let written = |seq: i64| JournalId { generation: 0, seq };
    let none = || Remember {
        ids: Generation::of(written(0), std::iter::empty()),
        forget_before_ms: None,
    };
    let lane_commit = |(name, epoch, seq): &(&str, i64, i64)| LaneCommit {
        fence: FenceMove {
            lane: lane(name),
            epoch: *epoch,
            seq: *seq,
        },
        position: Some(Position::offset(seq + 1)),
        last: None,
        watermark_ms: Some(*seq),
        tally: Tally {
            counted: 1,
            ..Tally::default()
        },
        events: Remember {
            ids: Generation::of(
                written(seq + 1),
                [(
                    CountedId {
                        id: IdentityHash::of_event("acme", "chat", "", &format!("{name}{seq}")),
                        quantities: Quantities::UNKNOWN,
                    },
                    *seq,
                )]
                .into_iter(),
            ),
            ..none()
        },
        journal: Some(JournalCommit {
            id: written(seq + 1),
            previous: (*seq > 0).then(|| JournalHead {
                id: written(*seq),
                content: ContentId(0),
            }),
            entries: Packed::default(),
            tally: Tally {
                counted: seq + 1,
                ..Tally::default()
            },
            window_from: written(0),
        }),
        merge: None,
        scanned: none(),
        deleted: none(),
        unique: Vec::new(),
        dropped: Vec::new(),
        letters: Vec::new(),
        replayed: Vec::new(),
        closes: Vec::new(),
    };
    Commit {
        lanes: lanes.iter().map(lane_commit).collect(),
        delta,
        scope: Scope::Lane,
        // What is built alike is the same content.
        content: ContentId(0),
        at: DateTime::UNIX_EPOCH,
    }
}

fn requests(ledger: &FakeLedger) -> i128 {
    ledger.read(|stored| {
        stored
            .rows
            .ledger
            .values()
            .map(|row| row.booked.sums[Counter::Requests])
            .sum()
    })
}

#[tokio::test]
async fn a_commit_is_applied_as_a_whole_or_not_at_all() {
    let ledger = ledger();
    for name in ["a", "b"] {
        granted(&ledger, name).await;
    }
    let mut attempt = Attempt::Fresh;
    ledger.steal(&lane("b"));
    let outcome = ledger
        .commit(
            &commit(&[("a", 1, 0), ("b", 1, 0)], 1),
            Duration::MAX,
            &mut attempt,
        )
        .await;
    assert!(matches!(outcome, Err(CommitError::Lost(lost)) if lost == [lane("b")]));
    assert_eq!(requests(&ledger), 0);
    ledger
        .commit(
            &commit(&[("a", 1, 0), ("b", 2, 0)], 1),
            Duration::MAX,
            &mut attempt,
        )
        .await
        .expect("applied");
    let other = Commit {
        content: ContentId(1),
        ..commit(&[("a", 1, 0)], 1)
    };
    let again = ledger.commit(&other, Duration::MAX, &mut attempt).await;
    assert!(
        matches!(again, Err(CommitError::Lost(lost)) if lost == [lane("a")]),
        "what was applied is another content: another hand wrote here"
    );
    assert_eq!(requests(&ledger), 2);
    let Granted { fence, windows, .. } = granted(&ledger, "a").await;
    assert_eq!(
        (fence.epoch, fence.seq, fence.position),
        (2, 1, Some(Position::offset(1)))
    );
    assert_eq!(
        windows.events[0].ids,
        [CountedId {
            id: IdentityHash::of_event("acme", "chat", "", "a0"),
            quantities: Quantities::UNKNOWN,
        }]
    );
}

#[tokio::test]
async fn a_sum_beyond_64_bits_writes_nothing() {
    let ledger = ledger();
    granted(&ledger, "a").await;
    let mut attempt = Attempt::Fresh;
    ledger
        .commit(&commit(&[("a", 1, 0)], i64::MAX), Duration::MAX, &mut attempt)
        .await
        .expect("fits exactly");
    let beyond = ledger
        .commit(&commit(&[("a", 1, 1)], 1), Duration::MAX, &mut attempt)
        .await;
    assert!(matches!(beyond, Err(CommitError::Overflow)));
    assert_eq!((requests(&ledger), attempt), (1, Attempt::Fresh));
    assert_eq!(ledger.read(|stored| stored.fences[&lane("a")].seq), 1);
}

#[tokio::test]
async fn whatever_became_of_a_commit_the_next_attempt_at_it_settles_it() {
    for fate in [Fate::Applied, Fate::NotApplied, Fate::Late] {
        let ledger = ledger();
        granted(&ledger, "a").await;
        ledger.set_plan(Plan::faults([Fault::Unknown(fate, Told::Away), Fault::Away]));
        let commit = commit(&[("a", 1, 0)], 1);
        let mut attempt = Attempt::Fresh;
        for _ in 0..2 {
            assert!(matches!(
                ledger.commit(&commit, Duration::MAX, &mut attempt).await,
                Err(CommitError::Away(_))
            ));
            assert_eq!(attempt, Attempt::InDoubt, "{fate:?}");
        }
        ledger
            .commit(&commit, Duration::MAX, &mut attempt)
            .await
            .expect("applied");
        assert_eq!((requests(&ledger), attempt), (1, Attempt::Fresh), "{fate:?}");
    }
}

#[tokio::test]
async fn a_commit_that_arrives_late_writes_nothing_under_a_newer_epoch() {
    let ledger = ledger();
    granted(&ledger, "a").await;
    ledger.set_plan(Plan::faults([Fault::Unknown(Fate::Late, Told::Conflict)]));
    let late = commit(&[("a", 1, 0)], 1);
    let mut attempt = Attempt::Fresh;
    assert!(matches!(
        ledger.commit(&late, Duration::MAX, &mut attempt).await,
        Err(CommitError::Conflict(_))
    ));
    granted(&ledger.of("them"), "a").await;
    let outcome = ledger.commit(&late, Duration::MAX, &mut attempt).await;
    assert!(matches!(outcome, Err(CommitError::Lost(lost)) if lost == [lane("a")]));
    assert_eq!(requests(&ledger), 0);
}

/// A ledger of lanes under leases of ten seconds, and the hand on its clock.
fn led() -> (FakeLedger, impl Fn(i64)) {
    let now = Arc::new(Mutex::new(DateTime::<Utc>::UNIX_EPOCH));
    let clock = Arc::clone(&now);
    let ours = FakeLedger::led(Arc::new(move || *lock(&clock)), "us", Duration::from_secs(10));
    (ours, move |seconds| *lock(&now) += TimeDelta::seconds(seconds))
}

#[tokio::test]
async fn a_lease_runs_by_the_clock_of_the_store() {
    let (ours, pass) = led();
    let (theirs, a) = (ours.of("them"), lane("a"));
    assert!(matches!(ours.acquire(&a).await, Ok(Acquired::Granted(_))));
    pass(9);
    ours.renew();
    pass(9);
    let held = theirs.acquire(&a).await;
    assert!(
        matches!(&held, Ok(Acquired::LeasedTo { owner, ask_in }) if owner == "us" && *ask_in == Duration::from_secs(1)),
        "{held:?}"
    );
    pass(1);
    assert!(matches!(theirs.acquire(&a).await, Ok(Acquired::Granted(granted)) if granted.fence.epoch == 2));
    ours.renew();
    ours.release(&a, 1).await.expect("there");
    assert!(matches!(ours.acquire(&a).await, Ok(Acquired::LeasedTo { .. })));
    theirs.release(&a, 2).await.expect("there");
    assert!(matches!(ours.acquire(&a).await, Ok(Acquired::Granted(_))));
}

/// A transaction that keeps a fence is ended only where the lease of its worker is over.
#[tokio::test(start_paused = true)]
async fn only_the_transaction_of_a_dead_worker_is_ended_by_force() {
    let started = tokio::time::Instant::now();
    let clock = move || DateTime::UNIX_EPOCH + TimeDelta::from_std(started.elapsed()).expect("short");
    let ours = FakeLedger::new(Arc::new(clock), "us");
    let theirs = ours.of("them");
    granted(&ours, "a").await;
    ours.set_plan(Plan::new(|_| Turn {
        within: Duration::from_secs(30),
        ..Turn::default()
    }));
    let (commit, mut attempt) = (commit(&[("a", 1, 0)], 1), Attempt::Fresh);
    let (committed, take) = (ours.commit(&commit, Duration::MAX, &mut attempt), async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        let held = theirs.acquire(&lane("a")).await;
        assert!(
            matches!(&held, Ok(Acquired::LeasedTo { owner, .. }) if owner == "us"),
            "{held:?}"
        );
        assert_eq!(ours.read(|stored| stored.ended().to_vec()), [""; 0]);
        // Nobody renews it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        granted(&theirs, "a").await
    });
    let (outcome, Granted { fence, .. }) = tokio::join!(committed, take);
    assert!(matches!(outcome, Err(CommitError::Conflict(_))), "{outcome:?}");
    assert_eq!((fence.epoch, fence.seq, requests(&ours)), (2, 0, 0));
    assert_eq!(ours.read(|stored| stored.ended().to_vec()), ["us"]);
}

#[tokio::test]
async fn a_person_says_where_a_lane_goes_on_and_a_commit_never_sets_it_back() {
    let (ledger, a) = (ledger(), lane("a"));
    granted(&ledger, "a").await;
    ledger.resume(&a, Some(Position::offset(7)));
    let mut attempt = Attempt::Fresh;
    let lost = ledger
        .commit(&commit(&[("a", 1, 0)], 1), Duration::MAX, &mut attempt)
        .await;
    assert!(
        matches!(lost, Err(CommitError::Lost(_))),
        "the owner has to ask again"
    );
    let Granted {
        fence, windows: _, ..
    } = granted(&ledger, "a").await;
    assert_eq!((fence.epoch, fence.position), (3, Some(Position::offset(7))));
    let back = ledger
        .commit(&commit(&[("a", 3, 0)], 1), Duration::MAX, &mut attempt)
        .await;
    assert!(
        matches!(back, Err(CommitError::Refused { .. })),
        "offset 1 is before 7"
    );
    ledger.resume(&a, None);
    granted(&ledger, "a").await;
    let again = ledger
        .commit(&commit(&[("a", 5, 0)], 1), Duration::MAX, &mut attempt)
        .await;
    again.expect("from the beginning");
    assert_eq!(requests(&ledger), 1);
}

#[tokio::test]
async fn a_commit_that_is_held_back_is_applied_when_it_is_let_go() {
    let ledger = ledger();
    granted(&ledger, "a").await;
    ledger.hold(true);
    let commit = commit(&[("a", 1, 0)], 1);
    let mut attempt = Attempt::Fresh;
    let mut held = std::pin::pin!(ledger.commit(&commit, Duration::MAX, &mut attempt));
    for _ in 0..3 {
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(held.as_mut().poll(&mut nobody).is_pending());
    }
    assert_eq!(requests(&ledger), 0);
    ledger.hold(false);
    held.await.expect("applied");
    assert_eq!(requests(&ledger), 1);
}
