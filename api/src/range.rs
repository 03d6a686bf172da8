//! The days that a question is about.

use std::str::FromStr;

use chrono::{Datelike, Days, Months, NaiveDate};
use serde::{Serialize, Serializer};

/// Days from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) from: NaiveDate,
    pub(crate) to: NaiveDate,
}

impl Range {
    /// How many days there are.
    pub(crate) fn days(self) -> u64 {
        (self.to - self.from).num_days().unsigned_abs() + 1
    }

    /// The span of equal length right before this one.
    pub(crate) fn previous(self) -> Self {
        Self {
            from: self.from - Days::new(self.days()),
            to: self.from - Days::new(1),
        }
    }

    /// The days before `day`, and the days from `day` on.
    pub(crate) fn split(self, day: NaiveDate) -> (Option<Self>, Option<Self>) {
        let before = Self {
            to: self.to.min(day - Days::new(1)),
            ..self
        };
        let after = Self {
            from: self.from.max(day),
            ..self
        };
        let there = |range: Self| (range.from <= range.to).then_some(range);
        (there(before), there(after))
    }
}

/// A range named relative to today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Preset {
    SevenDays,
    ThirtyDays,
    NinetyDays,
    MonthToDate,
    LastMonth,
    LastSixMonths,
    YearToDate,
}

impl Preset {
    pub(crate) const ALL: [Preset; 7] = [
        Preset::SevenDays,
        Preset::ThirtyDays,
        Preset::NinetyDays,
        Preset::MonthToDate,
        Preset::LastMonth,
        Preset::LastSixMonths,
        Preset::YearToDate,
    ];

    /// The names, in the same order.
    pub(crate) const NAMES: [&'static str; 7] = [
        "7d",
        "30d",
        "90d",
        "month-to-date",
        "last-month",
        "last-6-months",
        "year-to-date",
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The days of this range, seen from today. Months are whole calendar months, `Nd` is today and the
    /// N − 1 days before.
    pub(crate) fn range(self, today: NaiveDate) -> Range {
        let days = |count: u64| Range {
            from: today - Days::new(count - 1),
            to: today,
        };
        let month = today - Days::new(u64::from(today.day0()));
        let months = |count: u32| Range {
            from: month - Months::new(count),
            to: month - Days::new(1),
        };
        match self {
            Preset::SevenDays => days(7),
            Preset::ThirtyDays => days(30),
            Preset::NinetyDays => days(90),
            Preset::MonthToDate => Range {
                from: month,
                to: today,
            },
            Preset::LastMonth => months(1),
            Preset::LastSixMonths => months(6),
            Preset::YearToDate => days(u64::from(today.ordinal())),
        }
    }
}

impl FromStr for Preset {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == name)
            .ok_or(())
    }
}

impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect(text)
    }

    fn shown(preset: Preset, today: &str) -> String {
        let range = preset.range(day(today));
        format!("{} {}", range.from, range.to)
    }

    /// Lesson L15: "last 6 months" was 183 days, with a part of a month at the left edge.
    #[test]
    fn l15_months_are_whole_calendar_months() {
        assert_eq!(
            shown(Preset::LastSixMonths, "2026-02-24"),
            "2025-08-01 2026-01-31"
        );
        assert_eq!(
            shown(Preset::LastSixMonths, "2026-03-31"),
            "2025-09-01 2026-02-28"
        );
        assert_eq!(shown(Preset::LastMonth, "2026-03-31"), "2026-02-01 2026-02-28");
        assert_eq!(shown(Preset::LastMonth, "2024-03-01"), "2024-02-01 2024-02-29");
        assert_eq!(shown(Preset::LastMonth, "2026-01-15"), "2025-12-01 2025-12-31");
    }

    /// Lesson L16: "last 7 days" was eight.
    #[test]
    fn l16_n_days_are_today_and_the_n_minus_1_before() {
        assert_eq!(shown(Preset::SevenDays, "2026-09-28"), "2026-09-22 2026-09-28");
        assert_eq!(Preset::SevenDays.range(day("2026-09-28")).days(), 7);
        assert_eq!(Preset::ThirtyDays.range(day("2026-03-01")).days(), 30);
        assert_eq!(Preset::NinetyDays.range(day("2026-03-01")).days(), 90);
        assert_eq!(shown(Preset::MonthToDate, "2026-09-01"), "2026-09-01 2026-09-01");
        assert_eq!(shown(Preset::YearToDate, "2026-01-01"), "2026-01-01 2026-01-01");
        assert_eq!(shown(Preset::YearToDate, "2026-11-22"), "2026-01-01 2026-11-22");
    }

    #[test]
    fn names_and_presets_pair_up() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert_eq!("8d".parse::<Preset>(), Err(()));
    }

    proptest! {
        #[test]
        fn the_previous_span_ends_where_this_one_starts_and_is_as_long(start in 0_i32..50_000, length in 0_u64..5_000) {
            let from = NaiveDate::from_epoch_days(start).expect("a day");
            let range = Range { from, to: from + Days::new(length) };
            let previous = range.previous();
            prop_assert_eq!(previous.days(), range.days());
            prop_assert_eq!(previous.to + Days::new(1), range.from);
        }

        #[test]
        fn the_two_sides_of_a_split_are_the_whole(length in 0_u64..100, at in -10_i64..120) {
            let from = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day");
            let range = Range { from, to: from + Days::new(length) };
            let at = from + chrono::TimeDelta::days(at);
            let (before, after) = range.split(at);
            let days = |side: Option<Range>| side.map_or(0, Range::days);
            prop_assert_eq!(days(before) + days(after), range.days());
            prop_assert!(before.is_none_or(|side| side.to < at) && after.is_none_or(|side| side.from >= at));
        }
    }
}
