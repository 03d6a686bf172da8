//! A fake ledger that keeps the port's promise: a commit is applied as a whole, at most once, and only
//! while every fence in it is where the commit expects it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use ingest::dedupe::{Generation, Windows};
use ingest::lane::{Fence, LaneId, LastRecord, Position};
use ingest::ledger::{Acquired, Commit, CommitError, DeadLetter, Doubt, FenceError, Ledger, Marked, Tally};
use ingest::source::{Stop, StopReason};
use rollup::counters::Counter;
use rollup::fold::Set;
use rollup::period::Granularity;
use tokio::sync::watch;

/// A lane as it is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) epoch: i64,
    pub(crate) seq: i64,
    pub(crate) next: Option<i64>,
    pub(crate) last: Option<LastRecord>,
    pub(crate) tally: Tally,
    pub(crate) watermark_ms: Option<i64>,
    pub(crate) stopped: Option<StopReason>,
    ids: Vec<Generation>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<LaneId, Stored>,
    topology: Vec<LaneId>,
    requests: BTreeMap<String, i128>,
    input_tokens: i128,
    letters: Vec<DeadLetter>,
    largest: usize,
}

/// The ledger. Clones are the same ledger.
#[derive(Debug, Clone)]
pub(crate) struct FakeLedger {
    state: Arc<Mutex<State>>,
    open: watch::Sender<bool>,
}

impl Default for FakeLedger {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            open: watch::Sender::new(true),
        }
    }
}

impl FakeLedger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds commits back, or lets them go on.
    pub(crate) fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    pub(crate) fn lane(&self, lane: &LaneId) -> Stored {
        self.state().lanes.get(lane).cloned().unwrap_or_default()
    }

    pub(crate) fn tally(&self) -> Tally {
        let state = self.state();
        state.lanes.values().fold(Tally::default(), |sum, lane| Tally {
            counted: sum.counted + lane.tally.counted,
            duplicate: sum.duplicate + lane.tally.duplicate,
            skipped: sum.skipped + lane.tally.skipped,
            dead_letter: sum.dead_letter + lane.tally.dead_letter,
        })
    }

    pub(crate) fn requests(&self) -> BTreeMap<String, i128> {
        self.state().requests.clone()
    }

    pub(crate) fn input_tokens(&self) -> i128 {
        self.state().input_tokens
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        self.state().letters.clone()
    }

    pub(crate) fn topology(&self) -> Vec<LaneId> {
        self.state().topology.clone()
    }

    /// The least watermark over the lanes of the source; `None` while one has none.
    pub(crate) fn data_as_of_ms(&self) -> Option<i64> {
        let state = self.state();
        let watermark = |lane: &LaneId| state.lanes.get(lane).and_then(|lane| lane.watermark_ms);
        state.topology.iter().map(watermark).min().flatten()
    }

    /// Takes a lane away from whoever has it, as another process would.
    pub(crate) fn steal(&self, lane: &LaneId) {
        self.state().lanes.entry(lane.clone()).or_default().epoch += 1;
    }

    /// Says where a lane goes on, as a person would.
    pub(crate) fn resume(&self, lane: &LaneId, position: Option<Position>) {
        let mut state = self.state();
        let stored = state.lanes.entry(lane.clone()).or_default();
        stored.epoch += 1;
        stored.last = None;
        stored.stopped = None;
        stored.next = position.map(|position| match position {
            Position::Offset(next) => next,
            Position::Stream { .. } => panic!("not a position in Kafka"),
        });
    }

    fn apply(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut state = self.state();
        let matches = |fence: &ingest::lane::FenceMove| {
            let stored = state.lanes.get(&fence.lane);
            stored.is_some_and(|stored| (stored.epoch, stored.seq) == (fence.epoch, fence.seq))
        };
        let moves = commit.moves();
        let lost: Vec<LaneId> = moves
            .iter()
            .filter(|fence| !matches(fence))
            .map(|fence| fence.lane.clone())
            .collect();
        if !lost.is_empty() {
            return Err(CommitError::Lost(lost));
        }
        for lane in &commit.lanes {
            let stored = state.lanes.entry(lane.fence.lane.clone()).or_default();
            stored.seq += 1;
            match lane.position {
                Some(Position::Offset(next)) => {
                    assert!(
                        stored.next.is_none_or(|before| before <= next),
                        "a position went back"
                    );
                    stored.next = Some(next);
                }
                None => {}
                Some(Position::Stream { .. }) => panic!("not a position in Kafka"),
            }
            stored.last = lane.last.or(stored.last);
            stored.watermark_ms = stored.watermark_ms.max(lane.watermark_ms);
            stored.stopped = None;
            stored.tally.counted += lane.tally.counted;
            stored.tally.duplicate += lane.tally.duplicate;
            stored.tally.skipped += lane.tally.skipped;
            stored.tally.dead_letter += lane.tally.dead_letter;
            if !lane.events.ids.ids.is_empty() {
                stored.ids.push(lane.events.ids.clone());
            }
            if let Some(horizon) = lane.events.forget_before_ms {
                stored.ids.retain(|ids| ids.newest_ms >= horizon);
            }
        }
        state
            .letters
            .extend(commit.lanes.iter().flat_map(|lane| lane.letters.iter().cloned()));
        let records: i64 = commit.lanes.iter().map(|lane| lane.tally.read()).sum();
        state.largest = state.largest.max(usize::try_from(records).expect("fits"));
        for row in commit.delta.rollups.values() {
            if row.set == Set::Organization && row.period.granularity() == Granularity::Daily {
                *state.requests.entry(row.organization.to_string()).or_default() +=
                    row.booked.sums[Counter::Requests];
                state.input_tokens += row.booked.sums[Counter::InputTokens];
            }
        }
        Ok(())
    }
}

impl Ledger for FakeLedger {
    fn alive(&self) {}

    fn let_go(&self, _: &LaneId) {}

    async fn acquire(&self, lane: &LaneId) -> Result<Acquired, FenceError> {
        let mut state = self.state();
        let stored = state.lanes.entry(lane.clone()).or_default();
        stored.epoch += 1;
        let fence = Fence {
            epoch: stored.epoch,
            seq: stored.seq,
            position: stored.next.map(Position::Offset),
            last: stored.last,
        };
        let windows = Windows {
            events: stored.ids.clone(),
            ..Windows::default()
        };
        Ok(Acquired::Granted((fence, windows)))
    }

    async fn release(&self, _: &LaneId, _: i64) -> Result<(), FenceError> {
        Ok(())
    }

    async fn leave(&self) -> Result<(), FenceError> {
        Ok(())
    }

    async fn stopped(
        &self,
        lane: &LaneId,
        epoch: i64,
        stop: &Stop,
        _: DateTime<Utc>,
    ) -> Result<(), FenceError> {
        let mut state = self.state();
        if let Some(stored) = state.lanes.get_mut(lane).filter(|stored| stored.epoch == epoch) {
            stored.stopped = Some(stop.reason);
        }
        Ok(())
    }

    async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        self.state().topology = lanes.to_vec();
        Ok(())
    }

    async fn marked(&self, _: &[LaneId], _: usize, _: usize) -> Result<Vec<Marked>, FenceError> {
        Ok(Vec::new())
    }

    async fn commit(&self, commit: &Commit, _: &mut Doubt) -> Result<(), CommitError> {
        let mut open = self.open.subscribe();
        if open.wait_for(|open| *open).await.is_err() {
            return Err(CommitError::Away("the test is over".into()));
        }
        self.apply(commit)
    }
}
