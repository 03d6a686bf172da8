//! Who leads, and what becomes of a leader that is slow, silent, frozen or dead.

use std::sync::Arc;
use std::time::Duration;

use ingest::batch::Limits;
use ingest::fake::{FakeLedger, Fault, Plan, Turn};
use ingest::pump::Settings;
use ingest::source::Grant;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, Pace};
use crate::logs::Log;
use crate::manual_source::{ManualSource, committed, soon, usages};
use crate::random::config;
use crate::scenarios::{check_all, limits};
use crate::world::{Process, START_MS, VirtualClock, run, settings};

const LEASE: Duration = Duration::from_secs(2);
const LOST: &str = "usage_ledger_lanes_lost_total";

/// A second process that waits for a lane.
async fn standby(leader: &ManualSource, log: &Log) -> (ManualSource, oneshot::Receiver<Grant>) {
    let ledger = leader.ledger.of("standby");
    let process = Process::start(
        ledger.clone(),
        &leader.clock,
        patient(settings()),
        ManualSource::CHANNEL,
    );
    let clock = Arc::clone(&leader.clock);
    let standby = ManualSource {
        process,
        ledger,
        clock,
    };
    let granted = standby.ask(&log.lane).await;
    (standby, granted)
}

fn within(time: Duration) -> Plan {
    Plan::new(move |_| Turn {
        within: time,
        ..Turn::default()
    })
}

/// An idle leader keeps the lane; one that drains gives it back at once.
#[test]
fn a_quiet_lane_keeps_its_lease_and_a_drained_one_gives_it_back() {
    run(async {
        let mut leader = ManualSource::led(Duration::from_secs(10), settings());
        let log = Log::plain("quiet", usages("q", 2));
        let grant = leader.grant(&log.lane).await;
        let (_standby, mut waiting) = standby(&leader, &log).await;
        for _ in 0..30 {
            leader.idle(&grant, 0, Some(START_MS)).await;
            sleep(Duration::from_secs(10)).await;
        }
        assert!(waiting.try_recv().is_err(), "the leader is idle, and leads");
        assert!(!grant.lost.is_cancelled());
        leader.drain().await;
        timeout(Duration::from_secs(2), waiting)
            .await
            .expect("at once")
            .expect("granted");
    });
}

/// A loop that hears nothing more of its source is as good as dead, however well its process lives.
#[test]
fn a_leader_that_gets_nothing_done_loses_its_lane() {
    run(async {
        let leader = ManualSource::led(LEASE, settings());
        let log = Log::plain("silent", usages("s", 2));
        let grant = leader.grant(&log.lane).await;
        leader.ledger.set_plan(Plan::faults([Fault::Hang]));
        leader.records(&grant, &log, 0..1).await;
        let (mut heir, mut waiting) = standby(&leader, &log).await;
        sleep(Duration::from_secs(59)).await;
        assert!(waiting.try_recv().is_err(), "it may be slow");
        let inherited = soon(waiting).await.expect("granted");
        heir.records(&inherited, &log, 0..2).await;
        committed(&inherited, 2).await;
        heir.drain().await;
        check_all(&heir.ledger, &[log]);
    });
}

/// Settings under which a commit of forty seconds is no reason to take less.
fn patient(settings: Settings) -> Settings {
    let limits = Limits {
        commit_target: Duration::from_secs(10),
        ..settings.limits
    };
    Settings { limits, ..settings }
}

/// Lesson D21: a commit far longer than the lease is no reason to lose the lane.
#[test]
fn d21_a_lane_outlives_commits_that_are_longer_than_its_lease() {
    run(async {
        let mut leader = ManualSource::led(LEASE, patient(limits(5)));
        let log = Log::plain("slow", usages("s", 20));
        let grant = leader.grant(&log.lane).await;
        let (mut waits, mut waiting) = standby(&leader, &log).await;
        leader.ledger.set_plan(within(20 * LEASE));
        leader.records(&grant, &log, 0..20).await;
        timeout(
            Duration::from_secs(200),
            grant
                .committed
                .clone()
                .wait_for(|position| *position == Some(ingest::lane::Position::offset(20))),
        )
        .await
        .expect("four commits of forty seconds")
        .expect("ours");
        assert!(waiting.try_recv().is_err() && !grant.lost.is_cancelled());
        waits.drain().await;
        leader.drain().await;
        check_all(&leader.ledger, &[log]);
    });
}

/// Lesson D23: a commit of a worker that lives is waited for, whatever the source says of its lanes.
#[test]
fn d23_a_lane_that_moves_waits_for_the_commit_of_a_worker_that_lives() {
    run(async {
        let mut first = ManualSource::start(patient(settings()));
        let (moved, kept) = (
            Log::plain("moved", usages("m", 4)),
            Log::plain("kept", usages("k", 4)),
        );
        let (a, b) = (first.grant(&moved.lane).await, first.grant(&kept.lane).await);
        first.ledger.set_plan(within(Duration::from_secs(30)));
        first.records(&a, &moved, 0..2).await;
        first.records(&b, &kept, 0..4).await;
        sleep(Duration::from_secs(2)).await;
        let (mut second, mut waiting) = standby(&first, &moved).await;
        sleep(Duration::from_secs(20)).await;
        assert!(waiting.try_recv().is_err(), "the commit is on its way");
        committed(&b, 4).await;
        let inherited = soon(waiting).await.expect("granted");
        assert_eq!(moved.from(inherited.fence.position.as_ref()), 2);
        second.records(&inherited, &moved, 2..4).await;
        committed(&inherited, 4).await;
        second.drain().await;
        first.drain().await;
        first.ledger.read(|stored| assert!(stored.ended().is_empty()));
        check_all(&first.ledger, &[moved, kept]);
    });
}

/// A leader that is frozen in the middle of a commit is taken over within about its lease; when it wakes up nothing of
/// it is written.
#[test]
fn a_leader_frozen_in_its_commit_is_taken_over_and_writes_nothing() {
    run(async {
        let mut zombie = ManualSource::led(LEASE, settings());
        let log = Log::plain("frozen", usages("f", 4));
        let grant = zombie.grant(&log.lane).await;
        zombie.ledger.set_plan(within(Duration::from_secs(5)));
        zombie.records(&grant, &log, 0..2).await;
        let (mut heir, waiting) = standby(&zombie, &log).await;
        sleep(Duration::from_secs(1)).await;
        zombie.process.freeze();
        let inherited = timeout(LEASE + Duration::from_secs(2), waiting)
            .await
            .expect("about a lease")
            .expect("granted");
        assert_eq!(zombie.ledger.read(|stored| stored.ended().to_vec()), ["us"]);
        zombie.process.thaw();
        soon(grant.lost.cancelled()).await;
        assert_eq!(zombie.position(&log.lane), None, "the zombie wrote");
        heir.records(&inherited, &log, 0..4).await;
        committed(&inherited, 4).await;
        assert_eq!(zombie.process.metric(LOST, None), 1.0);
        heir.drain().await;
        zombie.drain().await;
        check_all(&heir.ledger, &[log]);
    });
}

/// Something that happens to two processes of which one leads.
#[derive(Debug, Clone, Copy)]
enum Incident {
    Kill { process: usize, after_polls: u32 },
    Drain { process: usize },
    Freeze { process: usize, millis: u64 },
}

fn incident() -> impl Strategy<Value = Incident> {
    let process = 0..Cluster::PROCESSES;
    prop_oneof![
        2 => (process.clone(), 0..12_u32).prop_map(|(process, after_polls)| Incident::Kill { process, after_polls }),
        1 => process.clone().prop_map(|process| Incident::Drain { process }),
        2 => (process, 1..20_000_u64).prop_map(|(process, millis)| Incident::Freeze { process, millis }),
    ]
}

/// Two processes both want all lanes, and every commit takes longer than the lease.
async fn contend(seed: u64, lengths: &[usize], incidents: &[(u64, Incident)]) -> (FakeLedger, f64) {
    let clock = VirtualClock::start();
    let ledger = FakeLedger::led(Arc::<VirtualClock>::clone(&clock), "us", LEASE);
    let mut rng = StdRng::seed_from_u64(seed);
    ledger.set_plan(Plan::new(move |_| Turn {
        within: Duration::from_millis(rng.random_range(2_000..8_000)),
        ..Turn::default()
    }));
    let logs = lengths.iter().enumerate();
    let logs = logs.map(|(number, length)| {
        Log::plain(&format!("lane-{number}"), usages(&format!("{number}-"), *length))
    });
    let logs: Vec<Log> = logs.collect();
    let pace = Pace {
        channel: 2,
        chunk: 20,
        seed,
    };
    let mut cluster = Cluster::contending(ledger, clock, limits(20), pace, logs);
    for (after_ms, incident) in incidents {
        sleep(Duration::from_millis(*after_ms)).await;
        match *incident {
            Incident::Kill { process, after_polls } => cluster.kill(process, after_polls).await,
            Incident::Drain { process } => cluster.drain(process).await,
            Incident::Freeze { process, millis } => {
                cluster.freeze(process, Duration::from_millis(millis)).await
            }
        }
    }
    cluster.finish().await;
    let lost = cluster.metric(LOST);
    let logs = Arc::clone(&cluster.logs);
    let ledger = cluster.stop().await;
    check_all(&ledger, &logs);
    (ledger, lost)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..config() })]

    /// Exact, and done in time: `finish` waits for five minutes of virtual time and no longer.
    #[test]
    fn a_leader_is_followed_only_when_it_is_dead(
        seed in any::<u64>(),
        lengths in prop::collection::vec(1..60_usize, 1..=2),
        incidents in prop::collection::vec((0..15_000_u64, incident()), 0..5),
    ) {
        run(contend(seed, &lengths, &incidents));
    }

    /// Where nobody is killed or frozen no lane is lost, however long commits take, and nobody's transaction is ended.
    #[test]
    fn no_lane_is_lost_without_a_kill(seed in any::<u64>(), lengths in prop::collection::vec(1..60_usize, 1..=2)) {
        let (ledger, lost) = run(contend(seed, &lengths, &[]));
        prop_assert_eq!(lost, 0.0);
        ledger.read(|stored| {
            assert!(stored.ended().is_empty());
            assert!(stored.fences.values().all(|fence| fence.epoch == 1));
        });
    }
}
