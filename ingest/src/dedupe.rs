//! The window of event ids in which a duplicate is recognised.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocumentBuf};
use hashbrown::HashSet;
use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256 of an event id. Emitters choose their ids, so the hash must not be
/// one for which somebody can find two ids with the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventHash(u128);

impl EventHash {
    /// Bytes of a packed hash.
    pub const BYTES: usize = 16;

    /// The hash of an id.
    #[must_use]
    pub fn of(event_id: &str) -> Self {
        Self::of_bytes(event_id.as_bytes())
    }

    /// The hash of the `_id` of an event's document. It is never compared with that of an event id.
    #[must_use]
    pub fn of_document(id: RawBsonRef<'_>) -> Self {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id);
        Self::of_bytes(document.as_bytes())
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
}

/// For how long, in milliseconds, a scanned document's `_id` is remembered: twice the life of a transaction.
pub const SCANNED_MS: i64 = 120_000;

/// The ids of one lane that are known: those of the window, and those of every batch folded since and not
/// yet committed. Age is measured in the time of the *source*, so that an outage does not open the window.
#[derive(Debug, Default)]
pub struct Window {
    known: HashSet<EventHash, BuildHasherDefault<Uniform>>,
    generations: VecDeque<Generation>,
    /// The least newest source time (ms) of a commit: asked for far more often than it changes.
    oldest_ms: Option<i64>,
}

impl Window {
    /// The window as it was stored, oldest commit first.
    #[must_use]
    pub fn load(generations: Vec<Generation>) -> Self {
        let known = generations
            .iter()
            .flat_map(|generation| &generation.ids)
            .copied()
            .collect();
        Self {
            known,
            oldest_ms: generations.iter().map(|generation| generation.newest_ms).min(),
            generations: generations.into(),
        }
    }

    /// Notes an id. `false` if it was known: the event is a duplicate.
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
    /// oldest record in it.
    #[must_use]
    pub fn remember(
        &self,
        ids: Generation,
        oldest_of_batch_ms: Option<i64>,
        window_ms: i64,
        max_ids: usize,
    ) -> Remember {
        let horizon = oldest_of_batch_ms.map(|oldest| self.horizon_ms(oldest, window_ms, max_ids));
        let forget_before_ms =
            horizon.filter(|horizon| self.oldest_ms().is_some_and(|oldest| oldest < *horizon));
        Remember {
            ids,
            forget_before_ms,
        }
    }

    /// A commit became permanent.
    pub fn committed(&mut self, remember: &Remember) {
        if !remember.ids.ids.is_empty() {
            let newest_ms = remember.ids.newest_ms;
            self.oldest_ms = Some(self.oldest_ms.map_or(newest_ms, |oldest| oldest.min(newest_ms)));
            self.generations.push_back(remember.ids.clone());
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

    /// The source time of the oldest commit that is still known, in milliseconds.
    #[must_use]
    pub const fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(newest_ms: i64, ids: &[&str]) -> Generation {
        Generation {
            newest_ms,
            ids: ids.iter().map(|id| EventHash::of(id)).collect(),
        }
    }

    /// Stored for as long as a window is: a change would forget every id.
    #[test]
    fn golden_hash_and_packing() {
        let hash = EventHash::of("request-1");
        assert_eq!(EventHash::unpack(&hash.to_bytes()), Some(vec![hash]));
        assert_eq!(EventHash::unpack(&hash.to_bytes()[1..]), None);
        assert_eq!(hash.to_bytes()[..4], Sha256::digest(b"request-1")[..4]);
    }

    #[test]
    fn an_id_is_known_from_its_fold_until_its_commit_leaves_the_window() {
        let mut window = Window::load(vec![generation(1_000, &["a"])]);
        assert!(!window.insert(EventHash::of("a")));
        assert!(window.insert(EventHash::of("b")));
        assert!(!window.insert(EventHash::of("b")));
        let remember = window.remember(generation(2_000, &["b"]), Some(2_000), 1_000, 10);
        assert_eq!(remember.forget_before_ms, None);
        window.committed(&remember);
        assert_eq!(window.horizon_ms(2_000, 1_000, 10), 1_000);
        window.expire(1_000);
        assert!(
            !window.insert(EventHash::of("a")),
            "exactly as old as the window is inside it"
        );
        window.expire(1_001);
        assert!(window.insert(EventHash::of("a")));
        assert!(!window.insert(EventHash::of("b")));
    }

    #[test]
    fn too_many_ids_shrink_the_window_by_whole_commits() {
        let window = Window::load(vec![
            generation(1_000, &["a", "b"]),
            generation(2_000, &["c", "d"]),
        ]);
        assert_eq!(window.horizon_ms(2_000, 5_000, 4), -3_000);
        assert_eq!(window.horizon_ms(2_000, 5_000, 3), 1_001);
        assert_eq!(window.horizon_ms(2_000, 5_000, 1), 2_001);
        assert_eq!(window.oldest_ms(), Some(1_000));
    }
}
