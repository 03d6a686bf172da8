//! The day that a dead letter is counted in.

use chrono::{DateTime, Utc};
use ingest::ledger::DeadLetter;
use rollup::event::check_time;
use rollup::period::{Calendar, Granularity, Period};

/// The day of its event. Where that could not be read, or is no time at which an event can have completed, the day on
/// which the source took it in: a wrong unit or clock must not put usage into a year that nobody asks for. Where the
/// source's time is no better, the day on which it was rejected.
pub(super) fn of(letter: &DeadLetter, calendar: &Calendar, rejected_at: DateTime<Utc>) -> Period {
    let told = [letter.about.completed_at_ms, Some(letter.source_time_ms)];
    let is_possible = |at: &DateTime<Utc>| check_time(at.timestamp_millis(), rejected_at, None).is_ok();
    let at = told
        .into_iter()
        .flatten()
        .filter_map(DateTime::from_timestamp_millis)
        .find(is_possible);
    calendar.period_of(Granularity::Daily, at.unwrap_or(rejected_at))
}

#[cfg(test)]
mod tests {
    use ingest::decode::{Keep, Payload};
    use ingest::dedupe::RejectedIdState;
    use ingest::ledger::ShownIds;
    use rollup::event::{About, Reason, Reject};

    use super::*;

    fn ms(instant: &str) -> i64 {
        let instant: DateTime<Utc> = instant.parse().expect(instant);
        instant.timestamp_millis()
    }

    fn day(completed_at_ms: Option<i64>, source_time_ms: i64) -> String {
        let letter = DeadLetter {
            place: "7".into(),
            reject: Reject::record(Reason::TooOld),
            payload: Payload::Message {
                value: None,
                headers: Vec::new(),
            },
            keep: Keep::Readable,
            identity: None,
            document: None,
            names: ShownIds::default(),
            known: RejectedIdState::Uncounted,
            about: About {
                organization: None,
                completed_at_ms,
            },
            source_time_ms,
        };
        let rejected_at = "2026-03-05T00:00:00Z".parse().expect("an instant");
        let berlin = "Europe/Berlin".parse().expect("a zone");
        of(&letter, &berlin, rejected_at).to_string()
    }

    #[test]
    fn a_letter_is_counted_in_a_day_that_somebody_asks_for() {
        let source = ms("2026-03-03T10:00:00Z");
        let completed = |text| day(Some(ms(text)), source);
        assert_eq!(completed("2026-03-01T22:59:59Z"), "2026-03-01");
        assert_eq!(
            completed("2026-03-01T23:00:00Z"),
            "2026-03-02",
            "in the ledger's zone"
        );
        assert_eq!(completed("2001-01-01T12:00:00Z"), "2001-01-01", "history is old");
        assert_eq!(day(None, source), "2026-03-03");
        // Seconds where milliseconds are meant, and a clock that is wrong.
        assert_eq!(
            day(Some(ms("2026-03-01T12:00:00Z") / 1_000), source),
            "2026-03-03"
        );
        assert_eq!(completed("2062-01-01T00:00:00Z"), "2026-03-03");
        assert_eq!(day(Some(i64::MAX), source), "2026-03-03");
        for nothing in [-1, 0, i64::MIN, i64::MAX] {
            assert_eq!(day(None, nothing), "2026-03-05");
        }
    }
}
