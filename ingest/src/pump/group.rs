//! A group commit: what all lanes of the process contribute to one transaction.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use rollup::event::Reason;
use rollup::fold::Delta;

use super::lanes::Lanes;
use crate::batch::{LaneBatch, Policy};
use crate::dedupe::{ExistingId, Forget, SCANNED_MS, Scope};
use crate::identity::IdentityHash;
use crate::lane::{ContentId, FenceMove, JournalId};
use crate::ledger::{Commit, LaneCommit};
use crate::source::GrantId;

/// The batches of several lanes, to be committed together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) lanes: Vec<(GrantId, LaneBatch)>,
}

/// How the window of ids is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLimits {
    pub(super) length_ms: i64,
    pub(super) max_ids: usize,
    pub(super) scope: Scope,
    /// What a transaction may forget; `None`: nothing, for now.
    pub(super) forget: Option<Forget>,
}

impl WindowLimits {
    /// A limit on the ids of the process is shared by its lanes.
    fn ids_of_a_lane(&self, lanes: usize) -> usize {
        self.max_ids / lanes.max(1)
    }
}

impl Group {
    /// The transaction for this group, given the lanes as they stand. Counters, ids and rejects were
    /// folded per lane; only here are they merged.
    pub(super) fn commit(
        &self,
        lanes: &mut Lanes,
        window: WindowLimits,
        content: ContentId,
        at: DateTime<Utc>,
    ) -> Commit {
        let mut commit = Commit {
            lanes: Vec::with_capacity(self.lanes.len()),
            delta: Delta::default(),
            scope: window.scope,
            content,
            at,
        };
        let max_ids = window.ids_of_a_lane(lanes.len());
        let forget = window.forget.map(|forget| forget.of_each(self.lanes.len()));
        for (key, batch) in &self.lanes {
            let Some(lane) = lanes.get_mut(*key) else { continue };
            // Alone: where it is too much for the server, no record is to blame.
            let merge = if batch.is_empty() { lane.take_merge() } else { None };
            batch.close_into(&mut commit.delta);
            let (known, scanned) = (&lane.windows.events, &lane.windows.scanned);
            let id = JournalId {
                generation: lane.generation,
                seq: lane.seq + 1,
            };
            let events = known.remember(
                batch.ids(id),
                batch.oldest_ms(),
                window.length_ms,
                max_ids,
                forget,
            );
            let dropped = match (window.scope, events.forget_before_ms) {
                (Scope::Ledger, Some(horizon)) => known.ids_before(horizon),
                _ => Vec::new(),
            };
            let unique = match window.scope {
                Scope::Ledger => batch.unique_ids().collect(),
                Scope::Lane => Vec::new(),
            };
            commit.lanes.push(LaneCommit {
                fence: FenceMove {
                    lane: lane.id.clone(),
                    epoch: lane.epoch,
                    seq: lane.seq,
                },
                position: batch.position().cloned(),
                last: batch.last(),
                watermark_ms: batch.watermark_ms(),
                tally: batch.tally(),
                journal: lane.journal(id, batch),
                merge,
                events,
                scanned: scanned.remember(
                    batch.scanned(id),
                    batch.oldest_or_idle_ms(),
                    SCANNED_MS,
                    usize::MAX,
                    forget,
                ),
                deleted: lane.windows.deleted.remember(
                    batch.deleted(id),
                    batch.oldest_or_idle_ms(),
                    window.length_ms,
                    max_ids,
                    forget,
                ),
                unique,
                dropped,
                letters: batch.letters(),
                replayed: batch.replayed().collect(),
                closes: batch.closes(),
            });
        }
        commit
    }

    /// Leaves out the lanes that are no longer ours.
    pub(super) fn retain(&mut self, lanes: &Lanes) {
        self.lanes.retain(|(key, _)| lanes.has(*key));
    }

    /// The lanes in the group.
    pub(super) fn keys(&self) -> impl Iterator<Item = GrantId> {
        self.lanes.iter().map(|(key, _)| *key)
    }

    /// Statements of its transaction, at most: those of each lane, and one for its fence.
    pub(super) fn statements(&self) -> usize {
        let lanes = self.lanes.iter().map(|(_, batch)| 1 + batch.statements());
        lanes.sum()
    }

    /// Records in the group.
    pub(super) fn records(&self) -> usize {
        self.lanes.iter().map(|(_, batch)| batch.records()).sum()
    }

    /// Cuts the group in two, each of which may be committed alone, in this order.
    ///
    /// # Errors
    /// Gives the group back where it cannot be cut: it has one record or none.
    pub(super) fn split(mut self, policy: &Policy) -> Result<(Self, Self), Self> {
        if self.lanes.len() > 1 {
            let tail = self.lanes.split_off(self.lanes.len() / 2);
            return Ok((self, Self { lanes: tail }));
        }
        let Some((key, batch)) = self.lanes.pop() else {
            return Err(self);
        };
        match batch.split(policy) {
            Ok((first, second)) => Ok((
                Self {
                    lanes: vec![(key, first)],
                },
                Self {
                    lanes: vec![(key, second)],
                },
            )),
            Err(batch) => Err(Self {
                lanes: vec![(key, *batch)],
            }),
        }
    }

    /// Whether dead letters were judged again in it.
    pub(super) fn has_replays(&self) -> bool {
        self.lanes.iter().any(|(_, batch)| batch.has_replays())
    }

    /// Sets lanes apart that count an id which another lane of the group counts too ([`Scope::Ledger`]): once the
    /// first is committed, the ledger says what becomes of the second.
    pub(super) fn separate(mut self) -> (Self, Option<Self>) {
        let mut counted: HashSet<IdentityHash> = HashSet::new();
        let mut apart = Vec::new();
        for (key, batch) in std::mem::take(&mut self.lanes) {
            let is_counted = batch.unique_ids().any(|id| counted.contains(&id.id));
            if is_counted {
                apart.push((key, batch));
            } else {
                counted.extend(batch.unique_ids().map(|id| id.id));
                self.lanes.push((key, batch));
            }
        }
        let apart = (!apart.is_empty()).then_some(Self { lanes: apart });
        (self, apart)
    }

    /// Judges events by what the ledger holds under their ids.
    pub(super) fn held(
        self,
        held: &HashMap<IdentityHash, ExistingId>,
        lanes: &mut Lanes,
        policy: &Policy,
    ) -> Self {
        let judge = |(key, batch): (GrantId, LaneBatch)| {
            let windows = &mut lanes.get_mut(key)?.windows;
            Some((key, batch.held(held, policy, windows)))
        };
        Self {
            lanes: self.lanes.into_iter().filter_map(judge).collect(),
        }
    }

    /// Rejects what cannot be booked. Only for a group that cannot be cut any further.
    pub(super) fn reject_counted(self, reason: Reason, lanes: &mut Lanes, policy: &Policy) -> Self {
        let reject = |(key, batch): (GrantId, LaneBatch)| {
            let lane = lanes.get_mut(key)?;
            Some((key, batch.reject_counted(reason, policy, &mut lane.windows)))
        };
        Self {
            lanes: self.lanes.into_iter().filter_map(reject).collect(),
        }
    }

    /// Rejects what the server refuses, or keeps it in another form. Only for a group that cannot be cut any further.
    /// Whether anything is left to be changed.
    pub(super) fn reject_unstorable(self, lanes: &mut Lanes, policy: &Policy) -> (Self, bool) {
        let mut is_changed = false;
        let reject = |(key, batch): (GrantId, LaneBatch)| {
            let lane = lanes.get_mut(key)?;
            let (batch, changed) = batch.reject_unstorable(policy, &mut lane.windows);
            is_changed |= changed;
            Some((key, batch))
        };
        let group = Self {
            lanes: self.lanes.into_iter().filter_map(reject).collect(),
        };
        (group, is_changed)
    }
}
