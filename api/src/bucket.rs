//! Buckets of a series, and the stored periods that cover a range exactly.

use chrono::{DateTime, Days, NaiveDate, Utc};
use rollup::kept::Kept;
use rollup::period::{Calendar, Granularity, Period};

use crate::range::Range;
use crate::reader::Span;

/// The most buckets of one answer.
pub(crate) const MAX_BUCKETS: usize = 1_100;
/// The most days of an answer by the hour.
pub(crate) const MAX_HOURLY_DAYS: u64 = 31;

/// The cost of a further span, in rows.
const SPAN_COST: usize = 20;

/// A period, cut to the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) period: Period,
    pub(crate) start: NaiveDate,
    pub(crate) end: NaiveDate,
    /// The period is over.
    pub(crate) complete: bool,
    /// The range cuts the period.
    pub(crate) partial: bool,
}

/// Every bucket of a range as it stands now, oldest first. `None`: more than [`MAX_BUCKETS`]. An hour that the clock
/// skips is no bucket, and one that it shows twice is one.
pub(crate) fn buckets(
    range: Range,
    granularity: Granularity,
    calendar: &Calendar,
    now: DateTime<Utc>,
) -> Option<Vec<Bucket>> {
    let today = calendar.day_of(now);
    let is_over = |period: Period| match granularity {
        Granularity::Hourly => calendar.end_of(period) <= now,
        _ => period.last_day() < today,
    };
    let bucket = |period: Period| {
        let (first, last) = (period.first_day(), period.last_day());
        Bucket {
            period,
            start: first.max(range.from),
            end: last.min(range.to),
            complete: is_over(period),
            partial: first < range.from || last > range.to,
        }
    };
    let first = Period::holding(granularity, range.from);
    let periods = std::iter::successors(Some(first), |period| Some(period.next()))
        .take_while(|period| period.first_day() <= range.to)
        .filter(|period| calendar.shows(*period));
    let buckets: Vec<Bucket> = periods.map(bucket).take(MAX_BUCKETS + 1).collect();
    (buckets.len() <= MAX_BUCKETS).then_some(buckets)
}

/// The fewest stored periods that cover a range exactly. Where sums are wanted per bucket, no period
/// reaches over the edge of one: hours are made of nothing but hours.
pub(crate) fn cover(range: Range, stored: &[Kept], bucket: Option<Granularity>) -> Vec<Span> {
    if bucket == Some(Granularity::Hourly) {
        return vec![Span::of_hours(range.from, range.to)];
    }
    let mut longer: Vec<(Granularity, Vec<Place>)> = stored
        .iter()
        .filter(|kept| kept.granularity > Granularity::Daily)
        .map(|kept| (kept.granularity, whole_periods(range, *kept, bucket)))
        .collect();
    let days = range.days() as usize;
    // From the end: the fewest rows that cover the rest, the period to start with, and where it ends. Among
    // equals the longest.
    let mut best: Vec<(usize, Granularity, usize)> = vec![(0, Granularity::Daily, 0); days + 1];
    for at in (0..days).rev() {
        best[at] = (best[at + 1].0 + 1, Granularity::Daily, at + 1);
        for (granularity, places) in &mut longer {
            if let Some(place) = places.pop_if(|place| place.start == at)
                && best[place.end].0 < best[at].0
            {
                best[at] = (best[place.end].0 + 1, *granularity, place.end);
            }
        }
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut at = 0;
    while at < days {
        let (_, granularity, end) = best[at];
        let period = Period::holding(granularity, range.from + Days::new(at as u64));
        match spans.last_mut() {
            Some(span) if span.last.next() == period => span.last = period,
            _ => spans.push(Span {
                first: period,
                last: period,
            }),
        }
        at = end;
    }
    spans
}

/// The stored periods that cover a range exactly and are read in the least time where a period has few rows:
/// fewer spans may be worth more rows.
pub(crate) fn quickest(range: Range, stored: &[Kept], bucket: Option<Granularity>) -> Vec<Span> {
    let fewest = cover(range, stored, bucket);
    if bucket == Some(Granularity::Hourly) {
        return fewest;
    }
    let days = [range.from, range.to].map(|day| Period::holding(Granularity::Daily, day));
    let days = vec![Span {
        first: days[0],
        last: days[1],
    }];
    let cost = |spans: &[Span]| -> usize {
        let periods = spans.iter().map(|span| span.periods().count());
        periods.sum::<usize>() + spans.len() * SPAN_COST
    };
    if cost(&days) <= cost(&fewest) {
        days
    } else {
        fewest
    }
}

/// Where a period lies, in days from the begin of a range: its first day, and the day after its last.
struct Place {
    start: usize,
    end: usize,
}

/// The periods of this granularity whose rows are whole, that lie in a range as a whole, and in one bucket each.
fn whole_periods(range: Range, kept: Kept, bucket: Option<Granularity>) -> Vec<Place> {
    let granularity = kept.granularity;
    let in_one_bucket = |period: Period| {
        bucket.is_none_or(|bucket| {
            granularity <= bucket
                && Period::holding(bucket, period.first_day()) == Period::holding(bucket, period.last_day())
        })
    };
    let first = Period::holding(granularity, range.from);
    std::iter::successors(Some(first), |period| Some(period.next()))
        .skip_while(|period| period.first_day() < range.from)
        .take_while(|period| period.last_day() <= range.to)
        .filter(|period| in_one_bucket(*period) && kept.is_whole(*period))
        .map(|period| {
            let start = (period.first_day() - range.from).num_days().unsigned_abs() as usize;
            let length = (period.last_day() - period.first_day()).num_days().unsigned_abs() as usize;
            Place {
                start,
                end: start + length + 1,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Kept; 3] = [
        Kept::always(Granularity::Daily),
        Kept::always(Granularity::Weekly),
        Kept::always(Granularity::Monthly),
    ];

    fn range(from: &str, to: &str) -> Range {
        Range {
            from: from.parse().expect(from),
            to: to.parse().expect(to),
        }
    }

    const NOON: &str = "2026-09-28T12:00:00Z";

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().expect(text)
    }

    fn shown(spans: &[Span]) -> Vec<String> {
        let show = |span: &Span| match span.first == span.last {
            true => span.first.to_string(),
            false => format!("{}..{}", span.first, span.last),
        };
        spans.iter().map(show).collect()
    }

    #[test]
    fn buckets_are_cut_to_the_range_and_say_so() {
        let buckets = |from, to, granularity| {
            buckets(range(from, to), granularity, &Calendar::UTC, instant(NOON)).expect("few")
        };
        let months = buckets("2026-08-15", "2026-09-28", Granularity::Monthly);
        let shown: Vec<_> = months
            .iter()
            .map(|b| format!("{} {} {} {} {}", b.period, b.start, b.end, b.complete, b.partial))
            .collect();
        assert_eq!(
            shown,
            [
                "2026-08 2026-08-15 2026-08-31 true true",
                "2026-09 2026-09-01 2026-09-28 false true"
            ]
        );
        let weeks = buckets("2026-09-21", "2026-09-28", Granularity::Weekly);
        let flags: Vec<_> = weeks.iter().map(|b| (b.complete, b.partial)).collect();
        assert_eq!(flags, [(true, false), (false, true)]);
    }

    #[test]
    fn buckets_have_a_limit() {
        let from: NaiveDate = "2020-01-01".parse().expect("a day");
        let days = |count: u64| Range {
            from,
            to: from + Days::new(count - 1),
        };
        let count = |range| {
            let buckets = buckets(range, Granularity::Daily, &Calendar::UTC, instant(NOON));
            buckets.map(|buckets| buckets.len())
        };
        assert_eq!(count(days(1_100)), Some(1_100));
        assert_eq!(count(days(1_101)), None);
    }

    #[test]
    fn hours_are_those_that_the_clock_shows_and_over_when_it_has_shown_them() {
        let berlin: Calendar = "Europe/Berlin".parse().expect("a zone");
        let hours =
            |day, now| buckets(range(day, day), Granularity::Hourly, &berlin, instant(now)).expect("few");
        let spring = hours("2026-03-29", "2026-03-29T01:30:00Z");
        let keys: Vec<String> = spring.iter().map(|hour| hour.period.to_string()).collect();
        assert_eq!(keys.len(), 23);
        assert_eq!(keys[..3], ["2026-03-29T00", "2026-03-29T01", "2026-03-29T03"]);
        let complete: Vec<bool> = spring.iter().map(|hour| hour.complete).collect();
        assert_eq!(complete[..4], [true, true, false, false], "at half past three");
        assert!(spring.iter().all(|hour| !hour.partial && hour.start == hour.end));

        // Twice two o'clock is one hour, and it is over after the second time.
        let complete = |now| {
            let hours = hours("2026-10-25", now);
            assert_eq!(hours.len(), 24);
            hours.iter().filter(|hour| hour.complete).count()
        };
        assert_eq!(complete("2026-10-25T00:59:59Z"), 2);
        assert_eq!(complete("2026-10-25T01:59:59Z"), 2);
        assert_eq!(complete("2026-10-25T02:00:00Z"), 3);
        assert_eq!(complete("2026-10-26T00:00:00Z"), 24);
    }

    #[test]
    fn hours_are_read_from_hours_only() {
        let days = range("2026-01-01", "2026-01-31");
        for cover in [cover, quickest] {
            assert_eq!(
                shown(&cover(days, &ALL, Some(Granularity::Hourly))),
                ["2026-01-01T00..2026-01-31T23"]
            );
        }
    }

    #[test]
    fn a_long_range_is_read_from_months_and_weeks_with_days_at_its_edges() {
        assert_eq!(
            shown(&cover(range("2026-01-30", "2026-04-12"), &ALL, None)),
            [
                "2026-01-30..2026-01-31",
                "2026-02..2026-03",
                "2026-04-01..2026-04-05",
                "2026-W15"
            ]
        );
        // Six whole weeks beat a month with its edges.
        assert_eq!(
            shown(&cover(range("2026-02-23", "2026-04-05"), &ALL, None)),
            ["2026-W09..2026-W14"]
        );
        assert_eq!(
            shown(&cover(
                range("2026-01-30", "2026-04-12"),
                &[Kept::always(Granularity::Daily)],
                None
            )),
            ["2026-01-30..2026-04-12"]
        );
    }

    #[test]
    fn what_was_switched_on_later_is_read_where_it_is_whole() {
        let months_later = Kept {
            granularity: Granularity::Monthly,
            since: "2026-02-15".parse().ok(),
        };
        let stored = [ALL[0], months_later];
        assert_eq!(
            shown(&cover(range("2026-01-01", "2026-04-30"), &stored, None)),
            ["2026-01-01..2026-02-28", "2026-03..2026-04"]
        );
    }

    #[test]
    fn no_period_of_a_cover_reaches_over_the_edge_of_a_bucket() {
        assert_eq!(
            shown(&cover(
                range("2026-01-26", "2026-02-08"),
                &ALL,
                Some(Granularity::Monthly)
            )),
            ["2026-01-26..2026-02-01", "2026-W06"]
        );
        assert_eq!(
            shown(&cover(
                range("2026-02-01", "2026-02-28"),
                &ALL,
                Some(Granularity::Weekly)
            )),
            ["2026-02-01", "2026-W06..2026-W08", "2026-02-23..2026-02-28"]
        );
        assert_eq!(
            shown(&cover(
                range("2026-02-01", "2026-02-28"),
                &ALL,
                Some(Granularity::Daily)
            )),
            ["2026-02-01..2026-02-28"]
        );
    }

    proptest! {
        #[test]
        fn a_cover_holds_each_day_once_and_no_other(
            start in 10_000_i32..40_000,
            length in 0_u64..1_000,
            stored in prop::sample::subsequence(ALL[1..].to_vec(), 0..=2),
            since in prop::option::of(10_000_i32..41_000),
            bucket in prop::option::of(prop::sample::select(ALL.map(|kept| kept.granularity).to_vec())),
        ) {
            let from = NaiveDate::from_epoch_days(start).expect("a day");
            let range = Range { from, to: from + Days::new(length) };
            let since = since.and_then(NaiveDate::from_epoch_days);
            let stored: Vec<Kept> = stored.into_iter().map(|kept| Kept { since, ..kept }).collect();
            let spans = cover(range, &stored, bucket);
            let mut expected = from;
            let mut rows = 0;
            for period in spans.iter().flat_map(|span| span.periods()) {
                prop_assert_eq!(period.first_day(), expected);
                let is_day = period.granularity() == Granularity::Daily;
                prop_assert!(is_day || stored.iter().all(|kept| kept.is_whole(period)));
                expected = period.last_day() + Days::new(1);
                rows += 1;
                if let Some(bucket) = bucket {
                    prop_assert_eq!(period.widened(bucket), Period::holding(bucket, period.last_day()));
                }
            }
            prop_assert_eq!(expected, range.to + Days::new(1));
            prop_assert!(rows <= range.days());
        }
    }
}
