//! The bytes of all answers under way.

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// A text is charged for in steps of this many bytes while it grows.
const STEP: usize = 64 * 1024;

/// So many bytes may be held for answers.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    all: u32,
}

/// Bytes of the budget, until they are dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            free: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// What one answer can be charged for at most: all that there is.
    fn at_most(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.all)
    }

    /// Takes so many bytes at once.
    ///
    /// # Errors
    /// When they are not there.
    pub(crate) fn take(&self, bytes: usize) -> Result<Taken, Problem> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.at_most(bytes));
        permit.map(|_permit| Taken { _permit }).map_err(|_| exhausted())
    }

    /// Waits for so many bytes: for more of an answer that has begun.
    pub(crate) async fn wait(&self, bytes: usize) -> Result<Taken, Problem> {
        let permit = Arc::clone(&self.free)
            .acquire_many_owned(self.at_most(bytes))
            .await;
        permit
            .map(|_permit| Taken { _permit })
            .map_err(|error| Problem::internal(&error))
    }

    /// A text that is charged for while it is written.
    pub(crate) fn text(&self) -> Text {
        Text {
            bytes: Vec::new(),
            budget: self.clone(),
            taken: Vec::new(),
            charged: 0,
        }
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
    budget: Budget,
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
            let taken = self.budget.take(step);
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
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::new(3 * STEP);
        let mut text = budget.text();
        text.json(&"x".repeat(STEP)).expect("two steps");
        let held = charged(vec![0; 10], budget.take(STEP - 10).expect("there"));
        let piece = held.slice(3..4);
        drop(held);
        assert_eq!(budget.take(STEP).expect_err("not there").status(), 503);
        let mut other = budget.text();
        let refused = other.json(&"x".repeat(STEP)).expect_err("not there");
        assert_eq!(refused.status(), 503);
        drop((piece, other));
        assert!(budget.take(STEP).is_ok(), "given back with its last piece");
        drop(text);
        // One answer may take everything, whatever it comes to.
        let all = budget.take(usize::MAX).expect("there");
        let mut waiting = std::pin::pin!(budget.wait(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(all);
        assert!(waiting.await.is_ok());
    }
}
