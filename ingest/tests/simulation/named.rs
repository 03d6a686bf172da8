//! One test per lesson, and per way in which the loop could break one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::batch::Limits;
use ingest::fake::{FakeLedger, Fate, Fault, Plan, Stored, Told, Turn};
use ingest::ledger::{Commit, Refusal};
use ingest::pump::Settings;

use crate::beforehand::book_beforehand;
use crate::cluster::{Cluster, Pace};
use crate::hand::{Hand, committed, soon, usages};
use crate::logs::{Expected, FULL, HUGE, Item, Log, Usage};
use crate::oracle::{check, preset};
use crate::world::{self, START_MS, VirtualClock, run, settings};

const EVENTS: &str = "usage_ledger_events_total";

pub(crate) fn limits(max_events: usize) -> Settings {
    let settings = settings();
    let limits = Limits {
        max_events,
        ..settings.limits
    };
    Settings { limits, ..settings }
}

/// A plan, and every commit that was tried under it.
fn recorded(mut plan: Plan) -> (Plan, Arc<Mutex<Vec<Commit>>>) {
    let tried = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&tried);
    let plan = Plan::new(move |commit| {
        shared.lock().expect("no panic").push(commit.clone());
        plan.turn(commit)
    });
    (plan, tried)
}

/// The first attempt is on its way for so long.
pub(crate) fn slow_once(there: Duration) -> Plan {
    let mut turns = std::iter::once(Turn {
        there,
        ..Turn::default()
    });
    Plan::new(move |_| turns.next().unwrap_or_default())
}

pub(crate) fn check_all(ledger: &FakeLedger, logs: &[Log]) {
    ledger.read(|stored| check(stored, logs, &[]));
}

/// Lesson D4: where batches end, and where a crash cuts them, never shows in what is stored.
#[test]
fn d4_batch_boundaries_do_not_matter() {
    for max_events in [1, 2, 3, 7, 100] {
        for after_polls in 0..30 {
            run(async {
                let clock = VirtualClock::start();
                let ledger = world::ledger(&clock);
                book_beforehand(&ledger).await;
                let pace = Pace {
                    channel: 2,
                    chunk: 5,
                    seed: 1,
                };
                let logs = vec![Log::random(0, 12, 4)];
                let mut cluster = Cluster::start(ledger, clock, limits(max_events), pace, logs);
                cluster.kill(0, after_polls).await;
                cluster.finish().await;
                let logs = Arc::clone(&cluster.logs);
                let ledger = cluster.stop().await;
                ledger.read(|stored| check(stored, &logs, &[preset()]));
            });
        }
    }
}

/// Lesson D6: while a record is unfinished nothing behind it is committed, whatever becomes of its commits.
#[test]
fn d6_never_past_an_unfinished_record() {
    run(async {
        let mut hand = Hand::start(limits(4));
        let log = Log::plain("d6", usages("d6-", 20));
        hand.ledger.set_plan(Plan::faults([
            Fault::Away,
            Fault::TooMuch,
            Fault::TooMuch,
            Fault::Unknown(Fate::NotApplied, Told::Conflict),
            Fault::Unknown(Fate::Late, Told::Away),
            Fault::TooMuch,
        ]));
        let grant = hand.grant(&log.lane).await;
        let mut follow = grant.committed.clone();
        let feed = async {
            for at in 0..20 {
                hand.records(&grant, &log, at..at + 1).await;
            }
        };
        let watch = async {
            let mut seen = 0;
            while seen < 20 {
                follow.changed().await.expect("ours");
                let position = hand.position(&log.lane).expect("committed");
                let read = hand.ledger.read(|stored| stored.tally().read());
                assert_eq!(read, position, "every record before the position is done");
                assert!(position >= seen);
                seen = position;
            }
        };
        soon(async { tokio::join!(feed, watch) }).await;
        hand.drain().await;
        check_all(&hand.ledger, &[log]);
    });
}

/// Lesson D10: offset 0 is a position like any other.
#[test]
fn d10_an_empty_lane_is_committed_at_offset_0() {
    run(async {
        let hand = Hand::start(settings());
        let log = Log::plain("d10", []);
        let grant = hand.grant(&log.lane).await;
        assert_eq!(grant.fence.position, None);
        hand.idle(&grant, 0, Some(START_MS)).await;
        committed(&grant, 0).await;
        assert_eq!(hand.health_as_of(), Some(START_MS));
    });
}

/// Lesson D13: a rejected record is committed with its position, also when it is alone, and only once.
#[test]
fn d13_a_rejected_record_alone_advances_the_position() {
    run(async {
        let mut hand = Hand::start(settings());
        let log = Log {
            items: vec![Item {
                offset: 0,
                source_time_ms: START_MS,
                payload: b"{".to_vec(),
                expected: Expected::Rejected("invalid_json"),
            }],
            ..Log::plain("d13", usages("d13-", 1))
        };
        hand.ledger
            .set_plan(Plan::faults([Fault::Unknown(Fate::Applied, Told::Away)]));
        let grant = hand.grant(&log.lane).await;
        hand.records(&grant, &log, 0..1).await;
        committed(&grant, 1).await;
        hand.drain().await;
        check_all(&hand.ledger, &[log]);
        assert_eq!(hand.process.metric(EVENTS, Some("dead_letter")), 1.0);
    });
}

/// A lane lost in flight is cut out; the records of the others are committed without being read again.
#[test]
fn a_lane_lost_in_flight_takes_nothing_of_the_others_with_it() {
    run(async {
        let mut hand = Hand::start(settings());
        let ours = Log::plain("ours", usages("ours-", 3));
        let theirs = Log::plain("theirs", usages("theirs-", 3));
        let stolen = theirs.lane.clone();
        let mut turns = std::iter::once(Turn {
            steal_before: vec![stolen],
            ..Turn::default()
        });
        hand.ledger
            .set_plan(Plan::new(move |_| turns.next().unwrap_or_default()));
        let (a, b) = (hand.grant(&ours.lane).await, hand.grant(&theirs.lane).await);
        hand.records(&b, &theirs, 0..2).await;
        hand.records(&a, &ours, 0..3).await;
        // Folded while the commit is in flight: they go with their lane.
        soon(b.lost.cancelled()).await;
        hand.records(&b, &theirs, 2..3).await;
        committed(&a, 3).await;
        assert_eq!(hand.position(&theirs.lane), None);
        check_all(&hand.ledger, std::slice::from_ref(&ours));
        assert_eq!(hand.process.metric("usage_ledger_lanes_lost_total", None), 1.0);
        // Read again from where it was, in the lane's next life.
        let again = hand.grant(&theirs.lane).await;
        hand.records(&again, &theirs, 0..3).await;
        committed(&again, 3).await;
        hand.drain().await;
        check_all(&hand.ledger, &[ours, theirs]);
        assert_eq!(hand.process.metric(EVENTS, Some("counted")), 6.0);
    });
}

/// A booking that would overflow a stored counter is found and rejected; everything around it is counted.
#[test]
fn an_overflow_is_cut_down_to_its_booking_and_the_lane_goes_on() {
    run(async {
        let mut hand = Hand::start(settings());
        book_beforehand(&hand.ledger).await;
        let mut usages = usages("small", 30);
        usages[17] = Usage::plain("huge", FULL, HUGE);
        let mut log = Log::plain("overflow", usages);
        log.items[17].expected = Expected::Overflow;
        let other = Log::plain("other", crate::hand::usages("other", 5));
        let (plan, tried) = recorded(Plan::default());
        hand.ledger.set_plan(plan);
        let (a, b) = (hand.grant(&log.lane).await, hand.grant(&other.lane).await);
        hand.records(&a, &log, 0..30).await;
        hand.records(&b, &other, 0..5).await;
        committed(&a, 30).await;
        hand.drain().await;
        hand.ledger
            .read(|stored| check(stored, &[log, other], &[preset()]));
        let tried = tried.lock().expect("no panic").len();
        assert!(tried <= 14, "two lanes, then halves of thirty: {tried} attempts");
    });
}

/// What a person must mend is tried again every half minute; not so by whoever is told to stop, since nobody waits that
/// long for it.
#[test]
fn a_drain_does_not_wait_for_the_next_of_the_rare_attempts() {
    run(async {
        let mut hand = Hand::start(settings());
        let log = Log::plain("refused", usages("r", 3));
        hand.ledger
            .set_plan(Plan::faults(vec![Fault::Refused(Refusal::NotAuthorized); 3]));
        let granted = hand.grant(&log.lane).await;
        hand.records(&granted, &log, 0..3).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(hand.ledger.read(|stored| stored.attempts), 1);
        let asked = tokio::time::Instant::now();
        hand.drain().await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        check_all(&hand.ledger, &[log]);
    });
}

/// A broken copy right behind it was told that its event is counted, and it was not: the event is not lost.
#[test]
fn a_letter_behind_an_overflow_does_not_make_its_event_a_duplicate() {
    run(async {
        let mut hand = Hand::start(settings());
        book_beforehand(&hand.ledger).await;
        let mut log = Log::plain("overflow", vec![Usage::plain("huge", FULL, HUGE); 3]);
        log.items[1].payload = String::from_utf8(log.items[1].payload.clone())
            .expect("a text")
            .replace("\"outputTokens\":0", "\"outputTokens\":-1")
            .into_bytes();
        log.items[2].payload = Usage::plain("huge", "acme", 1).json().to_string().into_bytes();
        let granted = hand.grant(&log.lane).await;
        hand.records(&granted, &log, 0..2).await;
        committed(&granted, 2).await;
        // The emitter sends it again, with a quantity that fits.
        hand.records(&granted, &log, 2..3).await;
        committed(&granted, 3).await;
        hand.drain().await;
        let tally = hand.ledger.read(Stored::tally);
        assert_eq!((tally.counted, tally.duplicate, tally.dead_letter), (1, 0, 2));
    });
}

/// While the outcome of a commit is not known nothing but the same content is tried again, whatever happens
/// to its lanes meanwhile; it is counted once, in the ledger and in the metrics.
#[test]
fn in_doubt_only_the_same_content_is_tried_again() {
    for fate in [Fate::Applied, Fate::NotApplied, Fate::Late] {
        run(async move {
            let mut hand = Hand::start(limits(6));
            let (kept, given_up) = (
                Log::plain("kept", usages("k", 9)),
                Log::plain("up", usages("u", 3)),
            );
            let (plan, tried) = recorded(Plan::faults([
                Fault::Unknown(fate, Told::Away),
                Fault::Away,
                Fault::Away,
                Fault::Away,
            ]));
            hand.ledger.set_plan(plan);
            let (a, b) = (hand.grant(&kept.lane).await, hand.grant(&given_up.lane).await);
            hand.records(&b, &given_up, 0..3).await;
            hand.records(&a, &kept, 0..9).await;
            while hand.ledger.read(|stored| stored.attempts) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            hand.revoke(&given_up.lane).await;
            committed(&a, 9).await;
            {
                let tried = tried.lock().expect("no panic");
                assert!(tried[..5].iter().all(|commit| *commit == tried[0]), "{fate:?}");
                assert_eq!(tried[0].lanes.len(), 2);
            }
            let again = hand.grant(&given_up.lane).await;
            assert_eq!(hand.position(&given_up.lane), Some(3), "the whole was applied");
            hand.idle(&again, 3, None).await;
            hand.drain().await;
            check_all(&hand.ledger, &[kept, given_up]);
            assert_eq!(hand.process.metric(EVENTS, Some("counted")), 12.0, "{fate:?}");
        });
    }
}
