//! One test per lesson, and per way in which the loop could break one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::batch::Limits;
use ingest::fake::{FakeLedger, Fate, Fault, Plan, Stored, Told, Turn};
use ingest::ledger::{Commit, Refusal};
use ingest::pump::Settings;

use crate::cluster::{Cluster, Pace};
use crate::logs::{Expected, FULL, HUGE, Item, Log, Usage};
use crate::manual_source::{ManualSource, committed, soon, usages};
use crate::oracle::{check, preset};
use crate::preloaded::book_beforehand;
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
        let mut manual = ManualSource::start(limits(4));
        let log = Log::plain("d6", usages("d6-", 20));
        manual.ledger.set_plan(Plan::faults([
            Fault::Away,
            Fault::TooMuch,
            Fault::TooMuch,
            Fault::Unknown(Fate::NotApplied, Told::Conflict),
            Fault::Unknown(Fate::Late, Told::Away),
            Fault::TooMuch,
        ]));
        let grant = manual.grant(&log.lane).await;
        let mut follow = grant.committed.clone();
        let feed = async {
            for at in 0..20 {
                manual.records(&grant, &log, at..at + 1).await;
            }
        };
        let watch = async {
            let mut seen = 0;
            while seen < 20 {
                follow.changed().await.expect("ours");
                let position = manual.position(&log.lane).expect("committed");
                let read = manual.ledger.read(|stored| stored.tally().read());
                assert_eq!(read, position, "every record before the position is done");
                assert!(position >= seen);
                seen = position;
            }
        };
        soon(async { tokio::join!(feed, watch) }).await;
        manual.drain().await;
        check_all(&manual.ledger, &[log]);
    });
}

/// Lesson D10: offset 0 is a position like any other.
#[test]
fn d10_an_empty_lane_is_committed_at_offset_0() {
    run(async {
        let manual = ManualSource::start(settings());
        let log = Log::plain("d10", []);
        let grant = manual.grant(&log.lane).await;
        assert_eq!(grant.fence.position, None);
        manual.idle(&grant, 0, Some(START_MS)).await;
        committed(&grant, 0).await;
        assert_eq!(manual.health_as_of(), Some(START_MS));
    });
}

/// Lesson D13: a rejected record is committed with its position, also when it is alone, and only once.
#[test]
fn d13_a_rejected_record_alone_advances_the_position() {
    run(async {
        let mut manual = ManualSource::start(settings());
        let log = Log {
            items: vec![Item {
                offset: 0,
                part: None,
                source_time_ms: START_MS,
                payload: b"{".to_vec(),
                expected: Expected::Rejected("invalid_json"),
            }],
            ..Log::plain("d13", usages("d13-", 1))
        };
        manual
            .ledger
            .set_plan(Plan::faults([Fault::Unknown(Fate::Applied, Told::Away)]));
        let grant = manual.grant(&log.lane).await;
        manual.records(&grant, &log, 0..1).await;
        committed(&grant, 1).await;
        manual.drain().await;
        check_all(&manual.ledger, &[log]);
        assert_eq!(manual.process.metric(EVENTS, Some("dead_letter")), 1.0);
    });
}

/// A lane lost in flight is cut out; the records of the others are committed without being read again.
#[test]
fn a_lane_lost_in_flight_takes_nothing_of_the_others_with_it() {
    run(async {
        let mut manual = ManualSource::start(settings());
        let ours = Log::plain("ours", usages("ours-", 3));
        let theirs = Log::plain("theirs", usages("theirs-", 3));
        let stolen = theirs.lane.clone();
        let mut turns = std::iter::once(Turn {
            steal_before: vec![stolen],
            ..Turn::default()
        });
        manual
            .ledger
            .set_plan(Plan::new(move |_| turns.next().unwrap_or_default()));
        let (a, b) = (manual.grant(&ours.lane).await, manual.grant(&theirs.lane).await);
        manual.records(&b, &theirs, 0..2).await;
        manual.records(&a, &ours, 0..3).await;
        // Folded while the commit is in flight: they go with their lane.
        soon(b.lost.cancelled()).await;
        manual.records(&b, &theirs, 2..3).await;
        committed(&a, 3).await;
        assert_eq!(manual.position(&theirs.lane), None);
        check_all(&manual.ledger, std::slice::from_ref(&ours));
        assert_eq!(manual.process.metric("usage_ledger_lanes_lost_total", None), 1.0);
        // Read again from where it was, in the lane's next life.
        let again = manual.grant(&theirs.lane).await;
        manual.records(&again, &theirs, 0..3).await;
        committed(&again, 3).await;
        manual.drain().await;
        check_all(&manual.ledger, &[ours, theirs]);
        assert_eq!(manual.process.metric(EVENTS, Some("counted")), 6.0);
    });
}

/// A booking that would overflow a stored counter is found and rejected; everything around it is counted.
#[test]
fn an_overflow_is_cut_down_to_its_booking_and_the_lane_goes_on() {
    run(async {
        let mut manual = ManualSource::start(settings());
        book_beforehand(&manual.ledger).await;
        let mut usages = usages("small", 30);
        usages[17] = Usage::plain("huge", FULL, HUGE);
        let mut log = Log::plain("overflow", usages);
        log.items[17].expected = Expected::Overflow;
        let other = Log::plain("other", crate::manual_source::usages("other", 5));
        let (plan, tried) = recorded(Plan::default());
        manual.ledger.set_plan(plan);
        let (a, b) = (manual.grant(&log.lane).await, manual.grant(&other.lane).await);
        manual.records(&a, &log, 0..30).await;
        manual.records(&b, &other, 0..5).await;
        committed(&a, 30).await;
        manual.drain().await;
        manual
            .ledger
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
        let mut manual = ManualSource::start(settings());
        let log = Log::plain("refused", usages("r", 3));
        manual
            .ledger
            .set_plan(Plan::faults(vec![Fault::Refused(Refusal::NotAuthorized); 3]));
        let granted = manual.grant(&log.lane).await;
        manual.records(&granted, &log, 0..3).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(manual.ledger.read(|stored| stored.attempts), 1);
        let asked = tokio::time::Instant::now();
        manual.drain().await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        check_all(&manual.ledger, &[log]);
    });
}

/// A broken copy right behind it was told that its event is counted, and it was not: the event is not lost.
#[test]
fn a_letter_behind_an_overflow_does_not_make_its_event_a_duplicate() {
    run(async {
        let mut manual = ManualSource::start(settings());
        book_beforehand(&manual.ledger).await;
        let mut log = Log::plain("overflow", vec![Usage::plain("huge", FULL, HUGE); 3]);
        log.items[1].payload = String::from_utf8(log.items[1].payload.clone())
            .expect("a text")
            .replace("\"outputTokens\":0", "\"outputTokens\":-1")
            .into_bytes();
        log.items[2].payload = Usage::plain("huge", "acme", 1).json().to_string().into_bytes();
        let granted = manual.grant(&log.lane).await;
        manual.records(&granted, &log, 0..2).await;
        committed(&granted, 2).await;
        // The emitter sends it again, with a quantity that fits.
        manual.records(&granted, &log, 2..3).await;
        committed(&granted, 3).await;
        manual.drain().await;
        let tally = manual.ledger.read(Stored::tally);
        assert_eq!((tally.counted, tally.duplicate, tally.dead_letter), (1, 0, 2));
    });
}

/// While the outcome of a commit is not known nothing but the same content is tried again, whatever happens
/// to its lanes meanwhile; it is counted once, in the ledger and in the metrics.
#[test]
fn in_doubt_only_the_same_content_is_tried_again() {
    for fate in [Fate::Applied, Fate::NotApplied, Fate::Late] {
        run(async move {
            let mut manual = ManualSource::start(limits(6));
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
            manual.ledger.set_plan(plan);
            let (a, b) = (manual.grant(&kept.lane).await, manual.grant(&given_up.lane).await);
            manual.records(&b, &given_up, 0..3).await;
            manual.records(&a, &kept, 0..9).await;
            while manual.ledger.read(|stored| stored.attempts) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            manual.revoke(&given_up.lane).await;
            committed(&a, 9).await;
            {
                let tried = tried.lock().expect("no panic");
                assert!(tried[..5].iter().all(|commit| *commit == tried[0]), "{fate:?}");
                assert_eq!(tried[0].lanes.len(), 2);
            }
            let again = manual.grant(&given_up.lane).await;
            assert_eq!(manual.position(&given_up.lane), Some(3), "the whole was applied");
            manual.idle(&again, 3, None).await;
            manual.drain().await;
            check_all(&manual.ledger, &[kept, given_up]);
            assert_eq!(manual.process.metric(EVENTS, Some("counted")), 12.0, "{fate:?}");
        });
    }
}
