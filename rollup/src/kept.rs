//! The granularities of a ledger, and from when on each is whole.

use chrono::NaiveDate;

use crate::period::{Granularity, Period};

/// A granularity whose rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub granularity: Granularity,
    /// It was switched on later: periods that begin on this day or later are whole, and others may lack whatever was
    /// counted before. `None`: it was always there.
    pub since: Option<NaiveDate>,
}

impl Kept {
    /// A granularity that was always there.
    #[must_use]
    pub const fn always(granularity: Granularity) -> Self {
        Self {
            granularity,
            since: None,
        }
    }

    /// Whether the rows of a period that is as long as these are whole.
    #[must_use]
    pub fn is_whole(self, period: Period) -> bool {
        self.since.is_none_or(|since| period.first_day() >= since)
    }
}

/// The granularity of a period, where its rows are kept.
#[must_use]
pub fn of(kept: &[Kept], period: Period) -> Option<Kept> {
    let mut kept = kept.iter();
    kept.find(|kept| kept.granularity == period.granularity())
        .copied()
}

/// Whether the rows of a period are kept, and are whole.
#[must_use]
pub fn is_whole(kept: &[Kept], period: Period) -> bool {
    of(kept, period).is_some_and(|kept| kept.is_whole(period))
}

#[cfg(test)]
mod tests {
    use super::is_whole as whole;
    use super::*;

    #[test]
    fn a_period_is_whole_if_it_begins_when_its_granularity_is_there() {
        let kept = [
            Kept::always(Granularity::Daily),
            Kept {
                granularity: Granularity::Monthly,
                since: "2026-01-15".parse().ok(),
            },
        ];
        let is_whole = |granularity, key| {
            let period = Period::parse(granularity, key).expect("a period");
            whole(&kept, period)
        };
        assert!(is_whole(Granularity::Daily, "2020-01-01"));
        assert!(!is_whole(Granularity::Monthly, "2026-01"));
        assert!(is_whole(Granularity::Monthly, "2026-02"));
        assert!(!is_whole(Granularity::Weekly, "2026-W20"));
    }
}
