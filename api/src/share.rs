//! The number of answers that one caller may have under way at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limit::Name;
use crate::problem::{Kind, Problem};

/// How long a further question waits for one of the caller's answers to end. A page asks for all that it shows
/// at once, and each takes a moment.
const WAIT: Duration = Duration::from_secs(2);

/// The answers of each caller.
#[derive(Debug)]
pub(crate) struct Shares {
    callers: Mutex<HashMap<Name, Arc<Semaphore>>>,
    most: usize,
}

/// One answer of a caller, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    // In this order: the place is free again before it is looked whether the caller still has any.
    _permit: OwnedSemaphorePermit,
    _entry: Entry,
}

/// A caller who has an answer, or waits for one.
#[derive(Debug)]
struct Entry {
    shares: Arc<Shares>,
    name: Name,
    places: Option<Arc<Semaphore>>,
}

impl Shares {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            callers: Mutex::default(),
            most,
        })
    }

    /// One more answer for a caller.
    ///
    /// # Errors
    /// When the caller has so many already, and none of them ends.
    pub(crate) async fn take(self: &Arc<Self>, name: &Name) -> Result<Share, Problem> {
        let places = {
            let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
            let places = callers.entry(name.clone());
            Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(self.most))))
        };
        let entry = Entry {
            shares: Arc::clone(self),
            name: name.clone(),
            places: Some(Arc::clone(&places)),
        };
        match tokio::time::timeout(WAIT, places.acquire_owned()).await {
            Ok(permit) => Ok(Share {
                _permit: permit.map_err(|error| Problem::internal(&error))?,
                _entry: entry,
            }),
            Err(_) => {
                let detail = format!(
                    "{} answers to one caller are under way already: read them to their ends, then ask again",
                    self.most
                );
                Err(Problem::new(Kind::RateLimited, detail).retry_after(1))
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.places = None;
        let mut callers = self.shares.callers.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the map holds it: the caller has no answer, and waits for none.
        if callers
            .get(&self.name)
            .is_some_and(|places| Arc::strong_count(places) == 1)
        {
            callers.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_has_so_many_answers_and_others_have_theirs() {
        let shares = Shares::new(4);
        let (one, other) = (Name::Subject("u1".into()), Name::Subject("u2".into()));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(shares.take(&one).await.expect("free"));
        }
        assert_eq!(shares.take(&one).await.expect_err("too many").status(), 429);
        assert!(shares.take(&other).await.is_ok());
        // A fifth gets the place of one that ends.
        let mut fifth = std::pin::pin!(shares.take(&one));
        assert!(futures_util::poll!(&mut fifth).is_pending());
        held.pop();
        held.push(fifth.await.expect("free"));
        drop(held);
        assert!(
            shares.callers.lock().expect("no panic").is_empty(),
            "nobody is remembered"
        );
    }
}
