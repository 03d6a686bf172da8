//! What follows from an attempt to commit.

use std::collections::HashMap;

use super::{Attempt, Error, Group, Pump, Replays, backoff};
use crate::clock::Clock;
use crate::ledger::{Commit, CommitError, Ledger};
use crate::metrics::CommitOutcome;

impl<L: Ledger, C: Clock> Pump<L, C> {
    /// Decides what follows from an attempt. While its outcome is in doubt nothing but the same content is
    /// tried again.
    pub(super) fn settle(&mut self, attempt: Attempt) -> Result<(), Error> {
        let Attempt {
            group,
            commit,
            doubt,
            result,
            took,
        } = attempt;
        let outcome = match &result {
            Ok(()) => CommitOutcome::Applied,
            Err(CommitError::Lost(_)) => CommitOutcome::Lost,
            Err(CommitError::Overflow) => CommitOutcome::Overflow,
            Err(CommitError::Held(_)) => CommitOutcome::Held,
            Err(CommitError::Contended(_)) => CommitOutcome::Contended,
            Err(CommitError::Away(_)) => CommitOutcome::Away,
            Err(CommitError::Fatal(_)) => CommitOutcome::Fatal,
        };
        self.metrics.attempt(outcome, took);
        self.health.ledger_away(match &result {
            Err(CommitError::Away(why)) => Some(why.clone()),
            _ => None,
        });
        match result {
            Ok(()) => self.applied(&group, &commit),
            Err(CommitError::Fatal(why)) => return Err(Error::Ledger(why)),
            Err(CommitError::Lost(lost)) => {
                for fence in commit.moves().iter().filter(|fence| lost.contains(&fence.lane)) {
                    self.lose(&fence.lane, fence.epoch);
                }
                self.queue.push_front(group);
            }
            Err(CommitError::Held(held)) => {
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
                if doubt.0 {
                    self.attempt(group, commit, doubt);
                } else {
                    self.queue.push_front(group);
                }
            }
            Err(CommitError::Contended(why)) if doubt.0 => {
                self.delay = self.backoff.next().unwrap_or_default();
                tracing::warn!(
                    error = why,
                    "the outcome of a commit is not known yet; asking again"
                );
                self.attempt(group, commit, doubt);
            }
            Err(error @ (CommitError::Contended(_) | CommitError::Overflow)) => self.halve(group, &error),
        }
        Ok(())
    }

    fn applied(&mut self, group: &Group, commit: &Commit) {
        self.backoff = backoff();
        if self.replays == Replays::More {
            self.ask_for_replays();
        }
        self.metrics
            .committed(group.lanes.iter().flat_map(|(_, batch)| batch.outcomes()));
        self.metrics
            .replayed(group.lanes.iter().flat_map(|(_, batch)| batch.replayed()));
        let late: usize = group.lanes.iter().map(|(_, batch)| batch.late()).sum();
        self.metrics.late.inc_by(late as u64);
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
        let records = group.records();
        match (group.split(&self.settings.policy), error) {
            (Ok((first, second)), _) => {
                tracing::debug!(records, %error, "a batch is cut in two");
                self.queue.push_front(second);
                self.queue.push_front(first);
            }
            (Err(single), CommitError::Overflow) => {
                tracing::warn!("a booking would overflow a stored counter: it is a dead letter now");
                let group = single.reject_overflow(&mut self.lanes, &self.settings.policy);
                self.queue.push_front(group);
            }
            (Err(single), _) => {
                self.delay = self.backoff.next().unwrap_or_default();
                tracing::warn!(%error, retry_in = ?self.delay, "a commit of one record failed; trying again");
                self.queue.push_front(single);
            }
        }
    }
}
