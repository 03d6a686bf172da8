//! What is done about dead letters beside reading: those that a person marked are judged again, and payloads that were
//! kept for long enough are dropped.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::health::Trouble;
use crate::hold::Reminder;
use crate::ledger::FenceError;

/// Whether the ledger is being asked for dead letters that are to be judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replays {
    Rest,
    Asking,
    /// There were more than it gave at once.
    More,
}

/// See the module.
#[derive(Debug)]
pub(super) struct DeadLetters {
    /// How long the payloads of open letters are kept; `None`: for ever.
    keep: Option<Duration>,
    replays: Replays,
    is_dropping: bool,
    reminder: Reminder,
}

impl DeadLetters {
    pub(super) fn new(keep: Option<Duration>) -> Self {
        Self {
            keep,
            replays: Replays::Rest,
            is_dropping: false,
            reminder: Reminder::default(),
        }
    }

    /// Whether the ledger is to be asked again as soon as those of the last time are committed.
    pub(super) fn are_more(&self) -> bool {
        self.replays == Replays::More
    }

    /// Whether the ledger is to be asked now for letters to be judged again; it counts as asked then. Not before those
    /// of the last time are committed, so that none is folded twice.
    pub(super) fn ask(&mut self, are_on_their_way: bool) -> bool {
        if self.replays == Replays::Asking || are_on_their_way {
            return false;
        }
        self.replays = Replays::Asking;
        true
    }

    /// The ledger gave so many letters to be judged again.
    pub(super) const fn given(&mut self, letters: usize) {
        self.replays = if letters == 0 {
            Replays::Rest
        } else {
            Replays::More
        };
    }

    /// The ledger could not be asked, and why; it is asked again in a moment.
    pub(super) fn not_given(&mut self, error: &FenceError) -> Trouble {
        const WHAT: &str = "dead letters that are to be judged again cannot be looked up";
        match error {
            FenceError::Away(_) => tracing::warn!(%error, "{WHAT}"),
            FenceError::Refused { reason, why } => self.reminder.refused(WHAT, *reason, why),
        }
        self.replays = Replays::Rest;
        Trouble::from(error)
    }

    /// Payloads hold whatever an emitter sent: they are kept for as long as the settings say. Those of letters that were
    /// rejected before this are to be dropped now; it counts as begun then.
    pub(super) fn drop_before(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let keep = self.keep.and_then(|keep| TimeDelta::from_std(keep).ok());
        let before = keep.and_then(|keep| now.checked_sub_signed(keep));
        let before = before.filter(|_| !self.is_dropping);
        self.is_dropping |= before.is_some();
        before
    }

    /// Payloads were dropped, or were not.
    pub(super) fn dropped(&mut self, result: Result<u64, FenceError>) {
        self.is_dropping = false;
        match result {
            Ok(0) => {}
            Ok(letters) => {
                tracing::info!(letters, "payloads of open dead letters were dropped by age")
            }
            // They wait for the next time.
            Err(error) => tracing::warn!(%error, "payloads of dead letters cannot be dropped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_asked_for_one_time_after_the_other_and_never_while_some_are_on_their_way() {
        let mut letters = DeadLetters::new(None);
        assert!(!letters.ask(true));
        assert!(letters.ask(false));
        assert!(!letters.ask(false), "the ledger is being asked");
        letters.given(2);
        assert!(letters.are_more());
        assert!(letters.ask(false));
        letters.given(0);
        assert!(!letters.are_more());
        assert!(letters.ask(false));
        letters.not_given(&FenceError::Away("why".into()));
        assert!(letters.ask(false));
    }

    #[test]
    fn payloads_are_dropped_by_age_one_time_after_the_other_and_never_where_they_are_kept_for_ever() {
        let now: DateTime<Utc> = "2026-01-05T10:00:00Z".parse().expect("an instant");
        assert_eq!(DeadLetters::new(None).drop_before(now), None);
        let mut letters = DeadLetters::new(Some(Duration::from_secs(60)));
        let before = now - TimeDelta::seconds(60);
        assert_eq!(letters.drop_before(now), Some(before));
        assert_eq!(letters.drop_before(now), None);
        letters.dropped(Ok(1));
        assert_eq!(letters.drop_before(now), Some(before));
        let mut letters = DeadLetters::new(Some(Duration::MAX));
        assert_eq!(letters.drop_before(now), None);
    }
}
