//! Remembered answers, bounded in bytes.
//!
//! A key names everything that an answer depends on, the version of the rows among it. So nothing here is
//! ever invalidated: when a row changes, whichever process changed it, the version changes, the old entry is
//! not asked for again, and makes room when room is needed.

use std::fmt::{self, Debug, Write};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use prometheus::IntCounterVec;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

/// The bytes of an entry besides its value: its key, its slot, its share of the table.
const ENTRY_BYTES: usize = 256;
/// One value may take one part in so many of the whole.
const LARGEST_SHARE: usize = 4;

/// A value whose size in memory can be told.
pub(crate) trait Weighed {
    /// About how many bytes it takes.
    fn weight(&self) -> usize;
}

/// Stands for everything that a value depends on, however long that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of what this shows, which must be all of it.
    pub(crate) fn of(dependencies: &impl Debug) -> Self {
        struct Shown(Sha256);
        impl Write for Shown {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.update(text);
                Ok(())
            }
        }
        let mut shown = Shown(Sha256::new());
        write!(shown, "{dependencies:?}").expect("a hash takes everything");
        Self(shown.0.finalize().into())
    }
}

struct Slot<V> {
    cell: OnceCell<Arc<V>>,
    used: AtomicU64,
    bytes: AtomicUsize,
}

/// Values by key, the least recently used of them dropped when they take too much room.
pub(crate) struct Cache<V> {
    slots: DashMap<CacheKey, Arc<Slot<V>>>,
    capacity: usize,
    largest: usize,
    bytes: AtomicUsize,
    tick: AtomicU64,
    lookups: IntCounterVec,
}

impl<V: Weighed> Cache<V> {
    /// A cache of so many bytes that counts its lookups under the label `hit` or `miss`.
    pub(crate) fn new(capacity: usize, lookups: IntCounterVec) -> Self {
        Self {
            slots: DashMap::new(),
            capacity,
            largest: capacity / LARGEST_SHARE,
            bytes: AtomicUsize::new(0),
            tick: AtomicU64::new(0),
            lookups,
        }
    }

    /// The same, with no value of more than so many bytes in it.
    pub(crate) fn of_at_most(self, bytes: usize) -> Self {
        Self {
            largest: self.largest.min(bytes),
            ..self
        }
    }

    /// The most bytes that all values together may take.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The most bytes that one value may take. A larger one is answered, but not kept.
    pub(crate) fn largest(&self) -> usize {
        self.largest
    }

    /// The value of a key, made by `make` where it is not there. Callers who ask for the same key at the
    /// same time share one making. A failure is not remembered.
    pub(crate) async fn get_or_make<E>(
        &self,
        key: CacheKey,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<Arc<V>, E> {
        // The makings of answers are large: they are moved by their address.
        let make = Box::pin(make);
        let now = self.tick.fetch_add(1, Ordering::Relaxed);
        let slot = self.slot(key);
        slot.used.store(now, Ordering::Relaxed);
        let mut made = false;
        let result = slot.cell.get_or_try_init(async || {
            made = true;
            make.await.map(Arc::new)
        });
        let result = result.await.cloned();
        self.lookups
            .with_label_values(&[if made { "miss" } else { "hit" }])
            .inc();
        match &result {
            Ok(value) if made => self.charge(key, &slot, value.weight()),
            Ok(_) => {}
            Err(_) => self.remove(key, |slot| !slot.cell.initialized()),
        }
        result
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: CacheKey) -> Option<Arc<V>> {
        let slot = self.slots.get(&key)?;
        let now = self.tick.fetch_add(1, Ordering::Relaxed);
        slot.used.store(now, Ordering::Relaxed);
        slot.cell.get().cloned()
    }

    /// Remembers a value that was made elsewhere. One that is there already stays.
    pub(crate) fn put(&self, key: CacheKey, value: V) {
        let slot = self.slot(key);
        let now = self.tick.fetch_add(1, Ordering::Relaxed);
        slot.used.store(now, Ordering::Relaxed);
        let weight = value.weight();
        if slot.cell.set(Arc::new(value)).is_ok() {
            self.charge(key, &slot, weight);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let keys: Vec<CacheKey> = self.slots.iter().map(|entry| *entry.key()).collect();
        for key in keys {
            self.remove(key, |_| true);
        }
    }

    fn slot(&self, key: CacheKey) -> Arc<Slot<V>> {
        if let Some(slot) = self.slots.get(&key) {
            return Arc::clone(&slot);
        }
        let slot = self.slots.entry(key).or_insert_with(|| {
            self.bytes.fetch_add(ENTRY_BYTES, Ordering::Relaxed);
            Arc::new(Slot {
                cell: OnceCell::new(),
                used: AtomicU64::new(0),
                bytes: AtomicUsize::new(ENTRY_BYTES),
            })
        });
        Arc::clone(&slot)
    }

    fn charge(&self, key: CacheKey, slot: &Arc<Slot<V>>, weight: usize) {
        // Under the entry's lock: a slot that has been dropped meanwhile takes no room any more.
        if let Some(kept) = self.slots.get(&key).filter(|kept| Arc::ptr_eq(kept, slot)) {
            kept.bytes.fetch_add(weight, Ordering::Relaxed);
            self.bytes.fetch_add(weight, Ordering::Relaxed);
        }
        if weight > self.largest() {
            self.remove(key, |_| true);
        }
        if self.bytes.load(Ordering::Relaxed) > self.capacity {
            self.shrink();
        }
    }

    fn remove(&self, key: CacheKey, when: impl Fn(&Slot<V>) -> bool) {
        if let Some((_, slot)) = self.slots.remove_if(&key, |_, slot| when(slot)) {
            self.bytes
                .fetch_sub(slot.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Drops the least recently used until a quarter of the room is free.
    fn shrink(&self) {
        let mut ages: Vec<(u64, CacheKey)> = self
            .slots
            .iter()
            .map(|entry| (entry.value().used.load(Ordering::Relaxed), *entry.key()))
            .collect();
        ages.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in ages {
            if self.bytes.load(Ordering::Relaxed) <= self.capacity / 4 * 3 {
                break;
            }
            self.remove(key, |_| true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    struct Heavy(usize);

    impl Weighed for Heavy {
        fn weight(&self) -> usize {
            self.0
        }
    }

    fn cache(capacity: usize) -> Cache<Heavy> {
        let options = prometheus::Opts::new("lookups", "Lookups.");
        Cache::new(
            capacity,
            IntCounterVec::new(options, &["result"]).expect("a metric"),
        )
    }

    async fn ask(cache: &Cache<Heavy>, key: u32, weight: usize) -> bool {
        let mut made = false;
        let value = cache.get_or_make(CacheKey::of(&key), async {
            made = true;
            Ok::<_, Infallible>(Heavy(weight))
        });
        drop(value.await);
        made
    }

    #[tokio::test]
    async fn it_stays_within_its_bytes_and_drops_what_was_not_used() {
        let cache = cache(100_000);
        for key in 0..1_000 {
            assert!(ask(&cache, key, 2_000).await);
            ask(&cache, 0, 2_000).await;
            assert!(cache.bytes.load(Ordering::Relaxed) <= 100_000);
        }
        assert!(!ask(&cache, 0, 2_000).await, "what is used stays");
        assert!(ask(&cache, 1, 2_000).await, "what is not used goes");
        let kept: usize = cache
            .slots
            .iter()
            .map(|slot| slot.bytes.load(Ordering::Relaxed))
            .sum();
        assert_eq!(kept, cache.bytes.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_is_too_large_is_answered_and_not_kept() {
        let cache = cache(100_000);
        assert!(ask(&cache, 1, 25_001).await);
        assert!(ask(&cache, 1, 25_001).await);
        assert_eq!(cache.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let cache = cache(100_000);
        let failed = cache
            .get_or_make(CacheKey::of(&1), async { Err::<Heavy, _>("down") })
            .await;
        assert_eq!(failed.err(), Some("down"));
        assert_eq!(cache.bytes.load(Ordering::Relaxed), 0);
        assert!(ask(&cache, 1, 1).await);
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_one_making() {
        let cache = cache(100_000);
        let slow = |made: &mut bool| {
            *made = true;
        };
        let (mut first, mut second) = (false, false);
        let one = cache.get_or_make(CacheKey::of(&7), async {
            tokio::task::yield_now().await;
            slow(&mut first);
            Ok::<_, Infallible>(Heavy(1))
        });
        let other = cache.get_or_make(CacheKey::of(&7), async {
            slow(&mut second);
            Ok::<_, Infallible>(Heavy(1))
        });
        let (one, other) = tokio::join!(one, other);
        assert!(one.is_ok() && other.is_ok());
        assert!(first && !second);
    }
}
