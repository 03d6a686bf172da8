//! The bytes of all answers under way, and the share of each caller.
//!
//! The bytes of an answer come back when its last one is sent, which may be long: so none of them can be asked back when
//! somebody else comes. A caller who takes more therefore leaves room beforehand: [`is_fair`].

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio::sync::Notify;

use crate::limit::Name;
use crate::problem::{Kind, Problem};

/// A text is charged for in steps of this many bytes while it grows.
const STEP: usize = 64 * 1024;

/// Whether a caller who holds `own` bytes may take so many more of those that are free: it leaves others as much as it
/// holds then. So one caller gets half, the next half of what is left, and each finds something.
fn is_fair(own: usize, free: usize, wanted: usize) -> bool {
    free.checked_sub(wanted).is_some_and(|left| own + wanted <= left)
}

/// So many bytes may be held for answers.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    held: Mutex<Inner>,
    /// Some came back.
    back: Notify,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    by: HashMap<Name, usize>,
}

/// What one caller may take of the budget.
#[derive(Debug, Clone)]
pub(crate) struct Purse {
    budget: Budget,
    name: Name,
}

/// Bytes of the budget, until they are dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    from: Purse,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared {
            all: bytes,
            held: Mutex::new(Inner {
                free: bytes,
                by: HashMap::new(),
            }),
            back: Notify::new(),
        }))
    }

    /// What this caller may take.
    pub(crate) fn of(&self, name: &Name) -> Purse {
        Purse {
            budget: self.clone(),
            name: name.clone(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Inner> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Purse {
    /// Takes so many bytes at once.
    ///
    /// # Errors
    /// When they are not there, or would leave too few for others.
    pub(crate) fn take(&self, bytes: usize) -> Result<Taken, Problem> {
        self.taken(bytes).ok_or_else(exhausted)
    }

    /// Waits for so many bytes: for more of an answer that has begun.
    pub(crate) async fn wait(&self, bytes: usize) -> Taken {
        loop {
            // Before it is looked: what comes back meanwhile is heard of.
            let back = self.budget.0.back.notified();
            if let Some(taken) = self.taken(bytes) {
                return taken;
            }
            back.await;
        }
    }

    /// A text that is charged for while it is written.
    pub(crate) fn text(&self) -> Text {
        Text {
            bytes: Vec::new(),
            purse: self.clone(),
            taken: Vec::new(),
            charged: 0,
        }
    }

    /// One answer can be charged for at most what a caller gets alone, whatever it comes to.
    fn taken(&self, bytes: usize) -> Option<Taken> {
        let bytes = bytes.min(self.budget.0.all / 2);
        let mut held = self.budget.held();
        let own = held.by.get(&self.name).copied().unwrap_or(0);
        if !is_fair(own, held.free, bytes) {
            return None;
        }
        held.free -= bytes;
        held.by.insert(self.name.clone(), own + bytes);
        Some(Taken {
            from: self.clone(),
            bytes,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Purse { budget, name } = &self.from;
        let mut held = budget.held();
        held.free += self.bytes;
        if let Some(own) = held.by.get_mut(name) {
            *own -= self.bytes;
            if *own == 0 {
                held.by.remove(name);
            }
        }
        drop(held);
        budget.0.back.notify_waiters();
    }
}

fn exhausted() -> Problem {
    let detail = "too many answers wait to be read at the moment: come again later";
    Problem::new(Kind::Unavailable, detail).retry_after(1)
}

/// A text with what it takes of the budget.
#[derive(Debug)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    purse: Purse,
    taken: Vec<Taken>,
    charged: usize,
}

impl Text {
    /// Writes a value as JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Problem> {
        serde_json::to_writer(&mut *self, value)
            .map_err(|error| if error.is_io() { exhausted() } else { error.into() })
    }

    /// The text, and what it takes of the budget.
    pub(crate) fn parts(self) -> (Vec<u8>, Vec<Taken>) {
        (self.bytes, self.taken)
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = (self.bytes.len() + bytes.len()).saturating_sub(self.charged);
        if missing > 0 {
            let step = missing.max(STEP);
            let taken = self.purse.take(step);
            self.taken
                .push(taken.map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?);
            self.charged += step;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that give back what they take when the last of them is sent.
pub(crate) fn charged(bytes: Vec<u8>, taken: Taken) -> Bytes {
    struct Charged(Vec<u8>, #[expect(dead_code, reason = "held, not read")] Taken);
    impl AsRef<[u8]> for Charged {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Charged(bytes, taken))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purse(budget: &Budget, subject: &str) -> Purse {
        budget.of(&Name::Subject(subject.to_owned()))
    }

    #[tokio::test]
    async fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::new(6 * STEP);
        let purse = purse(&budget, "u1");
        let mut text = purse.text();
        text.json(&"x".repeat(STEP)).expect("two steps");
        let held = charged(vec![0; 10], purse.take(STEP - 10).expect("there"));
        let piece = held.slice(3..4);
        drop(held);
        assert_eq!(purse.take(STEP).expect_err("not there").status(), 503);
        let mut other = purse.text();
        let refused = other.json(&"x".repeat(STEP)).expect_err("not there");
        assert_eq!(refused.status(), 503);
        drop((piece, other));
        assert!(purse.take(STEP - 10).is_ok(), "given back with its last piece");
        drop(text);
        // One answer may take all that one caller gets, whatever it comes to.
        let all = purse.take(usize::MAX).expect("there");
        let mut waiting = std::pin::pin!(purse.wait(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(all);
        drop(waiting.await);
        assert!(budget.held().by.is_empty(), "nobody is remembered");
    }

    #[test]
    fn one_caller_leaves_room_for_others() {
        let budget = Budget::new(64);
        let hold = |subject: &str| -> Vec<Taken> {
            let purse = purse(&budget, subject);
            std::iter::from_fn(|| purse.take(1).ok()).collect()
        };
        let greedy = hold("greedy");
        assert_eq!(greedy.len(), 32, "half of all");
        let other = hold("other");
        assert_eq!(other.len(), 16, "half of what is left");
        assert!(purse(&budget, "greedy").take(1).is_err());
        assert!(purse(&budget, "third").take(1).is_ok());
    }

    proptest! {
        /// Whatever four callers take and give back: a fifth finds something, and all of it comes back.
        #[test]
        fn whoever_has_nothing_finds_something(steps in prop::collection::vec((0_usize..4, 0_usize..400, any::<bool>()), 0..200)) {
            const ALL: usize = 1_024;
            const LEFT: usize = ALL >> 4;
            let budget = Budget::new(ALL);
            let mut held: Vec<(usize, Taken)> = Vec::new();
            for (who, bytes, gives) in steps {
                if gives && !held.is_empty() {
                    held.swap_remove(bytes % held.len());
                } else if let Ok(taken) = purse(&budget, &who.to_string()).take(bytes) {
                    held.push((who, taken));
                }
                let sum: usize = held.iter().map(|(_, taken)| taken.bytes).sum();
                prop_assert_eq!(budget.held().free, ALL - sum);
                prop_assert!(ALL - sum >= LEFT);
                prop_assert!(purse(&budget, "who has nothing").take(LEFT / 2).is_ok());
            }
            held.clear();
            prop_assert_eq!(budget.held().free, ALL);
            prop_assert!(budget.held().by.is_empty());
        }
    }
}
