//! The ids of one lane that are known: those of the window, and those of every batch folded since and not yet committed.
//!
//! Age is measured in the time of the *source*, so that an outage does not open the window. There may be tens of millions
//! of ids, so each that is committed is held once, in a ring, and found by its number in it: 16 bytes, and about 8 more.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault};

use hashbrown::{HashMap, HashTable};

use super::{Forget, Generation, Remember, Uniform};
use crate::identity::{CountedId, IdentityHash, Quantities};
use crate::lane::JournalId;

/// Ids of batches that are not committed, and the quantities of their events.
type Folded = HashMap<IdentityHash, Quantities, BuildHasherDefault<Uniform>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Window {
    folded: Folded,
    /// The ids of the commits, in the order in which they were told of.
    ring: VecDeque<CountedId>,
    /// The number of the first id in the ring. Numbers wrap: there are never as many ids.
    first_number: u32,
    /// The numbers of the ids that are known: of one that was committed twice that which is known for longer.
    numbers: HashTable<u32>,
    /// In the order of their newest ids. That of the commits is the same but for dead letters that were judged
    /// again: those are remembered from then on.
    pub(super) commits: VecDeque<Committed>,
    /// The first numbers of commits that are forgotten, and stand in the ring behind one that is not.
    gone: Vec<(u32, u32)>,
    /// The least newest source time (ms) of a commit: asked for far more often than it changes.
    oldest_ms: Option<i64>,
    /// The first document of the journal that holds one of them; the same.
    first: Option<JournalId>,
    /// Commits before this instant (ms) were forgotten here.
    forgotten_before_ms: Option<i64>,
}

/// The ids of one commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    newest_ms: i64,
    written: JournalId,
    /// The number of its first id.
    first_number: u32,
    ids: u32,
}

impl Window {
    /// The window as it was stored.
    #[must_use]
    pub fn load(mut generations: Vec<Generation>) -> Self {
        generations.sort_by_key(|generation| generation.newest_ms);
        let mut window = Self::default();
        let ids = generations.iter().map(|generation| generation.ids.len()).sum();
        window.ring.reserve_exact(ids);
        window.numbers.reserve(ids, |_| 0);
        for generation in generations {
            window.add(&generation);
        }
        window
    }

    /// Notes an id. `false` if it was known.
    pub fn insert(&mut self, id: CountedId) -> bool {
        match self.number(id.id) {
            Some(number) => {
                self.ring[number.wrapping_sub(self.first_number) as usize] = id;
                false
            }
            None => self.folded.insert(id.id, id.quantities).is_none(),
        }
    }

    /// The quantities under an id; `None`: it is not known.
    #[must_use]
    pub fn get(&self, id: IdentityHash) -> Option<Quantities> {
        let folded = self.folded.get(&id).copied();
        folded.or_else(|| self.number(id).map(|number| self.of(number).quantities))
    }

    /// Whether an id is known.
    #[must_use]
    pub fn contains(&self, id: IdentityHash) -> bool {
        self.get(id).is_some()
    }

    /// Forgets an id whose event turned out not to be counted.
    pub fn forget(&mut self, id: IdentityHash) {
        self.folded.remove(&id);
        if let Some(number) = self.number(id) {
            self.take_number(id, number);
        }
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
        let old = self.commits.iter().filter(|commit| commit.newest_ms < horizon_ms);
        old.flat_map(|commit| commit.numbers())
            .map(|number| self.of(number).id)
            .collect()
    }

    /// The horizon, or an earlier one where the transaction would have too much to forget.
    fn within_reach(&self, horizon_ms: i64, forget: Forget) -> i64 {
        let (mut commits, mut ids, mut newest) = (0, 0, None);
        for commit in &self.commits {
            let is_full = commits >= forget.commits || ids >= forget.ids;
            match newest {
                _ if commit.newest_ms >= horizon_ms => break,
                Some(newest) if is_full && newest < commit.newest_ms => return newest + 1,
                _ => {}
            }
            commits += 1;
            ids += commit.ids as usize;
            newest = Some(commit.newest_ms);
        }
        horizon_ms
    }

    /// A commit became permanent.
    pub fn committed(&mut self, remember: &Remember) {
        if !remember.ids.ids.is_empty() {
            self.add(&remember.ids);
        }
        if let Some(horizon) = remember.forget_before_ms {
            self.expire(horizon);
        }
    }

    /// Takes in the ids of a commit.
    fn add(&mut self, generation: &Generation) {
        let first_number = self.first_number.wrapping_add(number_of(self.ring.len()));
        for (number, id) in (0..).zip(&generation.ids) {
            let number = first_number.wrapping_add(number);
            // What was known when it was folded says more than what is stored: a deletion may not tell of quantities.
            if let Some(quantities) = self.folded.remove(&id.id) {
                self.ring.push_back(CountedId { quantities, ..*id });
                self.set_number(id.id, number);
                continue;
            }
            let before = self.number(id.id);
            let quantities = before.map_or(id.quantities, |before| self.of(before).quantities);
            self.ring.push_back(CountedId { quantities, ..*id });
            let known_until = before.and_then(|before| self.newest_ms(before));
            if known_until.is_none_or(|newest_ms| newest_ms <= generation.newest_ms) {
                self.set_number(id.id, number);
            }
        }
        let newest_ms = generation.newest_ms;
        let at = self
            .commits
            .partition_point(|commit| commit.newest_ms <= newest_ms);
        let commit = Committed {
            newest_ms,
            written: generation.written,
            first_number,
            ids: number_of(generation.ids.len()),
        };
        self.commits.insert(at, commit);
        self.oldest_ms = Some(self.oldest_ms.map_or(newest_ms, |oldest| oldest.min(newest_ms)));
        self.first = Some(
            self.first
                .map_or(generation.written, |first| first.min(generation.written)),
        );
    }

    /// The source time before which whole commits may be forgotten, given the oldest record of the newest
    /// batch and the window's length; or later, where the window would hold more than `max_ids` ids.
    #[must_use]
    pub(super) fn horizon_ms(&self, oldest_of_batch_ms: i64, window_ms: i64, max_ids: usize) -> i64 {
        let mut horizon = oldest_of_batch_ms.saturating_sub(window_ms);
        let mut held = self.len();
        for commit in &self.commits {
            if held <= max_ids {
                break;
            }
            held -= (commit.ids as usize).min(held);
            horizon = horizon.max(commit.newest_ms.saturating_add(1));
        }
        horizon
    }

    /// Forgets the commits whose newest id is older than the horizon.
    pub(super) fn expire(&mut self, horizon_ms: i64) {
        self.forgotten_before_ms = self.forgotten_before_ms.max(Some(horizon_ms));
        while let Some(commit) = self.commits.pop_front_if(|commit| commit.newest_ms < horizon_ms) {
            for number in commit.numbers() {
                // One that was committed again is known for as long as its later commit.
                self.take_number(self.of(number).id, number);
            }
            self.gone.push((commit.first_number, commit.ids));
        }
        self.shrink();
        self.oldest_ms = self.commits.front().map(|commit| commit.newest_ms);
        self.first = self.commits.iter().map(|commit| commit.written).min();
    }

    /// Gives the room of what is forgotten back, from the front of the ring on.
    fn shrink(&mut self) {
        while let Some(at) = self
            .gone
            .iter()
            .position(|(first, _)| *first == self.first_number)
        {
            let (_, ids) = self.gone.swap_remove(at);
            self.ring.drain(..ids as usize);
            self.first_number = self.first_number.wrapping_add(ids);
        }
    }

    /// How many ids are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len() + self.folded.len()
    }

    /// About how many bytes it takes, with the room that is kept for more. Costs nothing, however many ids there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // A number, and a byte that says whether its place is taken.
        const NUMBER: usize = size_of::<u32>() + 1;
        const FOLDED: usize = size_of::<(IdentityHash, Quantities)>() + 1;
        self.ring.capacity() * size_of::<CountedId>()
            + self.numbers.capacity() * NUMBER
            + self.folded.capacity() * FOLDED
    }

    /// Whether no id is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far back from its newest id the window reaches, in milliseconds: its length, unless it was cut to the
    /// most ids that are remembered.
    #[must_use]
    pub fn reach_ms(&self, window_ms: i64) -> i64 {
        match (self.commits.back(), self.forgotten_before_ms) {
            (Some(newest), Some(forgotten)) => newest.newest_ms.saturating_sub(forgotten).clamp(0, window_ms),
            _ => window_ms,
        }
    }

    /// The source time of the oldest commit that is still known, in milliseconds.
    #[must_use]
    pub const fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }

    /// The first document of the journal that holds an id which is still known.
    #[must_use]
    pub const fn first(&self) -> Option<JournalId> {
        self.first
    }

    /// The id with a number that is in the ring.
    fn of(&self, number: u32) -> CountedId {
        self.ring[number.wrapping_sub(self.first_number) as usize]
    }

    fn number(&self, id: IdentityHash) -> Option<u32> {
        let found = self.numbers.find(hash(id), |number| self.of(*number).id == id);
        found.copied()
    }

    /// The newest source time (ms) of the commit that an id with this number is of. Only asked of ids that come again.
    fn newest_ms(&self, number: u32) -> Option<i64> {
        let mut commits = self.commits.iter();
        let commit = commits.find(|commit| number.wrapping_sub(commit.first_number) < commit.ids)?;
        Some(commit.newest_ms)
    }

    fn set_number(&mut self, id: IdentityHash, number: u32) {
        let (ring, first) = (&self.ring, self.first_number);
        let of = |number: u32| ring[number.wrapping_sub(first) as usize].id;
        let entry = self
            .numbers
            .entry(hash(id), |other| of(*other) == id, |other| hash(of(*other)));
        entry.insert(number);
    }

    /// Forgets an id where this is its number.
    fn take_number(&mut self, id: IdentityHash, number: u32) {
        if let Ok(found) = self.numbers.find_entry(hash(id), |other| *other == number) {
            found.remove();
        }
    }
}

impl Committed {
    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..self.ids).map(move |at| self.first_number.wrapping_add(at))
    }
}

fn hash(id: IdentityHash) -> u64 {
    BuildHasherDefault::<Uniform>::default().hash_one(id)
}

/// A number of ids of one process: far fewer than there are numbers.
fn number_of(ids: usize) -> u32 {
    u32::try_from(ids).expect("fewer than 2^32 ids")
}
