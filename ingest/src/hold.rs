//! How what only a person can mend is waited for.

use std::time::Duration;

use tokio::time::Instant;

use crate::ledger::Refusal;

/// How long until it is tried again.
pub(crate) const HOLD: Duration = Duration::from_secs(30);
/// How often it is said, at most.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// Says what a person must mend, once a minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reminder {
    said: Option<Instant>,
}

impl Reminder {
    /// Says it, unless that was less than a minute ago.
    pub(crate) fn refused(&mut self, what: &str, reason: Refusal, why: &str) {
        if self.is_due() {
            tracing::error!(
                reason = reason.name(),
                error = why,
                "{what}: nothing is lost, and it is tried again every {HOLD:?}, but somebody has to act"
            );
        }
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.said.is_none_or(|said| now - said >= REMIND_EVERY);
        if is_due {
            self.said = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_said_once_a_minute() {
        let mut reminder = Reminder::default();
        let mut said = Vec::new();
        for attempt in 0..5 {
            if reminder.is_due() {
                said.push(attempt);
            }
            tokio::time::sleep(HOLD).await;
        }
        assert_eq!(said, [0, 2, 4]);
    }
}
