//! The windows of ids in which a duplicate is recognised.

mod rejected;
mod uniform;
mod window;

use crate::identity::{CountedId, Identity, IdentityHash, Quantities};
use crate::lane::JournalId;

pub use rejected::{RejectedIdState, RejectedIds};
pub use uniform::Uniform;
pub use window::Window;

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
    /// The document of the journal that holds them.
    pub written: JournalId,
    /// The ids.
    pub ids: Vec<CountedId>,
}

impl Generation {
    /// Ids with the source time (ms) of their records.
    pub fn of(written: JournalId, ids: impl Iterator<Item = (CountedId, i64)>) -> Self {
        let mut generation = Self {
            newest_ms: i64::MIN,
            written,
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
    /// The first document of the journal that is needed to know what these windows know.
    #[must_use]
    pub fn first(&self) -> Option<JournalId> {
        let windows = [&self.events, &self.scanned, &self.deleted];
        windows.into_iter().filter_map(Window::first).min()
    }

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

#[cfg(test)]
mod tests;
