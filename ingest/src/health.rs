//! What the worker knows of its own progress. Readiness follows it: a worker that reads nothing while its
//! source moves is not ready, however alive it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::lane::LaneId;
use crate::ledger::{FenceError, Refusal};
use crate::source::StopReason;

/// How long records may wait for their commit, or the source say nothing, before that counts as a stall.
pub const STALL_AFTER: Duration = Duration::from_secs(15);

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneHealth {
    /// Waiting to be acquired.
    Acquiring,
    /// Another process leads; we wait.
    Standby,
    /// Taking in what was there before the stream.
    Scanning,
    /// Reading.
    Running,
    /// Stopped until a person says how to go on.
    Stopped(StopReason),
}

impl LaneHealth {
    /// The values of the metrics' label, in the order of [`LaneHealth::state`].
    pub(crate) const STATES: [&'static str; 5] = ["acquiring", "standby", "scanning", "running", "stopped"];

    /// Which of [`LaneHealth::STATES`] it is in.
    const fn state(self) -> usize {
        match self {
            LaneHealth::Acquiring => 0,
            LaneHealth::Standby => 1,
            LaneHealth::Scanning => 2,
            LaneHealth::Running => 3,
            LaneHealth::Stopped(_) => 4,
        }
    }
}

/// What the worker asks of the source or of the ledger. Each has its troubles of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Concern {
    /// Reading the source.
    Source,
    /// Making a batch permanent.
    Commit,
    /// Acquiring lanes, and keeping them.
    Lanes,
    /// What is noted beside: the source's lanes, why one stopped, that one is free.
    Notes,
    /// Looking for dead letters that are to be judged again.
    DeadLetters,
}

/// Why something is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It passes by itself.
    Away,
    /// A person must act.
    Refused(Refusal),
}

impl From<&FenceError> for Trouble {
    fn from(error: &FenceError) -> Self {
        match error {
            FenceError::Away(_) => Trouble::Away,
            FenceError::Refused { reason, .. } => Trouble::Refused(*reason),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<LaneId, LaneHealth>,
    troubles: BTreeMap<Concern, Trouble>,
    waiting_since: Option<DateTime<Utc>>,
    heard_at: Option<DateTime<Utc>>,
    watermarks: BTreeMap<LaneId, Option<i64>>,
    joined: bool,
}

/// Shared between the loop, which writes it, and the admin port, which reads it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is a handful of plain values: a panic elsewhere cannot have left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lane(&self, lane: &LaneId, health: LaneHealth) {
        self.state().lanes.insert(lane.clone(), health);
    }

    /// The lane waits to be ours. A lane that stopped stays so until it reads again.
    pub(crate) fn waits(&self, lane: &LaneId, health: LaneHealth) {
        let mut state = self.state();
        if !matches!(state.lanes.get(lane), Some(LaneHealth::Stopped(_))) {
            state.lanes.insert(lane.clone(), health);
        }
    }

    pub(crate) fn lost(&self, lane: &LaneId) {
        let mut state = self.state();
        state.lanes.remove(lane);
        state.watermarks.remove(lane);
    }

    /// What is known of a lane, and nothing is forgotten by knowing less; `None`: it begins again.
    pub(crate) fn watermark(&self, lane: &LaneId, watermark_ms: Option<i64>) {
        let mut state = self.state();
        let known = state.watermarks.entry(lane.clone()).or_default();
        *known = watermark_ms.map(|watermark_ms| known.map_or(watermark_ms, |known| known.max(watermark_ms)));
    }

    /// What is in the way of this; `None`: nothing is, any more.
    pub(crate) fn trouble(&self, concern: Concern, trouble: Option<Trouble>) {
        let mut state = self.state();
        match trouble {
            Some(trouble) => drop(state.troubles.insert(concern, trouble)),
            None => drop(state.troubles.remove(&concern)),
        }
    }

    /// Since when records have been waiting for a commit; `None`: none is.
    pub(crate) fn waiting_since(&self, since: Option<DateTime<Utc>>) {
        self.state().waiting_since = since;
    }

    pub(crate) fn heard(&self, at: DateTime<Utc>) {
        self.state().heard_at = Some(at);
    }

    /// The source knows which lanes are its own, perhaps none.
    pub(crate) fn joined(&self) {
        self.state().joined = true;
    }

    /// Whether a lane is stopped for this reason already.
    pub(crate) fn is_stopped(&self, lane: &LaneId, reason: StopReason) -> bool {
        matches!(self.state().lanes.get(lane), Some(LaneHealth::Stopped(stopped)) if *stopped == reason)
    }

    /// The instant (ms) up to which everything is counted: the least over the lanes that this process
    /// owns, or `None` where it owns none or one of them does not know.
    #[must_use]
    pub fn data_as_of_ms(&self) -> Option<i64> {
        let state = self.state();
        state.watermarks.values().copied().min().flatten()
    }

    /// How many lanes are in each of [`LaneHealth::STATES`].
    pub(crate) fn lanes_by_state(&self) -> [i64; LaneHealth::STATES.len()] {
        let mut counts = [0; LaneHealth::STATES.len()];
        for lane in self.state().lanes.values() {
            counts[lane.state()] += 1;
        }
        counts
    }

    /// Whether this process waits for lanes that others have, and for nothing else.
    pub(crate) fn is_standby(&self) -> bool {
        let state = self.state();
        let waits = |lane: &LaneHealth| *lane == LaneHealth::Standby;
        !state.lanes.is_empty() && state.lanes.values().all(waits)
    }

    /// Why the worker is not ready; empty where it is.
    #[must_use]
    pub fn reasons(&self, now: DateTime<Utc>) -> BTreeSet<&'static str> {
        let state = self.state();
        let stall = TimeDelta::from_std(STALL_AFTER).unwrap_or(TimeDelta::MAX);
        let older = |since: Option<DateTime<Utc>>| since.is_some_and(|since| now - since > stall);
        let mut reasons = BTreeSet::new();
        for lane in state.lanes.values() {
            match lane {
                LaneHealth::Stopped(reason) => {
                    reasons.insert(reason.name());
                }
                LaneHealth::Acquiring => {
                    reasons.insert("starting");
                }
                LaneHealth::Standby | LaneHealth::Scanning | LaneHealth::Running => {}
            }
        }
        let reads = |lane: &LaneHealth| matches!(lane, LaneHealth::Running | LaneHealth::Scanning);
        if !state.joined {
            reasons.insert("starting");
        } else if older(state.heard_at) && state.lanes.values().any(reads) {
            reasons.insert("source_silent");
        }
        for trouble in &state.troubles {
            reasons.insert(match trouble {
                (Concern::Source, Trouble::Away) => "source_unreachable",
                (_, Trouble::Away) => "mongodb_unreachable",
                (_, Trouble::Refused(reason)) => reason.name(),
            });
        }
        if older(state.waiting_since) {
            reasons.insert("stalled");
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lesson D11: consumption stopped for 16 hours with both health endpoints green.
    #[test]
    fn d11_readiness_follows_progress() {
        let health = Health::default();
        let start: DateTime<Utc> = "2026-01-05T10:00:00Z".parse().expect("an instant");
        let reasons = |health: &Health, seconds: i64| -> Vec<_> {
            health
                .reasons(start + TimeDelta::seconds(seconds))
                .into_iter()
                .collect()
        };
        let lane = LaneId::change_stream("usage", "requestEvents");
        assert_eq!(reasons(&health, 0), ["starting"]);
        health.heard(start);
        assert_eq!(
            reasons(&health, 0),
            ["starting"],
            "whose lanes are whose is not known"
        );
        health.joined();
        assert_eq!(
            reasons(&health, 60),
            [""; 0],
            "there are fewer lanes than workers"
        );
        health.lane(&lane, LaneHealth::Running);
        assert_eq!(reasons(&health, 15), [""; 0]);
        assert_eq!(reasons(&health, 16), ["source_silent"]);
        health.heard(start + TimeDelta::seconds(16));
        health.waiting_since(Some(start));
        assert_eq!(reasons(&health, 16), ["stalled"]);
        health.waiting_since(None);
        health.lane(&lane, LaneHealth::Standby);
        assert_eq!(reasons(&health, 60), [""; 0], "a standby waits in silence");
        health.lane(&lane, LaneHealth::Stopped(StopReason::HistoryLost));
        health.trouble(Concern::Commit, Some(Trouble::Away));
        assert_eq!(reasons(&health, 16), ["history_lost", "mongodb_unreachable"]);
        health.trouble(Concern::Commit, Some(Trouble::Refused(Refusal::WriteRefused)));
        health.trouble(Concern::Source, Some(Trouble::Refused(Refusal::NotAuthorized)));
        let refused = ["history_lost", "not_authorized", "write_refused"];
        assert_eq!(reasons(&health, 16), refused, "each concern has its own");
        health.trouble(Concern::Commit, None);
        assert_eq!(reasons(&health, 16), ["history_lost", "not_authorized"]);
    }

    #[test]
    fn data_as_of_is_the_least_watermark_and_unknown_while_one_is() {
        let health = Health::default();
        assert_eq!(health.data_as_of_ms(), None);
        health.watermark(&LaneId::kafka("t", 0), Some(7));
        health.watermark(&LaneId::kafka("t", 1), Some(5));
        health.watermark(&LaneId::kafka("t", 1), Some(4));
        assert_eq!(health.data_as_of_ms(), Some(5));
        health.watermark(&LaneId::kafka("t", 2), None);
        assert_eq!(health.data_as_of_ms(), None);
    }
}
