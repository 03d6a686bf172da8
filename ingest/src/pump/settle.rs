//! What follows from an attempt to commit.

use std::collections::HashMap;
use std::time::Duration;

use super::limit::Sample;
use super::{Attempted, Group, Pump, Replays, backoff};
use crate::clock::Clock;
use crate::health::{Concern, Trouble};
use crate::hold::HOLD;
use crate::ledger::{Attempt, Commit, CommitError, Ledger};
use crate::metrics::CommitOutcome;
use rollup::event::Reason;

impl<L: Ledger, C: Clock> Pump<L, C> {
    /// Decides what follows from an attempt. While its outcome is in doubt nothing but the same content is
    /// tried again.
    pub(super) fn settle(&mut self, attempt: Attempted) {
        let Attempted {
            group,
            commit,
            attempt,
            result,
            took,
        } = attempt;
        let outcome = match &result {
            Ok(_) => CommitOutcome::Applied,
            Err(CommitError::Lost(_)) => CommitOutcome::Lost,
            Err(CommitError::Overflow) => CommitOutcome::Overflow,
            Err(CommitError::DuplicateIds(_)) => CommitOutcome::DuplicateIds,
            Err(CommitError::Conflict(_)) => CommitOutcome::Conflict,
            Err(CommitError::TooMuch(_)) => CommitOutcome::TooMuch,
            Err(CommitError::BadRecord(_)) => CommitOutcome::BadRecord,
            Err(CommitError::Away(_)) => CommitOutcome::Away,
            Err(CommitError::Refused { .. }) => CommitOutcome::Refused,
        };
        self.metrics.attempt(outcome, took);
        let trouble = match &result {
            Err(CommitError::Away(_)) => Some(Trouble::Away),
            Err(CommitError::Refused { reason, .. }) => Some(Trouble::Refused(*reason)),
            _ => None,
        };
        self.health.trouble(Concern::Commit, trouble);
        if result.is_err() {
            self.wasted += took;
        }
        match result {
            Ok(applied) => {
                self.learn(&group, applied.took, took);
                self.applied(&group, &commit);
            }
            Err(CommitError::Lost(lost)) => {
                for fence in commit.moves().iter().filter(|fence| lost.contains(&fence.lane)) {
                    self.lose(&fence.lane, fence.epoch);
                }
                self.queue.push_front(group);
            }
            Err(CommitError::DuplicateIds(held)) => {
                tracing::debug!(
                    ids = held.len(),
                    "ids that are in the ledger already; folding again"
                );
                let held: HashMap<_, _> = held.into_iter().collect();
                let group = group.held(&held, &mut self.lanes, &self.settings.policy);
                self.queue.push_front(group);
            }
            Err(CommitError::Away(why)) => {
                self.delay = self.backoff.next().unwrap_or_default();
                tracing::warn!(error = why, retry_in = ?self.delay, "the ledger is away; the batch is kept");
                self.again(group, commit, attempt);
            }
            Err(CommitError::Refused { reason, why }) => {
                self.delay = HOLD;
                self.reminders.commit.refused(
                    "the batch is kept, since the ledger cannot be written",
                    reason,
                    &why,
                );
                self.again(group, commit, attempt);
            }
            Err(error) if attempt.is_in_doubt() => {
                self.delay = self.backoff.next().unwrap_or_default();
                tracing::warn!(%error, "the outcome of a commit is not known yet; asking again");
                self.attempt(group, commit, attempt);
            }
            Err(error) => self.halve(group, &error),
        }
    }

    /// The same again. While its outcome is in doubt nothing else may be.
    fn again(&mut self, group: Group, commit: Commit, attempt: Attempt) {
        if attempt.is_in_doubt() {
            self.attempt(group, commit, attempt);
        } else {
            self.queue.push_front(group);
        }
    }

    /// What a commit cost says how large the next may be. One that only moves positions says nothing.
    fn learn(&mut self, group: &Group, took: Duration, with_retries: Duration) {
        let in_all = std::mem::take(&mut self.wasted) + with_retries;
        self.extensions = 0;
        if group.records() > 0 {
            self.limit.applied(Sample {
                statements: group.statements(),
                records: group.records(),
                took,
                in_all,
            });
        }
    }

    fn applied(&mut self, group: &Group, commit: &Commit) {
        self.backoff = backoff();
        if self.replays == Replays::More {
            self.ask_for_replays();
        }
        self.metrics
            .committed(group.lanes.iter().flat_map(|(_, batch)| batch.outcomes()));
        self.metrics
            .gaps(group.lanes.iter().flat_map(|(_, batch)| batch.gaps()));
        self.metrics
            .replayed(group.lanes.iter().flat_map(|(_, batch)| batch.replayed()));
        let late: usize = group.lanes.iter().map(|(_, batch)| batch.late()).sum();
        self.metrics.late.inc_by(late as u64);
        for letter in commit.lanes.iter().flat_map(|lane| &lane.letters) {
            self.metrics.rejected(letter.reject.reason);
            self.rejections.add(letter.reject.reason);
        }
        for (key, batch) in &group.lanes {
            let Some(lane) = self.lanes.get_mut(key) else {
                continue;
            };
            let Some(done) = commit.lanes.iter().find(|done| done.fence.lane == lane.id) else {
                continue;
            };
            lane.seq += 1;
            lane.windows.events.committed(&done.events);
            lane.windows.scanned.committed(&done.scanned);
            if let Some(position) = batch.position() {
                lane.committed.send_replace(Some(position.clone()));
            }
            if let Some(watermark) = done.watermark_ms {
                self.health.watermark(&lane.id, Some(watermark));
            }
        }
    }

    /// Boundaries never matter: half of a batch is a batch.
    fn halve(&mut self, group: Group, error: &CommitError) {
        let (records, statements) = (group.records(), group.statements());
        match (group.split(&self.settings.policy), error) {
            (Ok((first, second)), _) => {
                // What cannot be cut says nothing of how much may be in a transaction.
                match error {
                    CommitError::TooMuch(_) => self.limit.too_much(statements),
                    CommitError::Conflict(_) => self.limit.contended(statements),
                    _ => {}
                }
                let limit = self.limit.statements();
                tracing::debug!(records, statements, limit, %error, "a batch is cut in two");
                self.queue.push_front(second);
                self.queue.push_front(first);
            }
            (Err(single), CommitError::Overflow) => {
                tracing::warn!("a booking would overflow a stored counter: it is a dead letter now");
                let group = single.reject_counted(Reason::Overflow, &mut self.lanes, &self.settings.policy);
                self.queue.push_front(group);
            }
            (Err(single), CommitError::BadRecord(why)) => self.reject_unstorable(single, why),
            (Err(single), error) => {
                if matches!(error, CommitError::TooMuch(_)) {
                    self.extensions += 1;
                }
                self.once_more(single, error);
            }
        }
    }

    /// What follows from one record cannot be written: no record stops its lane.
    fn reject_unstorable(&mut self, single: Group, why: &str) {
        let (group, is_changed) = single.reject_unstorable(&mut self.lanes, &self.settings.policy);
        if is_changed {
            tracing::warn!(
                error = why,
                "the server refuses what follows from a record; it is kept in another form"
            );
            self.queue.push_front(group);
        } else {
            self.once_more(group, &CommitError::BadRecord(why.to_owned()));
        }
    }

    fn once_more(&mut self, single: Group, error: &CommitError) {
        self.delay = self.backoff.next().unwrap_or_default();
        tracing::warn!(%error, retry_in = ?self.delay, "a commit of one record failed; trying again");
        self.queue.push_front(single);
    }
}
