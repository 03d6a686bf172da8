//! A source that is moved by manual: what it sends and when is written down in the test.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ingest::fake::FakeLedger;
use ingest::lane::{LaneId, Position};
use ingest::pump::Settings;
use ingest::source::{Grant, Record, SourceEvent};
use rollup::clock::Clock;
use tokio::sync::oneshot;

use crate::logs::{Log, Usage};
use crate::world::{self, Ended, Process, VirtualClock};

pub(crate) struct ManualSource {
    pub(crate) process: Process,
    pub(crate) ledger: FakeLedger,
    pub(crate) clock: Arc<VirtualClock>,
}

impl ManualSource {
    /// Signals that fit into the channel.
    pub(crate) const CHANNEL: usize = 16;

    pub(crate) fn start(settings: Settings) -> Self {
        let clock = VirtualClock::start();
        let ledger = world::ledger(&clock);
        Self::on(ledger, clock, settings)
    }

    /// The same, of lanes that are led under leases of this length.
    pub(crate) fn led(lease: Duration, settings: Settings) -> Self {
        let clock = VirtualClock::start();
        let ledger = FakeLedger::led(Arc::<VirtualClock>::clone(&clock), "us", lease);
        Self::on(ledger, clock, settings)
    }

    fn on(ledger: FakeLedger, clock: Arc<VirtualClock>, settings: Settings) -> Self {
        let process = Process::start(ledger.clone(), &clock, settings, Self::CHANNEL);
        Self {
            process,
            ledger,
            clock,
        }
    }

    pub(crate) async fn send(&self, signal: SourceEvent) {
        let sent = self.process.voice.send(signal).await;
        assert!(sent.is_ok(), "the loop has ended");
    }

    /// Asks for a lane.
    pub(crate) async fn ask(&self, lane: &LaneId) -> oneshot::Receiver<Grant> {
        let (reply, granted) = oneshot::channel();
        self.send(SourceEvent::Assigned {
            lane: lane.clone(),
            reply,
        })
        .await;
        granted
    }

    pub(crate) async fn grant(&self, lane: &LaneId) -> Grant {
        soon(self.ask(lane).await).await.expect("granted")
    }

    pub(crate) async fn revoke(&self, lane: &LaneId) {
        let done = self.process.voice.revoke(vec![lane.clone()]);
        soon(done).await.expect("answered");
    }

    /// Sends records of a lane, all in one signal.
    pub(crate) async fn records(&self, grant: &Grant, log: &Log, range: std::ops::Range<usize>) {
        let records: Vec<Record> = log.items[range]
            .iter()
            .map(|item| item.record(grant.key))
            .collect();
        self.send(SourceEvent::Records(records)).await;
    }

    pub(crate) async fn idle(&self, grant: &Grant, next: i64, as_of_ms: Option<i64>) {
        let (lane, next) = (grant.key, Position::offset(next));
        self.send(SourceEvent::Idle { lane, next, as_of_ms }).await;
    }

    pub(crate) async fn drain(&mut self) {
        let ended = self.process.drain().await;
        assert!(matches!(ended, Ended::Drained), "{ended:?}");
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn health_as_of(&self) -> Option<i64> {
        self.process.health.data_as_of_ms()
    }

    /// The stored position of a lane.
    pub(crate) fn position(&self, lane: &LaneId) -> Option<i64> {
        self.ledger
            .read(|stored| match stored.fences.get(lane)?.position {
                Some(Position::Offset { next, .. }) => Some(next),
                _ => None,
            })
    }
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("within a minute")
}

/// Waits until a lane is committed up to an offset.
pub(crate) async fn committed(grant: &Grant, next: i64) {
    let mut committed = grant.committed.clone();
    let is_there = |position: &Option<Position>| *position == Some(Position::offset(next));
    let found = soon(committed.wait_for(is_there)).await;
    assert!(found.is_ok(), "the lane was lost before {next} was committed");
}

/// Plain events of one organization, with ids that begin with a name.
pub(crate) fn usages(name: &str, count: usize) -> Vec<Usage> {
    (0..count)
        .map(|at| Usage::plain(&format!("{name}{at}"), "acme", 1))
        .collect()
}
