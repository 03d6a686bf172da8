//! How commits begin: what goes into one, how large it may be, and for how long it is tried.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::group::{Group, Lane, WindowLimits};
use super::{Attempted, InFlight, OpenBatch, Pump};
use crate::batch::LaneBatch;
use crate::clock::Clock;
use crate::dedupe::{Forget, Scope};
use crate::lane::ContentId;
use crate::ledger::{Attempt, Commit, CommitError, Ledger};
use crate::source::GrantId;

/// Statements by which a batch may be larger than the limit without being cut.
const OVERSHOOT: usize = 64;
/// An attempt is given up after so many times the target of a commit.
const TARGETS: u32 = 10;
/// The same for a small target.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause between two attempts while everything is to be committed: there is little time for that.
const HURRIED: Duration = Duration::from_secs(1);
/// Longer than any server keeps a transaction.
const MOST_PATIENCE: Duration = Duration::from_secs(3600);

/// Names each content that is committed, so that the fence tells which was: random, since other processes do it too.
#[derive(Debug, Default)]
pub(super) struct ContentIds {
    random: RandomState,
    made: u64,
}

impl ContentIds {
    fn next(&mut self) -> ContentId {
        self.made += 1;
        ContentId(self.random.hash_one(self.made).cast_signed())
    }
}

impl<L: Ledger, C: Clock> Pump<L, C> {
    /// Starts a commit, if none is on its way and one is due. Whether it did.
    pub(super) fn start_commit(&mut self, draining: bool) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        let group = loop {
            let is_due = self
                .due()
                .is_some_and(|due| draining || self.is_full() || due <= Instant::now());
            if !is_due {
                return false;
            }
            let mut group = self.queue.pop_front().unwrap_or_else(|| self.close());
            group.retain(&self.lanes);
            // Empty where all its lanes were lost while it was on its way: there may be more behind it.
            if !group.lanes.is_empty() {
                break self.cut_to_fit(group);
            }
        };
        let group = match self.settings.policy.scope {
            Scope::Lane => group,
            Scope::Ledger => {
                let (group, apart) = group.separate();
                if let Some(apart) = apart {
                    self.queue.push_front(apart);
                }
                group
            }
        };
        let commit = group.commit(&self.lanes, self.window(), self.contents.next(), self.clock.now());
        self.attempt(group, commit, Attempt::Fresh);
        true
    }

    /// The first part of a group that was folded when a transaction could be larger; the rest waits.
    fn cut_to_fit(&mut self, mut group: Group) -> Group {
        // One step of folding may overshoot a limit: that is no reason to cut.
        let most = self.limit.statements() / 2 * 3 + OVERSHOOT;
        while group.statements() > most {
            match group.split(&self.settings.policy) {
                Ok((first, rest)) => {
                    self.queue.push_front(rest);
                    group = first;
                }
                Err(whole) => return whole,
            }
        }
        group
    }

    /// How long an attempt may run before it is given up: what is cut in two then is tried with half as much, and what
    /// cannot be cut for twice as long.
    fn patience(&self) -> Duration {
        let patience = (self.settings.limits.commit_target * TARGETS).max(LEAST_PATIENCE);
        patience
            .saturating_mul(1 << self.extensions.min(16))
            .min(MOST_PATIENCE)
    }

    pub(super) fn window(&self) -> WindowLimits {
        let scope = self.settings.policy.scope;
        // Where one record is too much, what it would forget may be the reason. That can wait.
        let forget = (self.extensions == 0).then(|| Forget::within(self.limit.statements(), scope));
        WindowLimits {
            forget,
            length_ms: self.settings.policy.window_ms(),
            max_ids: self.settings.max_ids,
            scope,
        }
    }

    /// Takes what the lanes have folded.
    fn close(&mut self) -> Group {
        self.open = OpenBatch::default();
        let grouping = &self.settings.policy.grouping;
        let ready = self.lanes.iter_mut().filter(|(_, lane)| !lane.current.is_empty());
        let take = |(key, lane): (&GrantId, &mut Lane)| {
            (
                *key,
                std::mem::replace(&mut lane.current, LaneBatch::new(grouping)),
            )
        };
        Group {
            lanes: ready.map(take).collect(),
        }
    }

    pub(super) fn attempt(&mut self, group: Group, commit: Commit, mut attempt: Attempt) {
        self.launched = Instant::now();
        let ledger = Arc::clone(&self.ledger);
        let delay = std::mem::take(&mut self.delay);
        let (lanes, records, has_replays) = (group.keys().collect(), group.records(), group.has_replays());
        let patience = self.patience();
        let drains = self.drains.clone();
        let hurried = async move {
            drains.cancelled().await;
            tokio::time::sleep(delay.min(HURRIED)).await;
        };
        let attempt = Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = hurried => {}
            }
            let started = Instant::now();
            // A sum beyond 64 bits never gets as far as the database, and nothing is in doubt then.
            let result = match commit.delta.check() {
                Ok(()) => ledger.commit(&commit, patience, &mut attempt).await,
                Err(_) => Err(CommitError::Overflow),
            };
            Attempted {
                group,
                commit,
                attempt,
                result,
                took: started.elapsed(),
            }
        });
        self.in_flight = Some(InFlight {
            attempt,
            lanes,
            records,
            has_replays,
        });
    }
}
