//! The rules that depend on the clock.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::raw::Field;
use super::reason::Reason;
use super::reject::Reject;

/// 2000-01-01T00:00:00Z in milliseconds: no request completed before.
pub const MIN_COMPLETED_AT_MS: i64 = 946_684_800_000;
/// How far an emitter's clock may be ahead of ours.
pub const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Checks the rules that depend on the clock. That is done once, when an event is first committed, and never
/// again: the stored verdict is the truth for every recount.
///
/// # Errors
/// When the event completed before 2000, longer ago than `max_age`, or more than five minutes after `now`.
pub fn check_time(
    completed_at_ms: i64,
    now: DateTime<Utc>,
    max_age: Option<TimeDelta>,
) -> Result<(), Reject> {
    let now_ms = now.timestamp_millis();
    let oldest_ms = max_age.map_or(i64::MIN, |age| now_ms.saturating_sub(age.num_milliseconds()));
    let reject = |reason, than: String| {
        let at = instant_in_words(completed_at_ms);
        Err(Reject::field(reason, Field::CompletedAt).found(format_args!("is {at}, {than}")))
    };
    let earliest_ms = MIN_COMPLETED_AT_MS.max(oldest_ms);
    if completed_at_ms < earliest_ms {
        return reject(
            Reason::TooOld,
            format!("before {}", instant_in_words(earliest_ms)),
        );
    }
    if completed_at_ms > now_ms.saturating_add(MAX_CLOCK_SKEW.num_milliseconds()) {
        return reject(
            Reason::InTheFuture,
            format!("and it was {}", instant_in_words(now_ms)),
        );
    }
    Ok(())
}

fn instant_in_words(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(at) => at.to_rfc3339_opts(SecondsFormat::Secs, true),
        None => format!("{ms} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_rules_hold_at_their_edges() {
        let now = "2026-03-01T12:00:00Z"
            .parse::<DateTime<Utc>>()
            .expect("an instant");
        let now_ms = now.timestamp_millis();
        let day = Some(TimeDelta::days(1));
        let reason = |at, age| check_time(at, now, age).err().map(|reject| reject.reason);
        assert_eq!(reason(MIN_COMPLETED_AT_MS, None), None);
        assert_eq!(reason(MIN_COMPLETED_AT_MS - 1, None), Some(Reason::TooOld));
        assert_eq!(reason(now_ms - 86_400_000, day), None);
        assert_eq!(reason(now_ms - 86_400_001, day), Some(Reason::TooOld));
        assert_eq!(reason(now_ms + 300_000, day), None);
        assert_eq!(reason(now_ms + 300_001, day), Some(Reason::InTheFuture));
        assert_eq!(reason(i64::MAX, None), Some(Reason::InTheFuture));
        assert_eq!(reason(i64::MIN, None), Some(Reason::TooOld));
    }
}
