//! Leases: which workers live, and which of several leads a lane that no source assigns.
//!
//! They give liveness and nothing else: what may be written the fences alone decide. So a lease is renewed beside
//! the commits, however long they take, and is judged by the clock of the store, never by two clocks at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// A loop that got nothing done for so long is taken for dead, although its process lives.
const LIFE: Duration = Duration::from_secs(60);

/// When the loop of this worker last got something done: an attempt, one statement of an attempt, a poll or an idle
/// step ended. Clones share it.
#[derive(Debug, Clone)]
pub struct Life(Arc<Mutex<Instant>>);

impl Life {
    /// A loop that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Something was done.
    pub fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether something was done of late, so that leases are worth renewing.
    #[must_use]
    pub fn shows(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < LIFE
    }
}

/// How often a lease of this length is renewed: two renewals may fail.
#[must_use]
pub fn renew_every(length: Duration) -> Duration {
    length / 3
}

/// For how long a lease still holds, given when it was renewed and the clock of the store; `None`: it is over.
#[must_use]
pub fn remaining(renewed: DateTime<Utc>, length: Duration, now: DateTime<Utc>) -> Option<Duration> {
    let length = TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
    // A clock that was set back makes a lease no longer than it is.
    let held = (now - renewed).max(TimeDelta::zero());
    let left = length.checked_sub(&held)?;
    left.to_std().ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_for_its_length_by_one_clock() {
        let (start, length) = (DateTime::UNIX_EPOCH, Duration::from_secs(10));
        let left = |ms: i64| remaining(start, length, start + TimeDelta::milliseconds(ms));
        assert_eq!(left(0), Some(length));
        assert_eq!(left(9_999), Some(Duration::from_millis(1)));
        assert_eq!(left(10_000), None);
        assert_eq!(left(1_000_000), None);
        assert_eq!(left(-5_000), Some(length), "the clock was set back");
        let endless = remaining(start, Duration::MAX, start + TimeDelta::days(1));
        assert!(endless.is_some_and(|left| left > Duration::from_secs(1 << 40)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_gets_nothing_done_shows_no_life() {
        let life = Life::begin();
        let seen = life.clone();
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(seen.shows());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!seen.shows());
        life.touch();
        assert!(seen.shows());
    }
}
