//! What the ledger is asked beside commits: for lanes, for dead letters, and to note what became of lanes. The loop
//! waits for none of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::acquire::{Wanted, acquire, until_resumed};
use super::lanes::Asking;
use crate::health::{Concern, Health, Trouble};
use crate::hold::{HOLD, Reminder, while_away};
use crate::journal::Merge;
use crate::lane::{JournalId, LaneId};
use crate::ledger::{FenceError, Granted, Ledger, ReplayRequest};
use crate::source::{Grant, GrantId, Stop};

/// Dead letters that are judged again in one commit, at most, and their bytes.
const REPLAYS: usize = 1_000;
const REPLAY_BYTES: usize = 8 << 20;

/// What came back from the ledger.
pub(super) enum Answer {
    /// The ledger is no longer asked for a lane; `None`: the source wanted it no longer.
    Acquired {
        lane: LaneId,
        reply: oneshot::Sender<Grant>,
        unwanted: CancellationToken,
        granted: Option<Granted>,
    },
    /// The lanes of the source are stored.
    Topology,
    /// Dead letters that are to be judged again.
    ReplayRequests(Result<Vec<ReplayRequest>, FenceError>),
    /// Payloads of dead letters were dropped, so many.
    Dropped(Result<u64, FenceError>),
    /// Documents of the journal were deleted, so many.
    Forgotten(Result<u64, FenceError>),
    /// Documents of a lane's journal that are to become one.
    Mergeable(GrantId, Result<Option<Merge>, FenceError>),
    /// Something was noted of a lane.
    Noted,
}

/// See the module.
pub(super) struct Background<L> {
    ledger: Arc<L>,
    health: Health,
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl<L: Ledger> Background<L> {
    pub(super) fn new(ledger: Arc<L>, health: Health) -> Self {
        Self {
            ledger,
            health,
            asked: FuturesUnordered::new(),
        }
    }

    /// The next answer, if anything was asked.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.asked.next().await
    }

    /// Asks for a lane until it is ours. One that stopped here is not asked for before somebody has said how it goes on.
    pub(super) fn acquire(&self, lane: LaneId, mut reply: oneshot::Sender<Grant>, asking: Asking) {
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        let Asking { unwanted, noted } = asking;
        self.asked.push(Box::pin(async move {
            let mut wanted = Wanted {
                reply: &mut reply,
                unwanted: &unwanted,
            };
            if let Some(noted) = noted {
                until_resumed(ledger.as_ref(), &lane, &health, &mut wanted, noted).await;
            }
            let granted = acquire(ledger.as_ref(), &lane, &health, wanted).await;
            Answer::Acquired {
                lane,
                reply,
                unwanted,
                granted,
            }
        }));
    }

    /// Gives a lane back that was granted in vain.
    pub(super) fn give_back(&self, lane: LaneId, epoch: i64) {
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        self.asked.push(Box::pin(async move {
            until_back(&health, || ledger.release(&lane, epoch)).await;
            Answer::Noted
        }));
    }

    /// Stores that a lane stopped, and why; cancels `noted` when that is done.
    pub(super) fn note_stop(
        &self,
        lane: LaneId,
        epoch: i64,
        stop: Stop,
        at: DateTime<Utc>,
        noted: CancellationToken,
    ) {
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        self.asked.push(Box::pin(async move {
            until_back(&health, || ledger.stopped(&lane, epoch, &stop, at)).await;
            noted.cancel();
            Answer::Noted
        }));
    }

    /// Stores which lanes the source has.
    pub(super) fn store_topology(&self, lanes: Vec<LaneId>) {
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        self.asked.push(Box::pin(async move {
            until_back(&health, || ledger.topology(&lanes)).await;
            Answer::Topology
        }));
    }

    /// Asks for dead letters of these lanes that are to be judged again.
    pub(super) fn look_for_replays(&self, lanes: Vec<LaneId>) {
        let ledger = Arc::clone(&self.ledger);
        self.asked.push(Box::pin(async move {
            Answer::ReplayRequests(ledger.replay_requests(&lanes, REPLAYS, REPLAY_BYTES).await)
        }));
    }

    /// Deletes documents of the journal of these lanes that are older than `before`.
    pub(super) fn forget_journal(&self, lanes: Vec<LaneId>, before: DateTime<Utc>) {
        let ledger = Arc::clone(&self.ledger);
        self.asked.push(Box::pin(async move {
            Answer::Forgotten(ledger.forget_journal(&lanes, before).await)
        }));
    }

    /// Looks for documents of a lane's journal that are to become one.
    pub(super) fn look_for_merge(
        &self,
        key: GrantId,
        lane: LaneId,
        between: (JournalId, JournalId),
        now: DateTime<Utc>,
    ) {
        let ledger = Arc::clone(&self.ledger);
        let (from, newest) = between;
        self.asked.push(Box::pin(async move {
            Answer::Mergeable(key, ledger.mergeable(&lane, from, newest, now).await)
        }));
    }

    /// Drops payloads of dead letters of these lanes that are older than `before`.
    pub(super) fn drop_payloads(&self, lanes: Vec<LaneId>, before: DateTime<Utc>) {
        let ledger = Arc::clone(&self.ledger);
        self.asked.push(Box::pin(async move {
            Answer::Dropped(ledger.drop_payloads(&lanes, before).await)
        }));
    }
}

/// Tries again for as long as it takes.
async fn until_back<F>(health: &Health, mut ask: impl FnMut() -> F)
where
    F: Future<Output = Result<(), FenceError>>,
{
    let (mut waited, mut reminder) = (while_away(), Reminder::default());
    loop {
        let Err(error) = ask().await else { break };
        health.trouble(Concern::Notes, Some(Trouble::from(&error)));
        let pause = match error {
            FenceError::Away(_) => waited.next().unwrap_or(HOLD),
            FenceError::Refused { reason, why } => {
                reminder.refused("what is noted of lanes cannot be written", reason, &why);
                HOLD
            }
        };
        tokio::time::sleep(pause).await;
    }
    health.trouble(Concern::Notes, None);
}
