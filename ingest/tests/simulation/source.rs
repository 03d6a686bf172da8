//! A scripted source: it sends the records of its lanes in random pieces, as the protocol of
//! [`ingest::source`] says, and knows no more than a real one would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::lane::{LaneId, Position};
use ingest::source::{Closed, Grant, Record, SourceEvent, Voice};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};

use crate::logs::Log;

/// To which process each lane is assigned. Whichever is not there every process wants.
pub(crate) type Assignment = Arc<Mutex<BTreeMap<LaneId, usize>>>;

/// The source of one process.
pub(crate) struct Source {
    pub(crate) process: usize,
    pub(crate) logs: Arc<Vec<Log>>,
    pub(crate) assignment: Assignment,
    /// Lanes that this source is told it no longer has.
    pub(crate) revoked: mpsc::UnboundedReceiver<LaneId>,
    pub(crate) voice: Voice,
    /// Records in one signal, at most.
    pub(crate) chunk: usize,
    pub(crate) seed: u64,
}

enum Assigned {
    Asked(oneshot::Receiver<Grant>),
    Granted { grant: Grant, next: usize },
}

struct State {
    source: Source,
    rng: StdRng,
    held: BTreeMap<usize, Assigned>,
    /// Records under grants that are over, still on their way.
    stale: Vec<Record>,
}

impl Source {
    /// Speaks until nobody listens.
    pub(crate) async fn run(self) {
        let mut state = State {
            rng: StdRng::seed_from_u64(self.seed),
            source: self,
            held: BTreeMap::new(),
            stale: Vec::new(),
        };
        let lanes = state.source.logs.iter().map(|log| log.lane.clone()).collect();
        let mut spoke = state.send(SourceEvent::Topology(lanes)).await;
        while spoke.is_ok() && !state.source.voice.is_closed() {
            let pause = Duration::from_millis(state.rng.random_range(0..60));
            tokio::time::sleep(pause).await;
            spoke = state.step().await;
        }
    }
}

impl State {
    async fn send(&self, signal: SourceEvent) -> Result<(), Closed> {
        self.source.voice.send(signal).await
    }

    async fn step(&mut self) -> Result<(), Closed> {
        while let Ok(lane) = self.source.revoked.try_recv() {
            self.give_up(&lane).await?;
        }
        self.find_out().await?;
        if !self.stale.is_empty() && self.rng.random_bool(0.3) {
            let stale = std::mem::take(&mut self.stale);
            self.send(SourceEvent::Records(stale)).await?;
        }
        let records = self.read();
        if records.is_empty() {
            self.idle().await
        } else {
            self.send(SourceEvent::Records(records)).await
        }
    }

    /// A rebalance takes a lane away: the loop is told, and sometimes waited for.
    async fn give_up(&mut self, lane: &LaneId) -> Result<(), Closed> {
        let Some(at) = self.source.logs.iter().position(|log| log.lane == *lane) else {
            return Ok(());
        };
        self.leave_stale(at);
        // Dropped before or after the loop is told.
        let held = self.held.remove(&at);
        if self.rng.random_bool(0.5) {
            drop(held);
        }
        let done = self.source.voice.revoke(vec![lane.clone()]);
        if self.rng.random_bool(0.5) {
            done.await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Asks for lanes that are ours, again for those that were lost, and takes what is granted.
    async fn find_out(&mut self) -> Result<(), Closed> {
        for at in 0..self.source.logs.len() {
            let lane = self.source.logs[at].lane.clone();
            let is_ours = {
                let assignment = self.source.assignment.lock().expect("no panic");
                assignment
                    .get(&lane)
                    .is_none_or(|process| *process == self.source.process)
            };
            match self.held.get_mut(&at) {
                Some(Assigned::Granted { grant, .. }) if grant.lost.is_cancelled() => {
                    self.leave_stale(at);
                    self.held.remove(&at);
                }
                Some(Assigned::Granted { .. }) => {}
                Some(Assigned::Asked(granted)) => match granted.try_recv() {
                    Ok(grant) => {
                        let next = self.source.logs[at].from(grant.fence.position.as_ref());
                        self.held.insert(at, Assigned::Granted { grant, next });
                    }
                    Err(oneshot::error::TryRecvError::Empty) => {}
                    Err(oneshot::error::TryRecvError::Closed) => return Err(Closed),
                },
                None if is_ours => {
                    let (reply, granted) = oneshot::channel();
                    self.held.insert(at, Assigned::Asked(granted));
                    self.send(SourceEvent::Assigned { lane, reply }).await?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn leave_stale(&mut self, at: usize) {
        if let Some(Assigned::Granted { grant, next }) = self.held.get(&at) {
            let rest = &self.source.logs[at].items[*next..];
            self.stale
                .extend(rest.iter().take(3).map(|item| item.record(grant.key)));
        }
    }

    /// Records of a random number of lanes, mixed.
    fn read(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let most = self.rng.random_range(1..=self.source.chunk);
        for (at, held) in &mut self.held {
            let Assigned::Granted { grant, next } = held else {
                continue;
            };
            let rest = &self.source.logs[*at].items[*next..];
            let take = self.rng.random_range(0..=most).min(rest.len());
            *next += take;
            records.extend(rest[..take].iter().map(|item| item.record(grant.key)));
        }
        records
    }

    /// Says so of the lanes of which everything was sent.
    async fn idle(&mut self) -> Result<(), Closed> {
        let mut idle = Vec::new();
        for (at, held) in &self.held {
            let log = &self.source.logs[*at];
            if let Assigned::Granted { grant, next } = held
                && *next == log.items.len()
            {
                idle.push(SourceEvent::Idle {
                    lane: grant.key,
                    next: Position::offset(log.end),
                    as_of_ms: log.items.last().map(|item| item.source_time_ms),
                });
            }
        }
        for signal in idle {
            self.send(signal).await?;
        }
        Ok(())
    }
}
