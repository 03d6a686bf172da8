//! Processes among which the lanes of a source move.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::fake::FakeLedger;
use ingest::lane::{LaneId, Position};
use ingest::pump::Settings;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::logs::Log;
use crate::source::{Assignment, Source};
use crate::world::{Ended, Process, VirtualClock};

/// How sources send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) channel: usize,
    pub(crate) chunk: usize,
    pub(crate) seed: u64,
}

struct Member {
    process: Process,
    source: JoinSet<()>,
    revoke: mpsc::UnboundedSender<LaneId>,
}

/// Two processes on one ledger.
pub(crate) struct Cluster {
    pub(crate) ledger: FakeLedger,
    pub(crate) logs: Arc<Vec<Log>>,
    clock: Arc<VirtualClock>,
    settings: Settings,
    pace: Pace,
    assignment: Assignment,
    members: Vec<Member>,
    started: u64,
}

impl Cluster {
    pub(crate) const PROCESSES: usize = 2;

    pub(crate) fn start(
        ledger: FakeLedger,
        clock: Arc<VirtualClock>,
        settings: Settings,
        pace: Pace,
        logs: Vec<Log>,
    ) -> Self {
        let lanes = logs.iter().map(|log| log.lane.clone());
        let assignment = lanes.zip((0..Self::PROCESSES).cycle()).collect();
        Self::assigned(ledger, clock, settings, pace, logs, assignment)
    }

    /// The same where every process wants all lanes, as processes on one change stream do.
    pub(crate) fn contending(
        ledger: FakeLedger,
        clock: Arc<VirtualClock>,
        settings: Settings,
        pace: Pace,
        logs: Vec<Log>,
    ) -> Self {
        Self::assigned(ledger, clock, settings, pace, logs, BTreeMap::new())
    }

    fn assigned(
        ledger: FakeLedger,
        clock: Arc<VirtualClock>,
        settings: Settings,
        pace: Pace,
        logs: Vec<Log>,
        assignment: BTreeMap<LaneId, usize>,
    ) -> Self {
        let mut cluster = Self {
            ledger,
            logs: Arc::new(logs),
            clock,
            settings,
            pace,
            assignment: Arc::new(Mutex::new(assignment)),
            members: Vec::new(),
            started: 0,
        };
        for number in 0..Self::PROCESSES {
            let member = cluster.member(number);
            cluster.members.push(member);
        }
        cluster
    }

    fn member(&mut self, number: usize) -> Member {
        self.started += 1;
        let process = Process::start(
            self.ledger
                .of(&format!("process {number}, life {}", self.started)),
            &self.clock,
            self.settings.clone(),
            self.pace.channel,
        );
        let (revoke, revoked) = mpsc::unbounded_channel();
        let mut source = JoinSet::new();
        source.spawn(
            Source {
                process: number,
                logs: Arc::clone(&self.logs),
                assignment: Arc::clone(&self.assignment),
                revoked,
                voice: process.voice.clone(),
                chunk: self.pace.chunk,
                seed: self.pace.seed.wrapping_add(1_000 * self.started),
            }
            .run(),
        );
        Member {
            process,
            source,
            revoke,
        }
    }

    async fn restart(&mut self, number: usize) {
        let new = self.member(number);
        let mut old = std::mem::replace(&mut self.members[number], new);
        while let Some(ended) = old.source.join_next().await {
            ended.expect("no panic");
        }
    }

    /// Kills a process somewhere in its next steps, and starts it again.
    pub(crate) async fn kill(&mut self, number: usize, after_polls: u32) {
        let ended = self.members[number].process.kill_after(after_polls).await;
        assert!(matches!(ended, Ended::Killed), "{ended:?}");
        self.restart(number).await;
    }

    /// Stops a process in order, and starts it again.
    pub(crate) async fn drain(&mut self, number: usize) {
        let ended = self.members[number].process.drain().await;
        assert!(matches!(ended, Ended::Drained), "{ended:?}");
        self.restart(number).await;
    }

    /// Freezes a process for a while.
    pub(crate) async fn freeze(&mut self, number: usize, time: Duration) {
        let process = &self.members[number].process;
        process.freeze();
        tokio::time::sleep(time).await;
        process.thaw();
    }

    /// A metric, summed over the processes that live.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.members
            .iter()
            .map(|member| member.process.metric(name, None))
            .sum()
    }

    /// Gives a lane to another process. The one that has it may not be told: then it goes on until its
    /// commits fail.
    pub(crate) fn assign(&self, lane: usize, to: usize, is_told: bool) {
        let lane = self.logs[lane].lane.clone();
        let from = self.assignment.lock().expect("no panic").insert(lane.clone(), to);
        if let Some(from) = from.filter(|_| is_told) {
            // A process that has just ended needs not be told.
            drop(self.members[from].revoke.send(lane));
        }
    }

    /// Waits until every lane is done.
    pub(crate) async fn finish(&self) {
        let is_done = |log: &Log| {
            let end = Some(Position::offset(log.end));
            self.ledger.read(|stored| {
                stored
                    .fences
                    .get(&log.lane)
                    .is_some_and(|fence| fence.position == end)
            })
        };
        let done = async {
            while !self.logs.iter().all(is_done) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(300), done)
            .await
            .is_err()
        {
            let fences = self.ledger.read(|stored| format!("{:#?}", stored.fences));
            panic!("the lanes are not done after five minutes: {fences}");
        }
    }

    /// Stops everything.
    pub(crate) async fn stop(mut self) -> FakeLedger {
        for mut member in self.members.drain(..) {
            let ended = member.process.drain().await;
            assert!(matches!(ended, Ended::Drained), "{ended:?}");
            while let Some(ended) = member.source.join_next().await {
                ended.expect("no panic");
            }
        }
        self.ledger
    }
}
