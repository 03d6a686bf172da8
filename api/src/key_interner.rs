//! Keys of groups, each with a small number: so the users of months, weeks and days are added up without a text
//! being looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use rollup::fold::Marginal;

use crate::by::is_sentinel;
use crate::reader::Key;

/// The bytes of a key besides its text: two copies with their parts, and a place in the table.
const KEY_BYTES: usize = 160;
/// The bytes of an interner without keys.
const ENTRY_BYTES: usize = 256;

/// Keys of groups by number. A key keeps its number for as long as these names are held.
#[derive(Default)]
pub(crate) struct Names {
    known: RwLock<Known>,
    /// The bytes of these and of all other names that are held with them.
    all: Arc<AtomicUsize>,
}

/// The keys that have a number.
#[derive(Default)]
pub(crate) struct Known {
    numbers: HashMap<Key, u32>,
    keys: Vec<Key>,
    /// The numbers of keys that stand for something that no event named.
    unnamed: Vec<u32>,
    bytes: usize,
}

impl Known {
    /// The numbers of keys that stand for something that no event named.
    pub(crate) fn unnamed(&self) -> &[u32] {
        &self.unnamed
    }

    /// The key of a number.
    pub(crate) fn key(&self, number: u32) -> &Key {
        &self.keys[number as usize]
    }

    fn number(&mut self, key: Key) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = u32::try_from(self.keys.len()).expect("fewer names than fit in memory");
        self.bytes += KEY_BYTES + 2 * key.iter().map(|part| part.len()).sum::<usize>();
        if key.iter().any(|part| is_sentinel(part)) {
            self.unnamed.push(number);
        }
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }
}

impl Names {
    /// Everything that has a number by now.
    pub(crate) fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of these keys; those without one get the next ones.
    pub(crate) fn numbers(&self, keys: Vec<Key>) -> Vec<u32> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.bytes;
        let numbers = keys.into_iter().map(|key| known.number(key)).collect();
        self.all.fetch_add(known.bytes - before, Ordering::Relaxed);
        numbers
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.known().bytes
    }
}

/// The names of every organization's marginals.
pub(crate) struct Directory {
    held: Mutex<Held>,
    capacity: usize,
}

/// The names of one edition.
#[derive(Default)]
struct Held {
    names: HashMap<(String, Marginal), Arc<Names>>,
    /// About how many bytes all of them take.
    bytes: Arc<AtomicUsize>,
    /// Moves on when everything is forgotten: numbers of before mean nothing any more.
    edition: usize,
}

/// The names that were asked for.
pub(crate) struct Found {
    /// With the edition that their numbers belong to. `None`: there are too many.
    pub(crate) names: Option<(Arc<Names>, usize)>,
    /// Whether everything of before was forgotten.
    pub(crate) is_new_edition: bool,
}

impl Directory {
    /// A directory of so many bytes. When it is full, it starts anew.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            held: Mutex::default(),
            capacity,
        }
    }

    /// The names of a marginal.
    pub(crate) fn names(&self, organization: &str, marginal: Marginal) -> Found {
        let mut held = self.held();
        let is_new_edition = held.bytes.load(Ordering::Relaxed) > self.capacity;
        if is_new_edition {
            *held = Held {
                edition: held.edition + 1,
                ..Held::default()
            };
        }
        let Held {
            names,
            bytes,
            edition,
        } = &mut *held;
        let own = names
            .entry((organization.to_owned(), marginal))
            .or_insert_with(|| {
                bytes.fetch_add(ENTRY_BYTES + organization.len(), Ordering::Relaxed);
                Arc::new(Names {
                    known: RwLock::default(),
                    all: Arc::clone(bytes),
                })
            });
        Found {
            names: self.holds(own).then(|| (Arc::clone(own), *edition)),
            is_new_edition,
        }
    }

    /// Whether these are few enough to be held.
    pub(crate) fn holds(&self, names: &Names) -> bool {
        names.bytes() <= self.capacity / 2
    }

    /// The edition that numbers belong to now.
    pub(crate) fn edition(&self) -> usize {
        self.held().edition
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Box::new([name.into()])
    }

    #[test]
    fn names_are_bounded_also_where_organizations_have_none() {
        let directory = Directory::new(10_000);
        let mut editions = 0;
        for number in 0..1_000 {
            let organization = format!("organization-{number}");
            editions += usize::from(directory.names(&organization, Marginal::User).is_new_edition);
            let held = directory.held();
            assert!(held.names.len() * ENTRY_BYTES <= 10_000 + ENTRY_BYTES);
        }
        assert!(editions > 10, "{editions}");
        assert_eq!(directory.edition(), editions);
    }

    #[test]
    fn a_full_directory_starts_anew_and_what_is_held_of_before_stays_whole() {
        let directory = Directory::new(2_000);
        let (old, edition) = directory.names("acme", Marginal::User).names.expect("few");
        let numbers = old.numbers((0..9).map(|user| key(&format!("u{user}"))).collect());
        assert!(
            directory.names("acme", Marginal::User).names.is_none(),
            "more than half of the room"
        );
        old.numbers((9..20).map(|user| key(&format!("u{user}"))).collect());
        let found = directory.names("acme", Marginal::User);
        assert!(found.is_new_edition);
        let (new, next) = found.names.expect("none yet");
        assert_ne!(edition, next);
        assert_eq!(new.numbers(vec![key("u5")]), [0]);
        assert_eq!(*old.known().key(numbers[5]), key("u5"));
    }
}
