//! Periods: granularities, period keys, and the calendar of one time zone.
//!
//! Weeks are those of ISO 8601: Monday to Sunday, numbered so that week 1 holds the year's first Thursday;
//! their year is the ISO week-year. A key is computed once, in the ledger's time zone, when an event is
//! folded, and never converted afterwards.

use std::fmt;
use std::str::FromStr;

use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta,
    TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

/// The length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Granularity {
    /// An hour of the local clock: `2026-01-05T13`.
    Hourly,
    /// A calendar day: `2026-01-05`.
    Daily,
    /// An ISO-8601 week: `2026-W02`.
    Weekly,
    /// A calendar month: `2026-01`.
    Monthly,
}

/// A name that is no granularity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `hourly`, `daily`, `weekly` or `monthly`, got `{0}`")]
pub struct UnknownGranularity(pub String);

impl Granularity {
    /// Every granularity, finest first.
    pub const ALL: [Granularity; 4] = [
        Granularity::Hourly,
        Granularity::Daily,
        Granularity::Weekly,
        Granularity::Monthly,
    ];

    /// The name under which the granularity is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Granularity::Hourly => "hourly",
            Granularity::Daily => "daily",
            Granularity::Weekly => "weekly",
            Granularity::Monthly => "monthly",
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Granularity {
    type Err = UnknownGranularity;
    fn from_str(name: &str) -> Result<Self, UnknownGranularity> {
        Self::ALL
            .into_iter()
            .find(|granularity| granularity.name() == name)
            .ok_or_else(|| UnknownGranularity(name.to_owned()))
    }
}

/// One period of a calendar. Ordered by granularity, then by time. `Display` writes its period key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    granularity: Granularity,
    first: NaiveDate,
    /// 0 unless the granularity is hourly.
    hour: u32,
}

impl Period {
    /// The period of the given length that holds this day; for [`Granularity::Hourly`] the day's first hour.
    #[must_use]
    pub fn holding(granularity: Granularity, day: NaiveDate) -> Self {
        let first = match granularity {
            Granularity::Hourly | Granularity::Daily => day,
            Granularity::Weekly => day.week(chrono::Weekday::Mon).first_day(),
            Granularity::Monthly => day.with_day(1).unwrap_or(day),
        };
        Self {
            granularity,
            first,
            hour: 0,
        }
    }

    /// The period of the given length that begins on this day, at this hour where it is an hour; `None`: none does.
    #[must_use]
    pub fn at(granularity: Granularity, first_day: NaiveDate, hour: u32) -> Option<Self> {
        let period = Self {
            hour,
            ..Self::holding(granularity, first_day)
        };
        let is_hour = match granularity {
            Granularity::Hourly => hour < 24,
            _ => hour == 0,
        };
        (is_hour && period.first == first_day).then_some(period)
    }

    /// The hour of the local clock at which an hour begins; 0 of any longer period.
    #[must_use]
    pub const fn hour(self) -> u32 {
        self.hour
    }

    /// The last hour of a day.
    #[must_use]
    pub const fn last_hour(day: NaiveDate) -> Self {
        Self {
            granularity: Granularity::Hourly,
            first: day,
            hour: 23,
        }
    }

    /// The longer period that holds this one. An hour lies in a day, a day in a week and in a month.
    #[must_use]
    pub fn widened(self, granularity: Granularity) -> Self {
        if granularity == self.granularity {
            self
        } else {
            Self::holding(granularity, self.first)
        }
    }

    /// How long the period is.
    #[must_use]
    pub const fn granularity(self) -> Granularity {
        self.granularity
    }

    /// The period's first day.
    #[must_use]
    pub const fn first_day(self) -> NaiveDate {
        self.first
    }

    /// The period's last day.
    #[must_use]
    pub fn last_day(self) -> NaiveDate {
        match self.granularity {
            Granularity::Hourly | Granularity::Daily => self.first,
            Granularity::Weekly => self.first.week(chrono::Weekday::Mon).last_day(),
            Granularity::Monthly => self.first + Months::new(1) - Days::new(1),
        }
    }

    /// The period right after this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.granularity {
            Granularity::Hourly if self.hour < 23 => Self {
                hour: self.hour + 1,
                ..self
            },
            granularity => Self::holding(granularity, self.last_day() + Days::new(1)),
        }
    }

    /// Reads a period key of the given granularity.
    #[must_use]
    pub fn parse(granularity: Granularity, key: &str) -> Option<Self> {
        let period = match granularity {
            Granularity::Hourly => {
                let (day, hour) = key.split_once('T')?;
                let hour = hour.parse().ok().filter(|hour| *hour < 24)?;
                Self {
                    granularity,
                    first: day.parse().ok()?,
                    hour,
                }
            }
            Granularity::Daily => Self::holding(granularity, key.parse().ok()?),
            Granularity::Weekly => {
                let (year, week) = key.split_once("-W")?;
                let monday =
                    NaiveDate::from_isoywd_opt(year.parse().ok()?, week.parse().ok()?, chrono::Weekday::Mon)?;
                Self::holding(granularity, monday)
            }
            Granularity::Monthly => {
                let (year, month) = key.split_once('-')?;
                Self::holding(
                    granularity,
                    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?,
                )
            }
        };
        // One spelling per key: `2026-1` is not a key although it names a month.
        (period.to_string() == key).then_some(period)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = (self.first.year(), self.first.month(), self.first.day());
        match self.granularity {
            Granularity::Hourly => write!(f, "{year:04}-{month:02}-{day:02}T{:02}", self.hour),
            Granularity::Daily => write!(f, "{year:04}-{month:02}-{day:02}"),
            Granularity::Weekly => {
                let week = self.first.iso_week();
                write!(f, "{:04}-W{:02}", week.year(), week.week())
            }
            Granularity::Monthly => write!(f, "{year:04}-{month:02}"),
        }
    }
}

/// The calendar of one time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    zone: Tz,
}

/// A name that is no IANA time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an IANA time zone such as `Europe/Berlin`, got `{0}`")]
pub struct UnknownZone(pub String);

impl FromStr for Calendar {
    type Err = UnknownZone;
    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        let zone = name.parse().map_err(|_| UnknownZone(name.to_owned()))?;
        Ok(Self { zone })
    }
}

impl Calendar {
    /// The calendar of UTC.
    pub const UTC: Self = Self { zone: Tz::UTC };

    /// The IANA name of the zone.
    #[must_use]
    pub fn zone_name(&self) -> &'static str {
        self.zone.name()
    }

    /// The local day of an instant.
    #[must_use]
    pub fn day_of(&self, instant: DateTime<Utc>) -> NaiveDate {
        match self.zone {
            Tz::UTC => instant.date_naive(),
            zone => instant.with_timezone(&zone).date_naive(),
        }
    }

    /// The period of the given length that holds an instant.
    ///
    /// An hour that the clock shows twice, when summer time ends, is one period.
    #[must_use]
    pub fn period_of(&self, granularity: Granularity, instant: DateTime<Utc>) -> Period {
        let period = Period::holding(granularity, self.day_of(instant));
        match granularity {
            Granularity::Hourly => Period {
                hour: instant.with_timezone(&self.zone).hour(),
                ..period
            },
            _ => period,
        }
    }

    /// Whether the clock shows any of this hour: where it is set forward, it skips hours. Longer periods are never left
    /// out.
    #[must_use]
    pub fn shows(&self, period: Period) -> bool {
        let is_shown = |local| self.zone.from_local_datetime(&local) != MappedLocalTime::None;
        period.granularity != Granularity::Hourly
            || is_shown(first_second(period))
            || is_shown(last_second(period))
    }

    /// The first instant of a period. Where the clock skips the local start (summer time begins at
    /// midnight, a day left out at the date line) this is the first instant after the gap.
    #[must_use]
    pub fn start_of(&self, period: Period) -> DateTime<Utc> {
        let local = first_second(period);
        // No zone of the tz database skips more than a day, or ends a gap within a minute.
        for minutes in 0..=(60 * 25) {
            match self
                .zone
                .from_local_datetime(&(local + TimeDelta::minutes(minutes)))
            {
                MappedLocalTime::Single(instant) | MappedLocalTime::Ambiguous(instant, _) => {
                    return instant.to_utc();
                }
                MappedLocalTime::None => {}
            }
        }
        local.and_utc()
    }

    /// The first instant after a period. An hour that the clock shows twice is over after the second time, also where
    /// another one lies between.
    #[must_use]
    pub fn end_of(&self, period: Period) -> DateTime<Utc> {
        let last = match period.granularity {
            Granularity::Hourly => self.zone.from_local_datetime(&last_second(period)).latest(),
            _ => None,
        };
        last.map_or_else(
            || self.start_of(period.next()),
            |last| last.to_utc() + TimeDelta::seconds(1),
        )
    }
}

/// What the clock shows when a period begins, if it shows that.
fn first_second(period: Period) -> NaiveDateTime {
    period.first.and_time(NaiveTime::MIN) + TimeDelta::hours(period.hour.into())
}

/// What the clock shows when an hour ends, if it shows that.
fn last_second(hour: Period) -> NaiveDateTime {
    first_second(hour) + TimeDelta::seconds(3_599)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().expect(text)
    }

    fn key(calendar: &Calendar, granularity: Granularity, text: &str) -> String {
        calendar.period_of(granularity, instant(text)).to_string()
    }

    /// Lesson L14: weeks computed as ceil(dayOfYear / 7) were wrong on 156 days of 2026.
    #[test]
    fn l14_every_key_of_the_table_of_dates() {
        let table = include_str!("../../tests/data/period_keys.csv");
        let mut rows = 0;
        for row in csv::Reader::from_reader(table.as_bytes()).records() {
            let row = row.expect("a row");
            for (granularity, expected) in [
                (Granularity::Daily, &row[1]),
                (Granularity::Weekly, &row[2]),
                (Granularity::Monthly, &row[3]),
            ] {
                assert_eq!(key(&Calendar::UTC, granularity, &row[0]), expected, "{}", &row[0]);
                assert_eq!(
                    Period::parse(granularity, expected)
                        .expect(expected)
                        .widened(granularity)
                        .to_string(),
                    expected
                );
            }
            rows += 1;
        }
        assert_eq!(rows, 56);
    }

    #[test]
    fn a_zone_moves_the_day_at_its_own_midnight() {
        let berlin: Calendar = "Europe/Berlin".parse().expect("a zone");
        assert_eq!(
            key(&berlin, Granularity::Daily, "2026-01-04T22:59:59.999Z"),
            "2026-01-04"
        );
        assert_eq!(
            key(&berlin, Granularity::Daily, "2026-01-04T23:00:00Z"),
            "2026-01-05"
        );
        assert_eq!(
            key(&berlin, Granularity::Weekly, "2026-01-04T23:00:00Z"),
            "2026-W02"
        );
        assert_eq!(
            key(&berlin, Granularity::Daily, "2026-07-04T22:00:00Z"),
            "2026-07-05"
        );
        let kathmandu: Calendar = "Asia/Kathmandu".parse().expect("a zone");
        assert_eq!(
            key(&kathmandu, Granularity::Hourly, "2026-01-04T18:15:00Z"),
            "2026-01-05T00"
        );
        assert_eq!(
            key(&kathmandu, Granularity::Monthly, "2025-12-31T18:15:00Z"),
            "2026-01"
        );
        assert_eq!(
            "Mars/Olympus".parse::<Calendar>(),
            Err(UnknownZone("Mars/Olympus".into()))
        );
    }

    #[test]
    fn an_hour_shown_twice_is_one_period_and_a_skipped_start_moves_to_the_end_of_the_gap() {
        let berlin: Calendar = "Europe/Berlin".parse().expect("a zone");
        assert_eq!(
            key(&berlin, Granularity::Hourly, "2026-10-25T00:30:00Z"),
            "2026-10-25T02"
        );
        assert_eq!(
            key(&berlin, Granularity::Hourly, "2026-10-25T01:30:00Z"),
            "2026-10-25T02"
        );
        // Midnight of 2018-11-04 did not exist in Sao Paulo.
        let sao_paulo: Calendar = "America/Sao_Paulo".parse().expect("a zone");
        let day = Period::parse(Granularity::Daily, "2018-11-04").expect("a key");
        assert_eq!(sao_paulo.start_of(day), instant("2018-11-04T03:00:00Z"));
        // The whole of 2011-12-30 did not exist in Samoa.
        let apia: Calendar = "Pacific/Apia".parse().expect("a zone");
        let day = Period::parse(Granularity::Daily, "2011-12-30").expect("a key");
        assert_eq!(apia.start_of(day), apia.start_of(day.next()));
    }

    /// The keys of the hours that the clock shows on a day, minute by minute.
    fn lived(calendar: &Calendar, day: Period) -> BTreeSet<String> {
        let (start, end) = (calendar.start_of(day), calendar.end_of(day));
        let minutes = std::iter::successors(Some(start), |at| Some(*at + TimeDelta::minutes(1)));
        let hours = minutes
            .take_while(|at| *at < end)
            .map(|at| calendar.period_of(Granularity::Hourly, at));
        hours.map(|hour| hour.to_string()).collect()
    }

    #[test]
    fn the_hours_of_a_day_are_those_that_its_clock_shows() {
        for (zone, day, hours) in [
            ("UTC", "2026-03-29", 24),
            ("Europe/Berlin", "2026-01-05", 24),
            ("Europe/Berlin", "2026-03-29", 23),
            ("Europe/Berlin", "2026-10-25", 24),
            // Half an hour is skipped, and shown twice.
            ("Australia/Lord_Howe", "2026-10-04", 24),
            ("Australia/Lord_Howe", "2026-04-05", 24),
            // Midnight is skipped; two hours are; all but a minute of one, and two more; a whole day.
            ("America/Sao_Paulo", "2018-11-04", 23),
            ("Antarctica/Troll", "2026-03-29", 22),
            ("Antarctica/Troll", "2026-10-25", 24),
            ("Antarctica/Casey", "2020-10-04", 22),
            ("Pacific/Apia", "2011-12-30", 0),
        ] {
            let calendar: Calendar = zone.parse().expect(zone);
            let day = Period::parse(Granularity::Daily, day).expect(day);
            let all = std::iter::successors(
                Some(Period::holding(Granularity::Hourly, day.first_day())),
                |hour| Some(hour.next()),
            );
            let shown = all
                .take_while(|hour| *hour <= Period::last_hour(day.first_day()))
                .filter(|hour| calendar.shows(*hour));
            let shown: Vec<String> = shown.map(|hour| hour.to_string()).collect();
            assert!(shown.iter().eq(&lived(&calendar, day)), "{zone} {day}: {shown:?}");
            assert_eq!(shown.len(), hours, "{zone} {day}");
        }
    }

    #[test]
    fn an_hour_is_over_when_the_clock_shows_it_no_more() {
        for (zone, hour, end) in [
            ("Europe/Berlin", "2026-10-25T01", "2026-10-25T00:00:00Z"),
            ("Europe/Berlin", "2026-10-25T02", "2026-10-25T02:00:00Z"),
            ("Europe/Berlin", "2026-03-29T01", "2026-03-29T01:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-05T01", "2026-04-04T15:30:00Z"),
            // Two hours are shown twice, one after the other: the first is over when the second begins again.
            ("Antarctica/Troll", "2026-10-25T01", "2026-10-25T02:00:00Z"),
            ("Antarctica/Troll", "2026-10-25T02", "2026-10-25T03:00:00Z"),
        ] {
            let calendar: Calendar = zone.parse().expect(zone);
            let hour = Period::parse(Granularity::Hourly, hour).expect(hour);
            assert_eq!(calendar.end_of(hour), instant(end), "{zone} {hour}");
        }
    }

    #[test]
    fn keys_have_one_spelling() {
        for (granularity, key) in [
            (Granularity::Daily, "2026-1-5"),
            (Granularity::Daily, "2026-02-30"),
            (Granularity::Weekly, "2026-W2"),
            (Granularity::Weekly, "2025-W53"),
            (Granularity::Monthly, "2026-13"),
            (Granularity::Monthly, "2026-01-01"),
            (Granularity::Hourly, "2026-01-05T24"),
        ] {
            assert_eq!(Period::parse(granularity, key), None, "{key}");
        }
    }

    proptest! {
        // Not before 2012: until 2011 the clocks of Newfoundland went back at 00:01, into the day before.
        #[test]
        fn periods_of_every_zone_tile_time(
            zone in 0..chrono_tz::TZ_VARIANTS.len(),
            seconds in 1_325_376_000_i64..4_102_444_800,
        ) {
            let calendar = Calendar { zone: chrono_tz::TZ_VARIANTS[zone] };
            let now = DateTime::from_timestamp(seconds, 0).expect("in range");
            for granularity in [Granularity::Daily, Granularity::Weekly, Granularity::Monthly] {
                let period = calendar.period_of(granularity, now);
                prop_assert!(calendar.start_of(period) <= now, "{period} starts after {now}");
                prop_assert!(now < calendar.end_of(period), "{period} ends before {now}");
                prop_assert_eq!(Period::parse(granularity, &period.to_string()), Some(period));
            }
            let hour = calendar.period_of(Granularity::Hourly, now);
            prop_assert!(calendar.shows(hour), "{hour} is shown at {now}");
            prop_assert!(calendar.start_of(hour) <= now, "{hour} starts after {now}");
            prop_assert!(now < calendar.end_of(hour), "{hour} ends before {now}");
            prop_assert_eq!(Period::parse(Granularity::Hourly, &hour.to_string()), Some(hour));
            prop_assert_eq!(hour.widened(Granularity::Daily), calendar.period_of(Granularity::Daily, now));
            prop_assert_eq!(hour.widened(Granularity::Weekly), calendar.period_of(Granularity::Weekly, now));
        }
    }
}
