//! One partition that the group has assigned to this member, on its way to being read.
//!
//! ```text
//! Resting ─▶ Asking ─▶ Placing ─▶ Reading ─▶ Stopped
//!    ▲         │          │          │           │
//!    └─────────┴──────────┴──────────┴───────────┘   lost, or let go of: asked for again after a while
//! ```

use std::time::{Duration, Instant};

use backon::ExponentialBackoff;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::track::{Bounds, Done, Track};
use crate::hold;
use crate::source::{Grant, Stop};

/// How long until a lane that stopped is asked for again. It is given when somebody has said how it goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// For how long a partition that has more may give nothing.
const STILL: Duration = Duration::from_secs(15);
/// librdkafka needs a moment between letting go of a partition and taking it again.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// Where a lane stands.
#[derive(Debug)]
enum State {
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

/// What a lane needs done outside of itself.
#[derive(Debug)]
pub(super) enum Step {
    /// The loop is to be asked for it; the answer goes here.
    Ask(oneshot::Sender<Grant>),
    /// The bounds of its partition are to be asked for.
    Place,
    /// It is ours no longer: its partition is not to be read any more.
    Unread,
}

/// A partition that the group has assigned.
#[derive(Debug)]
pub(super) struct Lane {
    state: State,
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

    /// Moves the lane on; what that needs done elsewhere.
    pub(super) fn step(&mut self, now: Instant) -> Result<Option<Step>, String> {
        match &mut self.state {
            State::Resting(until) if *until <= now => {
                let (reply, granted) = oneshot::channel();
                self.state = State::Asking(granted);
                return Ok(Some(Step::Ask(reply)));
            }
            State::Resting(_) => {}
            State::Asking(granted) => match granted.try_recv() {
                Ok(grant) => {
                    let done = Done::of(&grant.fence)?;
                    let ask_at = Some(now);
                    self.state = State::Placing { grant, done, ask_at };
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => self.rest(now),
            },
            State::Placing { grant, .. } if grant.lost.is_cancelled() => self.rest(now),
            State::Placing { ask_at, .. } => {
                if ask_at.is_some_and(|at| at <= now) {
                    *ask_at = None;
                    return Ok(Some(Step::Place));
                }
            }
            State::Reading(grant, _) if grant.lost.is_cancelled() => {
                self.rest(now);
                return Ok(Some(Step::Unread));
            }
            State::Reading(..) => {}
            State::Stopped(grant) if grant.lost.is_cancelled() => {
                self.state = State::Resting(now + LOOK_AGAIN);
            }
            State::Stopped(_) => {}
        }
        Ok(None)
    }

    /// The bounds of its partition are known. How and where to begin, where the lane waits for that.
    pub(super) fn place(&self, bounds: Bounds) -> Option<Result<(Track, i64), Box<Stop>>> {
        match &self.state {
            State::Placing {
                grant,
                done,
                ask_at: None,
            } if !grant.lost.is_cancelled() => Some(Track::begin(*done, bounds)),
            _ => None,
        }
    }

    /// It cannot be begun yet: the bounds are asked for again.
    pub(super) fn place_later(&mut self, now: Instant) {
        if let State::Placing { ask_at, .. } = &mut self.state {
            *ask_at = Some(now + SETTLE);
        }
    }

    /// The lane was lost: it is asked for again, later each time.
    fn rest(&mut self, now: Instant) {
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
    hold::pauses(SETTLE, Duration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::lane::{Fence, Position};
    use crate::source::GrantId;

    /// A grant at this position, how it is lost, and the end by which the loop holds it.
    fn grant(position: Position) -> (Grant, CancellationToken, watch::Sender<Option<Position>>) {
        let lost = CancellationToken::new();
        let (held, committed) = watch::channel(None);
        let fence = Fence {
            epoch: 1,
            seq: 0,
            position: Some(position),
            last: None,
            generation: 0,
            journal: None,
            merged_up_to: crate::lane::JournalId::default(),
            tally: crate::outcome::Tally::default(),
            ends_accepted_until: None,
        };
        let grant = Grant {
            key: GrantId(1),
            fence,
            lost: lost.clone(),
            committed,
        };
        (grant, lost, held)
    }

    fn asked(lane: &mut Lane, now: Instant) -> oneshot::Sender<Grant> {
        match lane.step(now) {
            Ok(Some(Step::Ask(reply))) => reply,
            other => panic!("expected that it is asked for, got {other:?}"),
        }
    }

    const BOUNDS: Bounds = Bounds { low: 0, high: 9 };

    #[test]
    fn a_lane_goes_from_asked_to_read_and_is_asked_for_again_when_it_was_lost() {
        let start = Instant::now();
        let mut lane = Lane::new(start);
        let reply = asked(&mut lane, start);
        assert!(
            lane.step(start).is_ok_and(|step| step.is_none()),
            "nobody answered"
        );
        let (grant, lost, held) = grant(Position::offset(5));
        reply.send(grant).expect("it is waited for");
        assert!(lane.step(start).is_ok_and(|step| step.is_none()));
        assert!(lane.place(BOUNDS).is_none(), "the bounds were not asked for yet");
        assert!(matches!(lane.step(start), Ok(Some(Step::Place))));
        lane.place_later(start);
        assert!(lane.place(BOUNDS).is_none(), "they are asked for again");
        assert!(lane.step(start).is_ok_and(|step| step.is_none()));
        assert!(matches!(lane.step(start + SETTLE), Ok(Some(Step::Place))));
        let (track, offset) = lane.place(BOUNDS).expect("it waits").expect("nothing is lost");
        assert_eq!(offset, 5);
        lane.begin(track);
        assert!(lane.is_read() && lane.is_held());
        lost.cancel();
        assert!(matches!(lane.step(start), Ok(Some(Step::Unread))));
        assert!(lane.step(start).is_ok_and(|step| step.is_none()), "not at once");
        drop(held);
        asked(&mut lane, start + LOOK_AGAIN * 2);
    }

    #[test]
    fn a_lane_that_stopped_is_held_until_the_loop_lets_go_and_asked_for_later() {
        let start = Instant::now();
        let mut lane = Lane::new(start);
        let (grant, lost, held) = grant(Position::offset(5));
        asked(&mut lane, start).send(grant).expect("it is waited for");
        assert!(lane.step(start).is_ok_and(|step| step.is_none()));
        lane.halt();
        assert!(lane.is_held() && !lane.is_read());
        assert!(lane.step(start + LOOK_AGAIN * 9).is_ok_and(|step| step.is_none()));
        drop(held);
        assert!(!lane.is_held());
        lost.cancel();
        assert!(lane.step(start).is_ok_and(|step| step.is_none()));
        asked(&mut lane, start + LOOK_AGAIN);
    }
}
