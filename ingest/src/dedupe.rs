//! The window of event ids in which a duplicate is recognised.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use bson::RawDocument;
use hashbrown::{HashMap, HashSet};
use rollup::event::MAX_TEXT_CHARS;
use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256 of an event id. Emitters choose their ids, so the hash must not be
/// one for which somebody can find two ids with the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventHash(u128);

impl EventHash {
    /// Bytes of a packed hash.
    pub const BYTES: usize = 16;

    /// The hash of an id.
    #[must_use]
    pub fn of(event_id: &str) -> Self {
        Self::of_bytes(event_id.as_bytes())
    }

    /// The hash of the `_id` of an event's document, given alone ([`raw_id`](crate::lane::raw_id)). It is never compared
    /// with that of an event id.
    #[must_use]
    pub fn of_document(id: &RawDocument) -> Self {
        Self::of_bytes(id.as_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let mut first = [0; Self::BYTES];
        first.copy_from_slice(&digest[..Self::BYTES]);
        Self(u128::from_be_bytes(first))
    }

    /// The packed form that is stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0.to_be_bytes()
    }

    /// Reads one packed hash. `None`: the stored value is damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.try_into().ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }

    /// Reads packed hashes. Bytes beyond a whole number of hashes are `None`: the stored value is damaged.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<Vec<Self>> {
        let (hashes, []) = bytes.as_chunks::<{ Self::BYTES }>() else {
            return None;
        };
        Some(
            hashes
                .iter()
                .map(|hash| Self(u128::from_be_bytes(*hash)))
                .collect(),
        )
    }
}

/// An event's own id as it is kept with a letter: emitters may write ids of any length, valid ones have at most
/// [`MAX_TEXT_CHARS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// Its first characters, for people.
    pub text: String,
    /// The hash of the whole id.
    pub hash: EventHash,
}

impl EventName {
    /// The name of an id.
    #[must_use]
    pub fn of(event_id: &str) -> Self {
        Self {
            text: event_id.chars().take(MAX_TEXT_CHARS).collect(),
            hash: EventHash::of(event_id),
        }
    }
}

/// The keys are already uniformly distributed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Uniform(u64);

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "any 64 of the 128 uniform bits will do"
    )]
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

/// A set of ids.
type Ids = HashSet<EventHash, BuildHasherDefault<Uniform>>;

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
    pub ids: Vec<EventHash>,
}

impl Generation {
    /// Ids with the source time (ms) of their records.
    pub fn of(ids: impl Iterator<Item = (EventHash, i64)>) -> Self {
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
    /// An event with this id is counted.
    Counted,
    /// Dead letters of some lane are open under it, and none is counted: whoever counts it closes them.
    Rejected,
}

/// What the open dead letters of a lane say of their event id. Kept for as long as they are open, however old.
///
/// | | a valid event with this id | a replay of one of them |
/// |---|---|---|
/// | `Uncounted` | is counted, and closes them | is counted, and closes the others |
/// | `Counted` | is a duplicate | ends as a duplicate |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedIdState {
    /// No event with this id is known to be counted.
    Uncounted,
    /// One was counted before the letter came.
    Counted,
}

/// The event ids of the dead letters of a lane that are open.
pub type RejectedIds = HashMap<EventHash, RejectedIdState, BuildHasherDefault<Uniform>>;

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
    /// Event ids, for as long as `USAGE_LEDGER_DEDUPE_WINDOW` says.
    pub events: W,
    /// `_id`s of documents that the history scan took in, for [`SCANNED_MS`]: their inserts may still be on
    /// their way in the stream. MongoDB's majority reads never run ahead of its change streams; a server that
    /// holds its stream back while a transaction is open may answer reads that do.
    pub scanned: W,
    /// Ids of the dead letters that are open.
    pub rejected: RejectedIds,
}

impl Windows {
    /// Whether an event with this id is counted, as far as the lane knows.
    #[must_use]
    pub fn is_known(&self, id: EventHash) -> bool {
        self.events.contains(id) || self.rejected.get(&id) == Some(&RejectedIdState::Counted)
    }

    /// Notes that an event is counted. Whether that closes dead letters.
    pub fn count(&mut self, id: EventHash) -> bool {
        self.events.insert(id);
        self.rejected.remove(&id).is_some()
    }

    /// Notes that a record with this id is a dead letter, and what is known of the id.
    pub fn reject(&mut self, id: EventHash) -> RejectedIdState {
        let known = match self.events.contains(id) {
            true => RejectedIdState::Counted,
            false => RejectedIdState::Uncounted,
        };
        *self.rejected.entry(id).or_insert(known)
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
}

impl Window {
    /// The window as it was stored, oldest commit first.
    #[must_use]
    pub fn load(mut generations: Vec<Generation>) -> Self {
        generations.sort_by_key(|generation| generation.newest_ms);
        let known = generations
            .iter()
            .flat_map(|generation| &generation.ids)
            .copied()
            .collect();
        Self {
            known,
            oldest_ms: generations.iter().map(|generation| generation.newest_ms).min(),
            generations: generations.into(),
            forgotten_before_ms: None,
        }
    }

    /// Notes an id. `false` if it was known.
    pub fn insert(&mut self, id: EventHash) -> bool {
        self.known.insert(id)
    }

    /// Whether an id is known.
    #[must_use]
    pub fn contains(&self, id: EventHash) -> bool {
        self.known.contains(&id)
    }

    /// Forgets an id whose event turned out not to be counted.
    pub fn forget(&mut self, id: EventHash) {
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
    pub fn ids_before(&self, horizon_ms: i64) -> Vec<EventHash> {
        let old = self
            .generations
            .iter()
            .filter(|generation| generation.newest_ms < horizon_ms);
        old.flat_map(|generation| &generation.ids).copied().collect()
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
        self.generations.retain(|generation| {
            let keep = generation.newest_ms >= horizon_ms;
            if !keep {
                for id in &generation.ids {
                    known.remove(id);
                }
            }
            keep
        });
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
