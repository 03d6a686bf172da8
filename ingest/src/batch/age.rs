//! How late an event came.

/// How long before it reached the source an event completed, of those that came after the window had gone on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Less than an hour.
    UnderHour,
    /// Less than a day.
    UnderDay,
    /// Less than a week.
    UnderWeek,
    /// Less than 30 days.
    UnderMonth,
    /// 30 days or more.
    Older,
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl Age {
    /// Every band, the youngest first.
    pub const ALL: [Age; 5] = [
        Age::UnderHour,
        Age::UnderDay,
        Age::UnderWeek,
        Age::UnderMonth,
        Age::Older,
    ];

    /// The value of the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Age::UnderHour => "under_1h",
            Age::UnderDay => "1h_to_1d",
            Age::UnderWeek => "1d_to_7d",
            Age::UnderMonth => "7d_to_30d",
            Age::Older => "over_30d",
        }
    }

    /// The age of an event that is so old (ms), where the window of ids is so long. `None`: it is not late.
    pub(super) const fn of_late(age_ms: i64, window_ms: i64) -> Option<Self> {
        if age_ms <= window_ms {
            return None;
        }
        Some(if age_ms < HOUR_MS {
            Age::UnderHour
        } else if age_ms < DAY_MS {
            Age::UnderDay
        } else if age_ms < 7 * DAY_MS {
            Age::UnderWeek
        } else if age_ms < 30 * DAY_MS {
            Age::UnderMonth
        } else {
            Age::Older
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_window_is_late_and_each_band_begins_where_another_ends() {
        let minute = 60_000;
        for (age_ms, window_ms, expected) in [
            (DAY_MS, DAY_MS, None),
            (-minute, 0, None),
            (2 * minute, minute, Some(Age::UnderHour)),
            (HOUR_MS - 1, minute, Some(Age::UnderHour)),
            (HOUR_MS, minute, Some(Age::UnderDay)),
            (DAY_MS - 1, minute, Some(Age::UnderDay)),
            (DAY_MS, minute, Some(Age::UnderWeek)),
            (DAY_MS + 1, DAY_MS, Some(Age::UnderWeek)),
            (7 * DAY_MS, DAY_MS, Some(Age::UnderMonth)),
            (30 * DAY_MS, DAY_MS, Some(Age::Older)),
            (i64::MAX, DAY_MS, Some(Age::Older)),
        ] {
            assert_eq!(Age::of_late(age_ms, window_ms), expected, "{age_ms} {window_ms}");
        }
    }
}
