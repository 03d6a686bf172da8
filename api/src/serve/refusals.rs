//! Connections that cannot be accepted: the pause, and the line in the log.

use std::time::Duration;

use tokio::time::Instant;

/// The wait after the first failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The least time between two sentences about it.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Failures to accept since the last time that it was said.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pause: Duration,
    said: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// Takes note of a failure: how long to wait, and of how many failures to tell, if it is time for that.
    pub(super) fn refused(&mut self, now: Instant) -> (Duration, Option<u64>) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.unsaid += 1;
        if self.said.is_some_and(|said| now < said + SAY_EVERY) {
            return (self.pause, None);
        }
        self.said = Some(now);
        (self.pause, Some(std::mem::take(&mut self.unsaid)))
    }

    /// Takes note that a connection was accepted.
    pub(super) fn accepted(&mut self) {
        self.pause = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_minute_of_failures_is_told_in_a_few_sentences_and_counted_whole() {
        let begin = Instant::now();
        let (mut refusals, mut now) = (Refusals::default(), begin);
        let (mut told, mut failures) = (Vec::new(), 0_u64);
        while now < begin + Duration::from_secs(61) {
            let (pause, say) = refusals.refused(now);
            failures += 1;
            told.extend(say);
            now += pause;
        }
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told.iter().sum::<u64>() + refusals.unsaid, failures);
        assert!(failures < 80, "{failures} tries in a minute");
        // What was accepted between makes the next wait short again, and says nothing sooner.
        refusals.accepted();
        assert_eq!(refusals.refused(now), (FIRST_PAUSE, None));
    }
}
