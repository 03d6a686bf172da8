//! The life of a lane: granted, revoked, lost, stopped, given back; and a ledger that is away meanwhile.

use std::time::Duration;

use ingest::fake::{Fate, Fault, Plan, Told, Turn};
use ingest::lane::Position;
use ingest::ledger::Refusal;
use ingest::source::{Grant, SourceEvent, Stop, StopReason};
use tokio::time::{sleep, timeout};

use crate::logs::Log;
use crate::manual_source::{ManualSource, committed, soon, usages};
use crate::scenarios::{check_all, limits, slow_once};
use crate::world::{Ended, Process, START_MS, run, settings};

fn stop() -> Stop {
    Stop {
        reason: StopReason::OffsetOutOfRange,
        detail: "gone".into(),
        resumable: None,
    }
}

/// The commit of an old grant comes back as lost. The lane's new grant is another matter.
#[test]
fn a_lane_granted_again_outlives_the_commit_of_its_old_grant() {
    for fault in [None, Some(Fault::Unknown(Fate::NotApplied, Told::Away))] {
        run(async move {
            let mut manual = ManualSource::start(settings());
            let (moved, other) = (
                Log::plain("moved", usages("m", 4)),
                Log::plain("other", usages("o", 2)),
            );
            let mut turns = std::iter::once(Turn {
                there: Duration::from_secs(5),
                fault,
                ..Turn::default()
            });
            manual
                .ledger
                .set_plan(Plan::new(move |_| turns.next().unwrap_or_default()));
            let (a, b) = (manual.grant(&moved.lane).await, manual.grant(&other.lane).await);
            manual.records(&a, &moved, 0..2).await;
            manual.records(&b, &other, 0..2).await;
            sleep(Duration::from_secs(1)).await;
            manual.revoke(&moved.lane).await;
            let again = manual.grant(&moved.lane).await;
            assert_eq!(again.fence.position, None);
            // What was read under the old grant is still on its way.
            manual.records(&a, &moved, 2..4).await;
            manual.records(&again, &moved, 0..4).await;
            committed(&again, 4).await;
            committed(&b, 2).await;
            assert!(!again.lost.is_cancelled());
            manual.drain().await;
            check_all(&manual.ledger, &[moved, other]);
        });
    }
}

/// What is folded when the process is told to stop is committed, and the lanes are given back.
#[test]
fn a_drain_commits_what_was_folded() {
    run(async {
        let mut manual = ManualSource::led(Duration::from_secs(10), limits(2));
        let log = Log::plain("drain", usages("d", 4));
        manual.ledger.set_plan(slow_once(Duration::from_secs(3)));
        let grant = manual.grant(&log.lane).await;
        manual.records(&grant, &log, 0..4).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            manual.position(&log.lane),
            None,
            "one batch is on its way, one is folded"
        );
        manual.drain().await;
        check_all(&manual.ledger, std::slice::from_ref(&log));
        manual.ledger.read(|stored| {
            assert_eq!(stored.fences[&log.lane].owner, None);
            assert_eq!(stored.leader(&log.lane), None);
        });
    });
}

/// The same where the batch on its way comes back with nothing left in it.
#[test]
fn a_drain_commits_what_was_folded_behind_a_lost_lane() {
    run(async {
        let mut manual = ManualSource::start(settings());
        let (lost, kept) = (
            Log::plain("lost", usages("l", 2)),
            Log::plain("kept", usages("k", 2)),
        );
        manual.ledger.set_plan(slow_once(Duration::from_secs(3)));
        let (a, b) = (manual.grant(&lost.lane).await, manual.grant(&kept.lane).await);
        manual.records(&a, &lost, 0..2).await;
        sleep(Duration::from_secs(1)).await;
        manual.records(&b, &kept, 0..2).await;
        manual.ledger.steal(&lost.lane);
        sleep(Duration::from_secs(1)).await;
        manual.drain().await;
        check_all(&manual.ledger, &[kept]);
    });
}

/// Nothing is given up while the ledger is away, also not in a drain.
#[test]
fn a_drain_waits_for_a_ledger_that_is_away() {
    run(async {
        let mut manual = ManualSource::start(settings());
        let log = Log::plain("away", usages("a", 2));
        let grant = manual.grant(&log.lane).await;
        manual.ledger.set_away(true);
        manual.records(&grant, &log, 0..2).await;
        sleep(Duration::from_secs(2)).await;
        manual.process.stop();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(manual.position(&log.lane), None);
        manual.ledger.set_away(false);
        manual.drain().await;
        check_all(&manual.ledger, &[log]);
    });
}

/// What only a person can mend: the batch and the lane are kept, tried now and then, and readiness says why.
#[test]
fn a_refused_commit_is_kept_and_tried_again() {
    for refusal in [Refusal::NotAuthorized, Refusal::WriteRefused] {
        run(async move {
            let mut manual = ManualSource::start(settings());
            let log = Log::plain("refused", usages("r", 2));
            let grant = manual.grant(&log.lane).await;
            manual
                .ledger
                .set_plan(Plan::new(move |_| Turn::from(Fault::Refused(refusal))));
            manual.records(&grant, &log, 0..2).await;
            sleep(Duration::from_secs(300)).await;
            let reasons = manual.process.health.reasons(manual.now());
            assert!(reasons.contains(refusal.name()), "{reasons:?}");
            let attempts = manual.ledger.read(|stored| stored.attempts);
            assert!(
                (5..=12).contains(&attempts),
                "{attempts} attempts in five minutes"
            );
            assert_eq!(manual.position(&log.lane), None);
            assert!(!grant.lost.is_cancelled());
            manual.ledger.set_plan(Plan::default());
            committed(&grant, 2).await;
            // The last step of a commit is that readiness forgets.
            sleep(Duration::from_secs(1)).await;
            let reasons = manual.process.health.reasons(manual.now());
            assert!(!reasons.contains(refusal.name()), "{reasons:?}");
            manual.drain().await;
            check_all(&manual.ledger, &[log]);
        });
    }
}

/// The loop never holds more than two batches and one signal: the source waits.
#[test]
fn the_source_waits_for_a_ledger_that_hangs() {
    run(async {
        let manual = ManualSource::start(limits(5));
        manual.ledger.set_plan(Plan::faults([Fault::Hang]));
        let log = Log::plain("hang", usages("h", 100));
        let grant = manual.grant(&log.lane).await;
        let mut sent = 0;
        while timeout(
            Duration::from_secs(600),
            manual.records(&grant, &log, sent..sent + 1),
        )
        .await
        .is_ok()
        {
            sent += 1;
        }
        // One batch on its way, one full, one signal read, and the channel.
        assert_eq!(sent, 5 + 5 + 1 + ManualSource::CHANNEL);
        assert_eq!(manual.process.metric("usage_ledger_pending_events", None), 10.0);
    });
}

/// A group stands still until its members have let go: that waits for no commit, and for nothing that was read before.
#[test]
fn a_revoked_lane_is_let_go_of_while_the_ledger_hangs_and_the_source_waits() {
    run(async {
        let mut manual = ManualSource::start(limits(5));
        let (moved, stays) = (
            Log::plain("moved", usages("m", 100)),
            Log::plain("stays", usages("s", 100)),
        );
        let (a, b) = (manual.grant(&moved.lane).await, manual.grant(&stays.lane).await);
        manual.ledger.hold(true);
        let mut sent = 0;
        let patience = Duration::from_secs(60);
        let both = async |at: usize| {
            manual.records(&a, &moved, at..at + 1).await;
            manual.records(&b, &stays, at..at + 1).await;
        };
        while timeout(patience, both(sent)).await.is_ok() {
            sent += 1;
        }
        manual.revoke(&moved.lane).await;
        assert!(a.lost.is_cancelled());
        assert_eq!(manual.position(&moved.lane), None);
        manual.ledger.hold(false);
        let again = manual.grant(&moved.lane).await;
        let from = moved.from(again.fence.position.as_ref());
        assert!(
            from <= 5,
            "what was revoked and not on its way was dropped, up to {from}"
        );
        manual.records(&b, &stays, sent..100).await;
        manual.records(&again, &moved, from..100).await;
        committed(&again, 100).await;
        committed(&b, 100).await;
        manual.drain().await;
        check_all(&manual.ledger, &[moved, stays]);
    });
}

/// A lane that stopped is let go of once what was read of it is committed, however busy the others are.
#[test]
fn a_stopped_lane_is_let_go_of_while_others_are_busy() {
    run(async {
        let mut manual = ManualSource::start(limits(1));
        let (stopped, busy) = (
            Log::plain("stopped", usages("s", 2)),
            Log::plain("busy", usages("b", 200)),
        );
        manual.ledger.set_plan(Plan::new(|_| Turn {
            there: Duration::from_millis(100),
            ..Turn::default()
        }));
        let (a, b) = (manual.grant(&stopped.lane).await, manual.grant(&busy.lane).await);
        manual.records(&b, &busy, 0..50).await;
        manual.records(&a, &stopped, 0..2).await;
        manual
            .send(SourceEvent::Stopped {
                lane: stopped.lane.clone(),
                stop: stop(),
            })
            .await;
        let feed = manual.records(&b, &busy, 50..200);
        soon(async { tokio::join!(feed, a.lost.cancelled()) }).await;
        let (done, position) = (manual.position(&busy.lane), manual.position(&stopped.lane));
        assert_eq!(position, Some(2), "what was read is committed first");
        assert!(
            done < Some(100),
            "let go of only when the other lane was at {done:?}"
        );
        committed(&b, 200).await;
        assert_eq!(
            manual
                .ledger
                .read(|stored| stored.fences[&stopped.lane].stopped.clone()),
            Some(stop())
        );
        manual.drain().await;
        check_all(&manual.ledger, &[stopped, busy]);
    });
}

/// A lane that stopped is not taken again until somebody has said how it goes on, or it is assigned anew.
#[test]
fn a_stopped_lane_is_left_alone_until_it_is_resumed() {
    run(async {
        let mut manual = ManualSource::start(settings());
        let log = Log::plain("stopped", usages("s", 4));
        let epoch = |manual: &ManualSource| manual.ledger.read(|stored| stored.fences[&log.lane].epoch);
        let halt = async |grant: &Grant| {
            manual
                .send(SourceEvent::Stopped {
                    lane: log.lane.clone(),
                    stop: stop(),
                })
                .await;
            soon(grant.lost.cancelled()).await;
        };
        let grant = manual.grant(&log.lane).await;
        manual.records(&grant, &log, 0..2).await;
        halt(&grant).await;
        // The ledger is away when it is to be noted, and back later.
        manual.ledger.set_away(true);
        let mut asked = manual.ask(&log.lane).await;
        sleep(Duration::from_secs(60)).await;
        manual.ledger.set_away(false);
        sleep(Duration::from_secs(3_600)).await;
        assert!(
            asked.try_recv().is_err() && epoch(&manual) == 1,
            "it is only looked at"
        );
        manual.ledger.resume(&log.lane, Some(Position::offset(2)));
        let grant = soon(asked).await.expect("granted");
        assert_eq!(epoch(&manual), 3, "resumed, and taken");
        manual.records(&grant, &log, 2..3).await;
        committed(&grant, 3).await;
        halt(&grant).await;
        let asked = manual.ask(&log.lane).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(epoch(&manual), 3);
        // Given to somebody else and back: whoever has it looks for himself.
        drop(asked);
        manual.revoke(&log.lane).await;
        let grant = manual.grant(&log.lane).await;
        assert_eq!(epoch(&manual), 4);
        manual.records(&grant, &log, 3..4).await;
        committed(&grant, 4).await;
        manual.drain().await;
        check_all(&manual.ledger, &[log]);
    });
}

/// A lane that the source gives up while it waits for it is not taken from whoever has it by then.
#[test]
fn a_lane_given_up_while_it_waits_is_left_alone() {
    run(async {
        let manual = ManualSource::start(settings());
        let log = Log::plain("given-up", usages("g", 2));
        manual.ledger.set_away(true);
        let asked = manual.ask(&log.lane).await;
        sleep(Duration::from_secs(30)).await;
        drop(asked);
        manual.revoke(&log.lane).await;
        manual.ledger.set_away(false);
        manual.ledger.steal(&log.lane);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(manual.ledger.read(|stored| stored.fences[&log.lane].epoch), 1);
        assert_eq!(
            manual
                .process
                .health
                .reasons(manual.now())
                .into_iter()
                .collect::<Vec<_>>(),
            [""; 0]
        );
    });
}

/// The source learns only after the loop that it has the lane no longer: a grant that comes between them would be
/// nobody's, and take the lane from its new owner.
#[test]
fn a_lane_revoked_while_it_waits_is_not_granted_any_more() {
    run(async {
        let manual = ManualSource::start(settings());
        let log = Log::plain("revoked", usages("r", 2));
        manual.ledger.set_away(true);
        let asked = manual.ask(&log.lane).await;
        sleep(Duration::from_secs(30)).await;
        manual.revoke(&log.lane).await;
        manual.ledger.set_away(false);
        soon(asked).await.expect_err("nothing is granted");
        sleep(Duration::from_secs(30)).await;
        assert!(
            manual
                .ledger
                .read(|stored| !stored.fences.contains_key(&log.lane))
        );
        // Another lane alone decides how fresh everything is.
        let other = Log::plain("other", usages("o", 2));
        let grant = manual.grant(&other.lane).await;
        manual.idle(&grant, 0, Some(START_MS)).await;
        committed(&grant, 0).await;
        assert_eq!(manual.health_as_of(), Some(START_MS));
    });
}

/// The lane was given up while it waited, and given back: the first asking must not undo the second.
#[test]
fn a_lane_asked_for_twice_is_known_once() {
    run(async {
        let manual = ManualSource::start(settings());
        let log = Log::plain("twice", usages("t", 2));
        manual.ledger.set_away(true);
        let first = manual.ask(&log.lane).await;
        sleep(Duration::from_secs(30)).await;
        drop(first);
        manual.revoke(&log.lane).await;
        let second = manual.ask(&log.lane).await;
        manual.ledger.set_away(false);
        let grant = soon(second).await.expect("granted");
        manual.idle(&grant, 0, Some(START_MS)).await;
        committed(&grant, 0).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(manual.health_as_of(), Some(START_MS));
        assert!(!grant.lost.is_cancelled());
    });
}

/// Two topologies while the ledger is away: the newer one is what is stored.
#[test]
fn the_newest_topology_is_the_one_that_is_stored() {
    run(async {
        let manual = ManualSource::start(settings());
        let lanes = ["a", "b", "c"].map(|name| Log::plain(name, []).lane);
        manual.ledger.set_away(true);
        manual.send(SourceEvent::Topology(lanes[..1].to_vec())).await;
        sleep(Duration::from_secs(20)).await;
        manual.send(SourceEvent::Topology(lanes[..2].to_vec())).await;
        manual.send(SourceEvent::Topology(lanes.to_vec())).await;
        sleep(Duration::from_millis(50)).await;
        manual.ledger.set_away(false);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(manual.ledger.read(|stored| stored.topology.clone()), lanes);
    });
}

/// Another process has the lane by now. Whatever the old one still does, nothing of it is written.
#[test]
fn the_fence_of_a_zombie_writes_nothing() {
    for fate in [Fate::Applied, Fate::NotApplied, Fate::Late] {
        run(async move {
            let mut zombie = ManualSource::start(settings());
            let log = Log::plain("zombie", usages("z", 6));
            let grant = zombie.grant(&log.lane).await;
            zombie.records(&grant, &log, 0..2).await;
            committed(&grant, 2).await;
            zombie
                .ledger
                .set_plan(Plan::faults([Fault::Unknown(fate, Told::Away)]));
            zombie.records(&grant, &log, 2..4).await;
            sleep(Duration::from_millis(251)).await;
            let theirs = Process::start(zombie.ledger.of("them"), &zombie.clock, settings(), 16);
            let mut heir = ManualSource {
                process: theirs,
                ledger: zombie.ledger.of("them"),
                clock: zombie.clock.clone(),
            };
            let inherited = heir.grant(&log.lane).await;
            let from = log.from(inherited.fence.position.as_ref());
            zombie.records(&grant, &log, 4..6).await;
            soon(grant.lost.cancelled()).await;
            let epoch = heir.ledger.read(|stored| stored.fences[&log.lane].epoch);
            assert!(epoch > grant.fence.epoch);
            heir.records(&inherited, &log, from..6).await;
            committed(&inherited, 6).await;
            assert!(matches!(zombie.process.drain().await, Ended::Drained));
            heir.drain().await;
            check_all(&heir.ledger, &[log]);
        });
    }
}

/// An idle lane says how far it is. A record behind that must not take it back.
#[test]
fn a_record_keeps_what_the_idle_lane_had_said() {
    run(async {
        let manual = ManualSource::start(settings());
        let log = Log::plain("as-of", usages("a", 1));
        let grant = manual.grant(&log.lane).await;
        manual.idle(&grant, 0, Some(START_MS)).await;
        let mut record = log.items[0].record(grant.key);
        record.as_of_ms = None;
        manual.send(SourceEvent::Records(vec![record])).await;
        committed(&grant, 1).await;
        assert_eq!(manual.health_as_of(), Some(START_MS));
    });
}

/// An emitter whose clock is years ahead must not make the window forget what it holds.
#[test]
fn a_source_time_in_the_future_does_not_empty_the_window() {
    run(async {
        let mut manual = ManualSource::start(limits(1));
        let mut log = Log::plain("future", usages("f", 3));
        log.items[0].source_time_ms = START_MS - 5_000;
        log.items[1].source_time_ms = START_MS + 1_000_000_000_000;
        log.items[2].payload = log.items[0].payload.clone();
        log.items[2].expected = crate::logs::Expected::Duplicate;
        let grant = manual.grant(&log.lane).await;
        for at in 0..3 {
            manual.records(&grant, &log, at..at + 1).await;
            committed(&grant, log.items[at].offset + 1).await;
        }
        manual.drain().await;
        check_all(&manual.ledger, &[log]);
    });
}
