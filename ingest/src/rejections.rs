//! What the log says of records that are rejected.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::event::Reason;

/// How often it is said of a reason, at most.
const SAY_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Says of each reason that records are rejected for it: of the first at once, then once a minute at most, with how
/// many there were since.
#[derive(Debug, Default)]
pub(crate) struct Rejections(BTreeMap<Reason, Said>);

#[derive(Debug, Default)]
struct Said {
    at: Option<DateTime<Utc>>,
    unsaid: u64,
}

impl Rejections {
    /// A record was rejected, and its letter is kept.
    pub(crate) fn add(&mut self, reason: Reason) {
        self.0.entry(reason).or_default().unsaid += 1;
    }

    /// Says what is due.
    pub(crate) fn say(&mut self, now: DateTime<Utc>) {
        for (reason, events) in self.due(now) {
            let reason = reason.code();
            tracing::warn!(
                reason,
                events,
                "rejected: these are dead letters, and in no figure until they are mended and replayed, or sent again; \
                 look at them with `usage-ledger dead-letters list --reason {reason}`"
            );
        }
    }

    fn due(&mut self, now: DateTime<Utc>) -> Vec<(Reason, u64)> {
        let is_due = |said: &Said| said.unsaid > 0 && said.at.is_none_or(|at| now - at >= SAY_EVERY);
        let due = self.0.iter_mut().filter(|(_, said)| is_due(said));
        due.map(|(reason, said)| {
            said.at = Some(now);
            (*reason, std::mem::take(&mut said.unsaid))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_reason_is_said_at_once_and_the_others_once_a_minute() {
        let mut rejections = Rejections::default();
        let at = |second: i64| DateTime::from_timestamp(1_790_000_000 + second, 0).expect("an instant");
        let mut said = Vec::new();
        for second in 0_i64..=180 {
            if second < 90 {
                rejections.add(Reason::TooOld);
            }
            if second == 30 {
                rejections.add(Reason::WrongType);
            }
            let due = rejections.due(at(second));
            said.extend(
                due.into_iter()
                    .map(|(reason, events)| (second, reason.code(), events)),
            );
        }
        assert_eq!(
            said,
            [
                (0, "too_old", 1),
                (30, "wrong_type", 1),
                (60, "too_old", 60),
                // The last ones, although no other follows; and nothing where there is nothing to say.
                (120, "too_old", 29),
            ]
        );
    }
}
