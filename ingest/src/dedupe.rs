//! The windows of ids in which a duplicate is recognised.

mod footprint;
mod rejected;
mod uniform;

use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

use hashbrown::HashMap;

use crate::identity::{CountedId, Identity, IdentityHash, Quantities};

pub use rejected::{RejectedIdState, RejectedIds};
pub use uniform::Uniform;

/// Ids, and the quantities of their events.
type Ids = HashMap<IdentityHash, Quantities, BuildHasherDefault<Uniform>>;

/// How far a duplicate is looked for (`USAGE_LEDGER_DEDUPE_SCOPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// In the lane of its first copy: producers send copies with the same key.
    #[default]
    Lane,
    /// In every lane: the ids that a commit counts are unique in the whole ledger, in its transaction.
    Ledger,
}

/// The ids that one commit counted, and the newest *source* time among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Newest source time of the records that carried these ids, in milliseconds.
    pub newest_ms: i64,
    /// The ids.
    pub ids: Vec<CountedId>,
}

impl Generation {
    /// Ids with the source time (ms) of their records.
    pub fn of(ids: impl Iterator<Item = (CountedId, i64)>) -> Self {
        let mut generation = Self {
            newest_ms: i64::MIN,
            ids: Vec::new(),
        };
        for (id, source_time_ms) in ids {
            generation.ids.push(id);
            generation.newest_ms = generation.newest_ms.max(source_time_ms);
        }
        generation
    }
}

/// What the ledger holds under an id that a commit wanted to count ([`Scope::Ledger`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingId {
    /// An event with this id is counted, with these quantities.
    Counted(Quantities),
    /// Dead letters of some lane are open under it, and none is counted: whoever counts it closes them.
    Rejected,
}

/// What one commit does to a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remember {
    /// The ids that it adds.
    pub ids: Generation,
    /// Commits whose newest id is older than this (ms of source time) are forgotten; `None`: none is.
    pub forget_before_ms: Option<i64>,
}

/// The windows of one lane.
#[derive(Debug, Default)]
pub struct Windows<W = Window> {
    /// Ids of events and of copied documents, for as long as `USAGE_LEDGER_DEDUPE_WINDOW` says.
    pub events: W,
    /// `_id`s of documents that the history scan took in, for [`SCANNED_MS`]: their inserts may still be on
    /// their way in the stream. MongoDB's majority reads never run ahead of its change streams; a server that
    /// holds its stream back while a transaction is open may answer reads that do.
    pub scanned: W,
    /// `_id`s of documents that were deleted after they were counted, for as long as `events`: the same document that is
    /// inserted again is a duplicate.
    pub deleted: W,
    /// Ids of the dead letters that are open.
    pub rejected: RejectedIds,
}

impl Windows {
    /// The quantities of the event that is counted under an identity, as far as the lane knows; `None`: none is.
    #[must_use]
    pub fn counted(&self, identity: Identity) -> Option<Quantities> {
        match self.rejected.state(identity.hash()) {
            // Whatever else is remembered: it did not count after all.
            Some(RejectedIdState::Uncounted) => return None,
            Some(RejectedIdState::Counted(quantities)) => return Some(quantities),
            None => {}
        }
        match identity {
            Identity::Event(id) | Identity::Copy(id) => self.events.get(id),
            Identity::Document(id) => self.deleted.get(id),
        }
    }

    /// Notes that an event is counted. Whether that closes dead letters. A document's `_id` needs no memory for as long
    /// as the document is there.
    pub fn count(&mut self, identity: Identity, quantities: Quantities) -> bool {
        if let Some(id) = identity.remembered() {
            self.events.insert(CountedId { id, quantities });
        }
        if let Identity::Document(id) | Identity::Copy(id) = identity {
            self.rejected.close_document(id);
        }
        self.rejected.close(identity.hash())
    }

    /// Notes that an event that was counted is not, after all: a dead letter is open under its identity.
    pub fn uncount(&mut self, identity: Identity) {
        if let Some(id) = identity.remembered() {
            self.events.forget(id);
        }
        // Whatever a record behind it was told.
        self.rejected.open_id(identity.hash(), RejectedIdState::Uncounted);
    }

    /// Notes that a record is a dead letter, and what is known of its identity.
    pub fn reject(&mut self, identity: Option<Identity>, document: Option<IdentityHash>) -> RejectedIdState {
        let known = match identity.and_then(|identity| self.counted(identity)) {
            Some(quantities) => RejectedIdState::Counted(quantities),
            None => RejectedIdState::Uncounted,
        };
        self.rejected.open(identity.map(Identity::hash), document, known);
        known
    }

    /// Notes that a document is deleted. Whether its `_id` is remembered: not where a dead letter of it is open, since
    /// it was not counted then.
    pub fn delete(&mut self, id: CountedId) -> bool {
        // Another document under this `_id` is not the one that the scan took in.
        self.scanned.forget(id.id);
        if self.rejected.has_document(id.id) {
            return false;
        }
        let known = self
            .deleted
            .get(id.id)
            .filter(|_| id.quantities == Quantities::UNKNOWN);
        self.deleted.insert(CountedId {
            quantities: known.unwrap_or(id.quantities),
            ..id
        });
        true
    }
}

/// For how long, in milliseconds, a scanned document's `_id` is remembered: twice the life of a transaction.
pub const SCANNED_MS: i64 = 120_000;

/// How much one transaction may forget, give or take one commit of each lane: after a long rest whole windows are due at
/// once, and a transaction must stay small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// Commits whose ids it may forget.
    pub commits: usize,
    /// Ids that it may forget.
    pub ids: usize,
}

impl Forget {
    /// The most that any transaction forgets.
    pub const MOST: Self = Self {
        commits: 1_000,
        ids: 50_000,
    };

    /// What a transaction may forget that takes at most so many statements.
    #[must_use]
    pub fn within(statements: usize, scope: Scope) -> Self {
        let ids = match scope {
            Scope::Lane => Self::MOST.ids,
            // Each is a document of its own.
            Scope::Ledger => Self::MOST.ids.min(statements),
        };
        Self {
            commits: Self::MOST.commits.min(statements),
            ids,
        }
    }

    /// The part of one of so many lanes.
    #[must_use]
    pub fn of_each(self, lanes: usize) -> Self {
        let lanes = lanes.max(1);
        Self {
            commits: self.commits / lanes,
            ids: self.ids / lanes,
        }
    }
}

/// The ids of one lane that are known: those of the window, and those of every batch folded since and not
/// yet committed. Age is measured in the time of the *source*, so that an outage does not open the window.
#[derive(Debug, Default)]
pub struct Window {
    known: Ids,
    /// In the order of their newest ids. That of the commits is the same but for dead letters that were judged
    /// again: those are remembered from then on.
    generations: VecDeque<Generation>,
    /// The least newest source time (ms) of a commit: asked for far more often than it changes.
    oldest_ms: Option<i64>,
    /// Commits before this instant (ms) were forgotten here.
    forgotten_before_ms: Option<i64>,
    /// An id may be in several commits.
    repeats: bool,
}

impl Window {
    /// The window as it was stored, oldest commit first.
    #[must_use]
    pub fn load(mut generations: Vec<Generation>) -> Self {
        generations.sort_by_key(|generation| generation.newest_ms);
        let known = generations
            .iter()
            .flat_map(|generation| &generation.ids)
            .map(|id| (id.id, id.quantities))
            .collect();
        Self {
            known,
            oldest_ms: generations.iter().map(|generation| generation.newest_ms).min(),
            generations: generations.into(),
            forgotten_before_ms: None,
            repeats: false,
        }
    }

    /// The same for ids that may come again: each is known for as long as its newest commit.
    #[must_use]
    pub fn repeating(self) -> Self {
        Self {
            repeats: true,
            ..self
        }
    }

    /// Notes an id. `false` if it was known.
    pub fn insert(&mut self, id: CountedId) -> bool {
        self.known.insert(id.id, id.quantities).is_none()
    }

    /// Notes ids that commits hold, where they are not known.
    fn note(&mut self, ids: &[CountedId]) {
        for id in ids {
            self.known.entry(id.id).or_insert(id.quantities);
        }
    }

    /// The quantities under an id; `None`: it is not known.
    #[must_use]
    pub fn get(&self, id: IdentityHash) -> Option<Quantities> {
        self.known.get(&id).copied()
    }

    /// Whether an id is known.
    #[must_use]
    pub fn contains(&self, id: IdentityHash) -> bool {
        self.known.contains_key(&id)
    }

    /// Forgets an id whose event turned out not to be counted.
    pub fn forget(&mut self, id: IdentityHash) {
        self.known.remove(&id);
    }

    /// What a commit that adds these ids does to the window; `oldest_of_batch_ms` is the source time of the
    /// oldest record in it, and `forget` what the transaction may forget of this window; `None`: nothing for now.
    #[must_use]
    pub fn remember(
        &self,
        ids: Generation,
        oldest_of_batch_ms: Option<i64>,
        window_ms: i64,
        max_ids: usize,
        forget: Option<Forget>,
    ) -> Remember {
        let horizon = oldest_of_batch_ms.map(|oldest| self.horizon_ms(oldest, window_ms, max_ids));
        let due = horizon.filter(|horizon| self.oldest_ms().is_some_and(|oldest| oldest < *horizon));
        Remember {
            ids,
            forget_before_ms: due
                .zip(forget)
                .map(|(horizon, forget)| self.within_reach(horizon, forget)),
        }
    }

    /// The ids that leave the window with the commits that are older than this (ms).
    #[must_use]
    pub fn ids_before(&self, horizon_ms: i64) -> Vec<IdentityHash> {
        let old = self
            .generations
            .iter()
            .filter(|generation| generation.newest_ms < horizon_ms);
        old.flat_map(|generation| &generation.ids)
            .map(|id| id.id)
            .collect()
    }

    /// The horizon, or an earlier one where the transaction would have too much to forget.
    fn within_reach(&self, horizon_ms: i64, forget: Forget) -> i64 {
        let (mut commits, mut ids, mut newest) = (0, 0, None);
        for generation in &self.generations {
            let is_full = commits >= forget.commits || ids >= forget.ids;
            match newest {
                _ if generation.newest_ms >= horizon_ms => break,
                Some(newest) if is_full && newest < generation.newest_ms => return newest + 1,
                _ => {}
            }
            commits += 1;
            ids += generation.ids.len();
            newest = Some(generation.newest_ms);
        }
        horizon_ms
    }

    /// A commit became permanent.
    pub fn committed(&mut self, remember: &Remember) {
        if !remember.ids.ids.is_empty() {
            let newest_ms = remember.ids.newest_ms;
            self.oldest_ms = Some(self.oldest_ms.map_or(newest_ms, |oldest| oldest.min(newest_ms)));
            let at = self
                .generations
                .partition_point(|generation| generation.newest_ms <= newest_ms);
            self.generations.insert(at, remember.ids.clone());
            if self.repeats {
                self.note(&remember.ids.ids);
            }
        }
        if let Some(horizon) = remember.forget_before_ms {
            self.expire(horizon);
        }
    }

    /// The source time before which whole commits may be forgotten, given the oldest record of the newest
    /// batch and the window's length; or later, where the window would hold more than `max_ids` ids.
    #[must_use]
    fn horizon_ms(&self, oldest_of_batch_ms: i64, window_ms: i64, max_ids: usize) -> i64 {
        let mut horizon = oldest_of_batch_ms.saturating_sub(window_ms);
        let mut held = self.known.len();
        for generation in &self.generations {
            if held <= max_ids {
                break;
            }
            held -= generation.ids.len().min(held);
            horizon = horizon.max(generation.newest_ms.saturating_add(1));
        }
        horizon
    }

    /// Forgets the commits whose newest id is older than the horizon, as the store did.
    fn expire(&mut self, horizon_ms: i64) {
        self.forgotten_before_ms = self.forgotten_before_ms.max(Some(horizon_ms));
        let known = &mut self.known;
        let before = self.generations.len();
        self.generations.retain(|generation| {
            let keep = generation.newest_ms >= horizon_ms;
            if !keep {
                for id in &generation.ids {
                    known.remove(&id.id);
                }
            }
            keep
        });
        if self.repeats && self.generations.len() < before {
            for generation in std::mem::take(&mut self.generations) {
                self.note(&generation.ids);
                self.generations.push_back(generation);
            }
        }
        self.oldest_ms = self
            .generations
            .iter()
            .map(|generation| generation.newest_ms)
            .min();
    }

    /// How many ids are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no id is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How far back from its newest id the window reaches, in milliseconds: its length, unless it was cut to the
    /// most ids that are remembered.
    #[must_use]
    pub fn reach_ms(&self, window_ms: i64) -> i64 {
        match (self.generations.back(), self.forgotten_before_ms) {
            (Some(newest), Some(forgotten)) => newest.newest_ms.saturating_sub(forgotten).clamp(0, window_ms),
            _ => window_ms,
        }
    }

    /// The source time of the oldest commit that is still known, in milliseconds.
    #[must_use]
    pub const fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }
}

#[cfg(test)]
mod tests;
