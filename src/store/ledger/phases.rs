//! Where the time of a commit goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A part of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Rows are put in order, and which of them are there is asked where that is worth it.
    Prepare,
    /// A session is taken, and the lease of the worker names it.
    Session,
    /// The fences move.
    Fences,
    /// Ids are made unique in the whole ledger.
    EventIds,
    /// Rows and rollups are written.
    Rows,
    /// Dead letters are kept and closed.
    Letters,
    /// The windows of ids are written.
    Journal,
    /// The server makes it permanent.
    Commit,
    /// What broke off is thrown away.
    Abort,
    /// What became of it is asked.
    Settle,
    /// Somebody else was in the way: a moment until the next attempt.
    Pause,
}

impl Phase {
    pub(super) const ALL: [Phase; 11] = [
        Phase::Prepare,
        Phase::Session,
        Phase::Fences,
        Phase::EventIds,
        Phase::Rows,
        Phase::Letters,
        Phase::Journal,
        Phase::Commit,
        Phase::Abort,
        Phase::Settle,
        Phase::Pause,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Session => "session",
            Phase::Fences => "fences",
            Phase::EventIds => "event_ids",
            Phase::Rows => "rows",
            Phase::Letters => "letters",
            Phase::Journal => "journal",
            Phase::Commit => "commit",
            Phase::Abort => "abort",
            Phase::Settle => "settle",
            Phase::Pause => "pause",
        }
    }
}

/// The time of each phase, so far.
pub(super) type Times = [Duration; Phase::ALL.len()];

/// A watch that always runs for one phase: so the phases add up to the whole. Clones are the same watch.
#[derive(Debug, Clone)]
pub(super) struct Stopwatch(Arc<Mutex<Laps>>);

impl Stopwatch {
    pub(super) fn start(phase: Phase) -> Self {
        Self(Arc::new(Mutex::new(Laps::start(phase, Instant::now()))))
    }

    fn laps(&self) -> MutexGuard<'_, Laps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on time is of this phase.
    pub(super) fn enter(&self, phase: Phase) {
        self.laps().enter(phase, Instant::now());
    }

    /// The times until now.
    pub(super) fn times(&self) -> Times {
        self.laps().times(Instant::now())
    }
}

/// The same, told what time it is.
#[derive(Debug)]
struct Laps {
    phase: Phase,
    since: Instant,
    times: Times,
}

impl Laps {
    fn start(phase: Phase, now: Instant) -> Self {
        Self {
            phase,
            since: now,
            times: Times::default(),
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.times[self.phase as usize] += now - self.since;
        (self.phase, self.since) = (phase, now);
    }

    fn times(&mut self, now: Instant) -> Times {
        self.enter(self.phase, now);
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_of_the_phase_that_was_entered_last_and_none_is_lost() {
        assert!(
            Phase::ALL
                .iter()
                .enumerate()
                .all(|(at, phase)| *phase as usize == at)
        );
        let second = Duration::from_secs(1);
        let began = Instant::now();
        let mut now = began;
        let mut laps = Laps::start(Phase::Prepare, began);
        for (phase, seconds) in [
            (Phase::Rows, 1),
            (Phase::Abort, 2),
            (Phase::Rows, 3),
            (Phase::Commit, 4),
        ] {
            now += second * seconds;
            laps.enter(phase, now);
        }
        now += second * 5;
        let times = laps.times(now);
        let phases = [Phase::Prepare, Phase::Rows, Phase::Abort, Phase::Commit];
        let seconds = phases.map(|phase| times[phase as usize].as_secs());
        assert_eq!(seconds, [1, 6, 3, 5]);
        assert_eq!(times.iter().sum::<Duration>(), now - began);
    }
}
