//! The fake ledger, for simulation and tests: what the database would do, and whatever can go wrong
//! with it.
//!
//! It gives the guarantee of [`Ledger`] to the letter: a commit is applied as a whole, at most once, and only
//! while every fence in it is where the commit expects it. What happens to each attempt besides is up to a
//! [`Plan`]. Several handles on the same ledger are several processes on the same database.

mod letters;
mod plan;
mod stored;
mod unique;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::lane::{LaneId, Position};
use crate::ledger::{Acquired, Commit, CommitError, Doubt, FenceError, Ledger, Marked};
use crate::source::Stop;

pub use letters::{LetterState, StoredLetter};
pub use plan::{Fate, Fault, Plan, Told, Turn};
pub use stored::{Stored, StoredFence};

/// One process's view of a fake ledger.
#[derive(Clone)]
pub struct FakeLedger {
    shared: Arc<Shared>,
    owner: Arc<str>,
}

struct Shared {
    stored: Mutex<Stored>,
    plan: Mutex<Plan>,
    /// Commits wait before they reach the database.
    held: watch::Sender<bool>,
    clock: Arc<dyn Clock>,
}

impl FakeLedger {
    /// An empty ledger in which nothing goes wrong. Leases run by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, owner: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                stored: Mutex::default(),
                plan: Mutex::new(Plan::default()),
                held: watch::Sender::new(false),
                clock,
            }),
            owner: owner.into(),
        }
    }

    /// The same ledger, as another process has it.
    #[must_use]
    pub fn of(&self, owner: &str) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: owner.into(),
        }
    }

    /// What happens to attempts from now on, of whichever process.
    pub fn set_plan(&self, plan: Plan) {
        *lock(&self.shared.plan) = plan;
    }

    /// The database is away from now on, or back again.
    pub fn set_away(&self, is_away: bool) {
        lock(&self.shared.stored).is_away = is_away;
    }

    /// Commits of every process wait from now on before they reach the database, or go on.
    pub fn hold(&self, hold: bool) {
        self.shared.held.send_replace(hold);
    }

    /// Says that every dead letter that waits is to be judged again.
    pub fn mark_letters(&self) {
        lock(&self.shared.stored).mark_letters();
    }

    /// Looks at what is stored.
    pub fn read<T>(&self, look: impl FnOnce(&Stored) -> T) -> T {
        look(&lock(&self.shared.stored))
    }

    /// Another process takes the lane: its epoch is raised, whoever has it.
    pub fn steal(&self, lane: &LaneId) {
        let now = self.shared.clock.now();
        lock(&self.shared.stored).steal(lane, now);
    }

    /// Says where a lane goes on, as a person would; `None`: at the beginning of the source.
    pub fn resume(&self, lane: &LaneId, position: Option<Position>) {
        let now = self.shared.clock.now();
        lock(&self.shared.stored).resume(lane, position, now);
    }

    fn stored(&self) -> Result<MutexGuard<'_, Stored>, FenceError> {
        let stored = lock(&self.shared.stored);
        if stored.is_away {
            Err(FenceError::Away("nobody answers".into()))
        } else {
            Ok(stored)
        }
    }
}

impl std::fmt::Debug for FakeLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeLedger")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// Every change of what is stored is one call that cannot panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to the database or back. Whoever gives up meanwhile does not learn what happened.
async fn travel(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}

impl Ledger for FakeLedger {
    async fn acquire(&self, lane: &LaneId, lease: Option<Duration>) -> Result<Acquired, FenceError> {
        travel(Duration::ZERO).await;
        let now = self.shared.clock.now();
        Ok(self.stored()?.acquire(lane, lease, &self.owner, now))
    }

    async fn renew(&self, lane: &LaneId, epoch: i64) -> Result<bool, FenceError> {
        travel(Duration::ZERO).await;
        let now = self.shared.clock.now();
        let renew = |fence: &mut StoredFence| fence.updated_at = now;
        Ok(self.stored()?.touch(lane, epoch, renew))
    }

    async fn release(&self, lane: &LaneId, epoch: i64) -> Result<(), FenceError> {
        travel(Duration::ZERO).await;
        let release = |fence: &mut StoredFence| {
            fence.owner = None;
            fence.updated_at = DateTime::UNIX_EPOCH;
        };
        self.stored()?.touch(lane, epoch, release);
        Ok(())
    }

    async fn stopped(
        &self,
        lane: &LaneId,
        epoch: i64,
        stop: &Stop,
        _at: DateTime<Utc>,
    ) -> Result<(), FenceError> {
        travel(Duration::ZERO).await;
        let stop = |fence: &mut StoredFence| fence.stopped = Some(stop.clone());
        self.stored()?.touch(lane, epoch, stop);
        Ok(())
    }

    async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        travel(Duration::ZERO).await;
        self.stored()?.topology = lanes.to_vec();
        Ok(())
    }

    async fn marked(
        &self,
        lanes: &[LaneId],
        max_letters: usize,
        _max_bytes: usize,
    ) -> Result<Vec<Marked>, FenceError> {
        travel(Duration::ZERO).await;
        let mut stored = self.stored()?;
        stored.looked_for_letters += 1;
        Ok(stored.marked(lanes, max_letters))
    }

    async fn commit(&self, commit: &Commit, doubt: &mut Doubt) -> Result<(), CommitError> {
        let turn = lock(&self.shared.plan).turn(commit);
        travel(turn.there).await;
        if turn.fault == Some(Fault::Hang) {
            std::future::pending::<()>().await;
        }
        // It cannot fail: the sender is in what is shared.
        drop(self.shared.held.subscribe().wait_for(|held| !held).await);
        let now = self.shared.clock.now();
        let outcome = lock(&self.shared.stored).attempt(commit, doubt, &turn, now);
        travel(turn.back).await;
        outcome
    }
}

#[cfg(test)]
mod tests;
