//! The fake ledger, for simulation and tests: what the database would do, and whatever can go wrong
//! with it.
//!
//! It gives the guarantee of [`Ledger`] to the letter: a commit is applied as a whole, at most once, and only
//! while every fence in it is where the commit expects it. What happens to each attempt besides is up to a
//! [`Plan`]. Several handles on the same ledger are several processes on the same database.

mod dead_letters;
mod leases;
mod plan;
mod stored;
mod unique;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollup::clock::Clock;
use rollup::fold::Grouping;
use tokio::sync::watch;

use crate::journal::Merge;
use crate::lane::{JournalId, LaneId, Position};
use crate::lease::{self, Life};
use crate::ledger::{Acquired, Applied, Attempt, Commit, CommitError, FenceError, Ledger, ReplayRequest};
use crate::source::Stop;

pub use dead_letters::{LetterState, Letters, StoredLetter};
pub use leases::StoredLease;
pub use plan::{Fate, Fault, Plan, Told, Turn};
pub use stored::{Stored, StoredFence};

/// One process's view of a fake ledger.
#[derive(Clone)]
pub struct FakeLedger {
    shared: Arc<Shared>,
    owner: Arc<str>,
    life: Life,
    /// The lanes whose leases this process renews.
    led: Arc<Mutex<BTreeSet<LaneId>>>,
}

struct Shared {
    stored: Mutex<Stored>,
    plan: Mutex<Plan>,
    /// Commits wait before they reach the database.
    held: watch::Sender<bool>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    are_led: bool,
}

impl FakeLedger {
    /// An empty ledger in which nothing goes wrong, of lanes that a source assigns. Leases run by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, owner: &str) -> Self {
        Self::with(clock, owner, Duration::from_secs(10), false)
    }

    /// The same, of lanes that are led under leases of this length.
    #[must_use]
    pub fn led(clock: Arc<dyn Clock>, owner: &str, lease: Duration) -> Self {
        Self::with(clock, owner, lease, true)
    }

    fn with(clock: Arc<dyn Clock>, owner: &str, lease: Duration, are_led: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                stored: Mutex::default(),
                plan: Mutex::new(Plan::default()),
                held: watch::Sender::new(false),
                clock,
                lease,
                are_led,
            }),
            owner: owner.into(),
            life: Life::begin(),
            led: Arc::default(),
        }
    }

    /// The same ledger, as another process has it.
    #[must_use]
    pub fn of(&self, owner: &str) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: owner.into(),
            life: Life::begin(),
            led: Arc::default(),
        }
    }

    /// Renews the leases of this process for as long as its loop shows life; never ends.
    pub async fn keep_leases(self) {
        loop {
            tokio::time::sleep(lease::renew_every(self.shared.lease)).await;
            if self.life.shows() {
                self.renew();
            }
        }
    }

    fn renew(&self) {
        let now = self.shared.clock.now();
        // Where the database is away leases run out.
        if let Ok(mut stored) = self.stored() {
            let led = lock(&self.led);
            stored.leases.renew(&self.owner, &led, self.shared.lease, now);
        }
    }

    /// What happens to attempts from now on, of whichever process.
    pub fn set_plan(&self, plan: Plan) {
        *lock(&self.shared.plan) = plan;
    }

    /// From now on events are booked to these rows, by whoever takes a lane: it is taken from everybody.
    pub fn book_to(&self, grouping: Grouping) {
        lock(&self.shared.stored).book_to(grouping);
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
        dead_letters::mark(&mut lock(&self.shared.stored).letters);
    }

    /// Looks at what is stored.
    pub fn read<T>(&self, look: impl FnOnce(&Stored) -> T) -> T {
        look(&lock(&self.shared.stored))
    }

    /// Another process takes the lane: its epoch is raised, whoever has it.
    pub fn steal(&self, lane: &LaneId) {
        lock(&self.shared.stored).steal(lane);
    }

    /// Says where a lane goes on, as a person would; `None`: at the beginning of the source.
    pub fn resume(&self, lane: &LaneId, position: Option<Position>) {
        lock(&self.shared.stored).resume(lane, position);
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
    fn alive(&self) {
        self.life.touch();
    }

    fn lost(&self, lane: &LaneId) {
        lock(&self.led).remove(lane);
    }

    async fn acquire(&self, lane: &LaneId) -> Result<Acquired, FenceError> {
        travel(Duration::ZERO).await;
        let (now, shared) = (self.shared.clock.now(), &self.shared);
        let lease = shared.are_led.then_some(shared.lease);
        let acquired = self.stored()?.acquire(lane, lease, &self.owner, now);
        if matches!(acquired, Acquired::Granted(_)) {
            lock(&self.led).insert(lane.clone());
        }
        Ok(acquired)
    }

    async fn release(&self, lane: &LaneId, epoch: i64) -> Result<(), FenceError> {
        travel(Duration::ZERO).await;
        let mut stored = self.stored()?;
        if stored.touch(lane, epoch, |fence| fence.owner = None) {
            stored.leases.follow(lane, &self.owner);
            self.lost(lane);
        }
        Ok(())
    }

    async fn leave(&self) -> Result<(), FenceError> {
        travel(Duration::ZERO).await;
        self.stored()?.leases.leave(&self.owner);
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

    async fn is_stopped(&self, lane: &LaneId) -> Result<bool, FenceError> {
        travel(Duration::ZERO).await;
        let stored = self.stored()?;
        Ok(stored
            .fences
            .get(lane)
            .is_some_and(|fence| fence.stopped.is_some()))
    }

    async fn mergeable(
        &self,
        lane: &LaneId,
        from: JournalId,
        newest: JournalId,
        _: DateTime<Utc>,
    ) -> Result<Option<Merge>, FenceError> {
        travel(Duration::ZERO).await;
        Ok(self.stored()?.mergeable(lane, from, newest))
    }

    async fn forget_journal(&self, lanes: &[LaneId], before: DateTime<Utc>) -> Result<u64, FenceError> {
        travel(Duration::ZERO).await;
        Ok(self.stored()?.forget_journal(lanes, before))
    }

    async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        travel(Duration::ZERO).await;
        self.stored()?.topology = lanes.to_vec();
        Ok(())
    }

    async fn replay_requests(
        &self,
        lanes: &[LaneId],
        max_letters: usize,
        _max_bytes: usize,
    ) -> Result<Vec<ReplayRequest>, FenceError> {
        travel(Duration::ZERO).await;
        let mut stored = self.stored()?;
        stored.looked_for_letters += 1;
        Ok(dead_letters::replay_requests(&stored.letters, lanes, max_letters))
    }

    async fn drop_payloads(&self, lanes: &[LaneId], before: DateTime<Utc>) -> Result<u64, FenceError> {
        travel(Duration::ZERO).await;
        let mut stored = self.stored()?;
        Ok(dead_letters::drop_payloads(&mut stored.letters, lanes, before))
    }

    async fn commit(
        &self,
        commit: &Commit,
        patience: Duration,
        attempt: &mut Attempt,
    ) -> Result<Applied, CommitError> {
        let turn = lock(&self.shared.plan).turn(commit);
        // Before a transaction begins everybody can see that its worker lives.
        self.renew();
        if turn.there + turn.within > patience && !attempt.is_in_doubt() {
            travel(patience).await;
            return Err(CommitError::TooMuch("the attempt was given up".into()));
        }
        travel(turn.there).await;
        if turn.fault == Some(Fault::Hang) {
            std::future::pending::<()>().await;
        }
        // It cannot fail: the sender is in what is shared.
        drop(self.shared.held.subscribe().wait_for(|held| !held).await);
        let was_ended = !turn.within.is_zero() && self.is_ended(commit, turn.within).await;
        let outcome = match was_ended {
            true => Err(CommitError::Conflict("the transaction was ended".into())),
            false => lock(&self.shared.stored).attempt(commit, attempt, &turn),
        };
        travel(turn.back).await;
        outcome.map(|()| Applied {
            took: turn.there + turn.within + turn.back,
        })
    }
}

impl FakeLedger {
    /// Keeps the transaction of a commit open for so long. Whether somebody ended it.
    async fn is_ended(&self, commit: &Commit, within: Duration) -> bool {
        let opened = {
            let mut stored = lock(&self.shared.stored);
            let now = self.shared.clock.now();
            // Where its fences do not match the attempt is over at once.
            stored
                .expects(commit)
                .then(|| stored.leases.open(&self.owner, commit, now))
        };
        let Some(opened) = opened else {
            return false;
        };
        travel(within).await;
        let now = self.shared.clock.now();
        !lock(&self.shared.stored).leases.close(opened, now)
    }
}

#[cfg(test)]
mod tests;
