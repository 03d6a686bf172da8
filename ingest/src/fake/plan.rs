//! What goes wrong with an attempt to commit.

use std::time::Duration;

use crate::lane::LaneId;
use crate::ledger::{Commit, Refusal};

/// What became of a commit of which its process does not learn the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was applied, and the acknowledgement was lost.
    Applied,
    /// It never arrived.
    NotApplied,
    /// It is on its way, and arrives right before the next attempt of any process, if its fences match then.
    Late,
}

/// As what an unknown outcome is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// As [`CommitError::Away`](crate::ledger::CommitError::Away).
    Away,
    /// As [`CommitError::Conflict`](crate::ledger::CommitError::Conflict).
    Conflict,
    /// As [`CommitError::Refused`](crate::ledger::CommitError::Refused).
    Refused,
}

/// What is wrong with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The outcome is not known to the process.
    Unknown(Fate, Told),
    /// Somebody else was in the way: nothing is written.
    Conflict,
    /// Time, cache or size: nothing is written.
    TooMuch,
    /// No server would take what follows from a record: nothing is written.
    BadRecord,
    /// A person must act: nothing is written.
    Refused(Refusal),
    /// Nobody answers: nothing is written.
    Away,
    /// Nobody ever answers: nothing is written.
    Hang,
}

/// What happens to one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// What is wrong with it. Applied only where its fences match, as in the database.
    pub fault: Option<Fault>,
    /// Lanes that another process takes right before it.
    pub steal_before: Vec<LaneId>,
    /// Lanes that another process takes right after it.
    pub steal_after: Vec<LaneId>,
    /// Time until it reaches the database.
    pub there: Duration,
    /// Time for which its transaction is open then, and keeps the fences.
    pub within: Duration,
    /// Time until the answer is back.
    pub back: Duration,
}

impl From<Fault> for Turn {
    fn from(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }
}

/// Decides what happens to each attempt.
pub struct Plan(Box<dyn FnMut(&Commit) -> Turn + Send>);

impl Plan {
    /// Asks this for every attempt.
    pub fn new(decide: impl FnMut(&Commit) -> Turn + Send + 'static) -> Self {
        Self(Box::new(decide))
    }

    /// These faults one after the other, then none.
    pub fn faults(faults: impl IntoIterator<Item = Fault, IntoIter: Send + 'static>) -> Self {
        let mut faults = faults.into_iter();
        Self::new(move |_| faults.next().map(Turn::from).unwrap_or_default())
    }

    /// What happens to this attempt.
    pub fn turn(&mut self, commit: &Commit) -> Turn {
        (self.0)(commit)
    }
}

impl Default for Plan {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self::new(|_| Turn::default())
    }
}
