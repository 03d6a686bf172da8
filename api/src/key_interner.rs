//! Keys of groups, each with a small number: so the users of months, weeks and days are added up without a text
//! being looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use rollup::fold::Marginal;

use crate::reader::Key;
use crate::rows::is_sentinel;

/// The bytes of a key besides its text: two copies with their parts, and a place in the table.
const KEY_BYTES: usize = 160;
/// The bytes of an interner without keys.
const ENTRY_BYTES: usize = 256;

/// Keys of groups by number. A key keeps its number for as long as its interner is held.
#[derive(Default)]
pub(crate) struct KeyInterner {
    interned: RwLock<Interned>,
    /// The bytes of this and of all other interners that are held with it.
    all: Arc<AtomicUsize>,
}

/// The keys that have a number.
#[derive(Default)]
pub(crate) struct Interned {
    numbers: HashMap<Key, u32>,
    keys: Vec<Key>,
    /// The numbers of keys that stand for something that no event named.
    unnamed: Vec<u32>,
    bytes: usize,
}

impl Interned {
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
        let number = u32::try_from(self.keys.len()).expect("fewer keys than fit in memory");
        self.bytes += KEY_BYTES + 2 * key.iter().map(|part| part.len()).sum::<usize>();
        if key.iter().any(|part| is_sentinel(part)) {
            self.unnamed.push(number);
        }
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }
}

impl KeyInterner {
    /// All keys that have a number by now.
    pub(crate) fn interned(&self) -> RwLockReadGuard<'_, Interned> {
        self.interned.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of these keys; those without one get the next ones.
    pub(crate) fn numbers(&self, keys: Vec<Key>) -> Vec<u32> {
        let mut interned = self.interned.write().unwrap_or_else(PoisonError::into_inner);
        let before = interned.bytes;
        let numbers = keys.into_iter().map(|key| interned.number(key)).collect();
        self.all.fetch_add(interned.bytes - before, Ordering::Relaxed);
        numbers
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.interned().bytes
    }
}

/// One interner for each marginal of each organization.
pub(crate) struct KeyInterners {
    held: Mutex<Inner>,
    capacity: usize,
}

/// The interners of one edition.
#[derive(Default)]
struct Inner {
    interners: HashMap<(String, Marginal), Arc<KeyInterner>>,
    /// About how many bytes all of them take.
    bytes: Arc<AtomicUsize>,
    /// Moves on when everything is forgotten: numbers of before mean nothing any more.
    edition: usize,
}

/// The interner that was asked for.
pub(crate) struct Found {
    /// With the edition that its numbers belong to. `None`: it has too many keys.
    pub(crate) interner: Option<(Arc<KeyInterner>, usize)>,
    /// Whether everything of before was forgotten.
    pub(crate) is_new_edition: bool,
}

impl KeyInterners {
    /// Interners of so many bytes. When these are full, all start anew.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            held: Mutex::default(),
            capacity,
        }
    }

    /// The interner of a marginal.
    pub(crate) fn of(&self, organization: &str, marginal: Marginal) -> Found {
        let mut held = self.held();
        let is_new_edition = held.bytes.load(Ordering::Relaxed) > self.capacity;
        if is_new_edition {
            *held = Inner {
                edition: held.edition + 1,
                ..Inner::default()
            };
        }
        let Inner {
            interners,
            bytes,
            edition,
        } = &mut *held;
        let own = interners
            .entry((organization.to_owned(), marginal))
            .or_insert_with(|| {
                bytes.fetch_add(ENTRY_BYTES + organization.len(), Ordering::Relaxed);
                Arc::new(KeyInterner {
                    interned: RwLock::default(),
                    all: Arc::clone(bytes),
                })
            });
        Found {
            interner: self.holds(own).then(|| (Arc::clone(own), *edition)),
            is_new_edition,
        }
    }

    /// Whether an interner is small enough to be held.
    pub(crate) fn holds(&self, interner: &KeyInterner) -> bool {
        interner.bytes() <= self.capacity / 2
    }

    /// The edition that numbers belong to now.
    pub(crate) fn edition(&self) -> usize {
        self.held().edition
    }

    fn held(&self) -> MutexGuard<'_, Inner> {
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
    fn keys_are_bounded_also_where_organizations_have_none() {
        let interners = KeyInterners::new(10_000);
        let mut editions = 0;
        for number in 0..1_000 {
            let organization = format!("organization-{number}");
            editions += usize::from(interners.of(&organization, Marginal::User).is_new_edition);
            let held = interners.held();
            assert!(held.interners.len() * ENTRY_BYTES <= 10_000 + ENTRY_BYTES);
        }
        assert!(editions > 10, "{editions}");
        assert_eq!(interners.edition(), editions);
    }

    #[test]
    fn full_interners_start_anew_and_what_is_held_of_before_stays_whole() {
        let interners = KeyInterners::new(2_000);
        let (old, edition) = interners.of("acme", Marginal::User).interner.expect("few");
        let numbers = old.numbers((0..9).map(|user| key(&format!("u{user}"))).collect());
        assert!(
            interners.of("acme", Marginal::User).interner.is_none(),
            "more than half of the room"
        );
        old.numbers((9..20).map(|user| key(&format!("u{user}"))).collect());
        let found = interners.of("acme", Marginal::User);
        assert!(found.is_new_edition);
        let (new, next) = found.interner.expect("none yet");
        assert_ne!(edition, next);
        assert_eq!(new.numbers(vec![key("u5")]), [0]);
        assert_eq!(*old.interned().key(numbers[5]), key("u5"));
    }
}
