//! The partitions that the group has assigned to this member, each on its way to being read.
//!
//! ```text
//! Resting ─▶ Asking ─▶ Placing ─▶ Reading ─▶ Stopped
//!    ▲         │          │          │           │
//!    └─────────┴──────────┴──────────┴───────────┘   lost, or let go of: asked for again after a while
//! ```

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::oneshot;

use super::track::{Done, Track};
use crate::source::Grant;

/// How long until a lane that stopped is asked for again. It is given when somebody has said how it goes on.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// For how long a partition that has more may give nothing.
const STILL: Duration = Duration::from_secs(15);
/// librdkafka needs a moment between letting go of a partition and taking it again.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// Where a lane stands.
#[derive(Debug)]
pub(super) enum State {
    /// Not asked for before this instant.
    Resting(Instant),
    /// The loop was asked for it.
    Asking(oneshot::Receiver<Grant>),
    /// It is ours; the bounds of the partition are asked for, not before this instant.
    Placing {
        grant: Grant,
        done: Done,
        ask_at: Option<Instant>,
    },
    /// It is being read.
    Reading(Grant, Track),
    /// It cannot go on; the loop still has what was read.
    Stopped(Grant),
}

/// A partition that the group has assigned.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: State,
    pauses: ExponentialBackoff,
    /// How far it was read, and since when no further.
    stalled: (i64, Instant),
}

impl Lane {
    /// A lane to be asked for at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Resting(now),
            pauses: pauses(),
            stalled: (-1, now),
        }
    }

    /// The lane was lost: it is asked for again, later each time.
    pub(super) fn rest(&mut self, now: Instant) {
        self.state = State::Resting(now + self.pauses.next().unwrap_or(LOOK_AGAIN));
    }

    /// Something was committed for the lane: it is ours beyond doubt.
    pub(super) fn is_ours(&mut self) {
        self.pauses = pauses();
    }

    /// The grant and the track of a lane that is being read.
    pub(super) const fn reading(&mut self) -> Option<(&mut Grant, &mut Track)> {
        match &mut self.state {
            State::Reading(grant, track) => Some((grant, track)),
            _ => None,
        }
    }

    /// Whether the lane is being read.
    pub(super) const fn is_read(&self) -> bool {
        matches!(self.state, State::Reading(..))
    }

    /// The lane cannot go on. Its grant is kept until the loop has let go of it.
    pub(super) fn halt(&mut self) {
        self.change(|state| match state {
            State::Reading(grant, _) | State::Placing { grant, .. } => State::Stopped(grant),
            other => other,
        });
    }

    /// Notes how far the lane is read. Whether it has stood still for long although there is more.
    pub(super) fn is_stalled(&mut self, next: i64, end: i64, now: Instant) -> bool {
        if self.stalled.0 != next || next >= end {
            self.stalled = (next, now);
        }
        now.duration_since(self.stalled.1) >= STILL
    }

    /// The lane is begun again where it is, under the same grant, after a while. Whether it has stood still for
    /// long.
    pub(super) fn begin_again(&mut self, now: Instant) -> bool {
        let State::Reading(_, track) = &self.state else {
            return false;
        };
        let next = track.next();
        let ask_at = now + self.pauses.next().unwrap_or(LOOK_AGAIN);
        self.change(|state| match state {
            State::Reading(grant, track) => State::Placing {
                grant,
                done: track.done(),
                ask_at: Some(ask_at),
            },
            other => other,
        });
        self.is_stalled(next, i64::MAX, now)
    }

    /// What a lane that is placed is to be begun with. It is being read from then on.
    pub(super) fn begin(&mut self, track: Track) {
        self.change(|state| match state {
            State::Placing { grant, .. } => State::Reading(grant, track),
            other => other,
        });
    }

    fn change(&mut self, change: impl FnOnce(State) -> State) {
        let state = std::mem::replace(&mut self.state, State::Resting(Instant::now()));
        self.state = change(state);
    }

    /// Whether the loop still has the lane.
    pub(super) fn is_held(&self) -> bool {
        match &self.state {
            State::Resting(_) | State::Asking(_) => false,
            State::Placing { grant, .. } | State::Reading(grant, _) | State::Stopped(grant) => {
                // The other end is dropped with the lane.
                grant.committed.has_changed().is_ok()
            }
        }
    }
}

/// At least [`SETTLE`]. Two members that both believe the lane to be theirs take it from each other less and
/// less often, until one of them hears from the group.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(SETTLE)
        .with_max_delay(Duration::from_secs(15))
        .with_jitter()
        .without_max_times()
        .build()
}
