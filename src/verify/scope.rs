//! Which rows are compared.

use chrono::NaiveDate;
use rollup::audit::key::Row;
use rollup::period::{Granularity, Period};

/// Days, both included; an end that is not given is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Days {
    /// The first.
    pub from: Option<NaiveDate>,
    /// The last.
    pub to: Option<NaiveDate>,
}

impl Days {
    /// Whether a period has any of these days.
    #[must_use]
    pub fn meet(&self, period: Period) -> bool {
        self.from.is_none_or(|from| period.last_day() >= from)
            && self.to.is_none_or(|to| period.first_day() <= to)
    }

    /// The first day of all periods that have any of these days, of these granularities.
    #[must_use]
    pub fn begin(&self, granularities: &[Granularity]) -> Option<NaiveDate> {
        self.widened(granularities).from
    }

    const fn are_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// The days of all periods of these granularities that have any of these days.
    fn widened(&self, granularities: &[Granularity]) -> Self {
        let periods = |day: NaiveDate| {
            let granularities = granularities.iter();
            granularities.map(move |granularity| Period::holding(*granularity, day))
        };
        Self {
            from: self
                .from
                .and_then(|day| periods(day).map(Period::first_day).min()),
            to: self.to.and_then(|day| periods(day).map(Period::last_day).max()),
        }
    }
}

/// Which rows are compared: those of an organization or of all, whose periods have any of these days.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// `None`: of all.
    pub organization: Option<String>,
    /// The days.
    pub days: Days,
    /// Also the rows of days and of the finest granularity that share a parent with one of these days.
    pub with_siblings: bool,
    /// Also periods of a granularity from before it was switched on: whatever they lack is filled.
    pub fills: bool,
}

impl Scope {
    /// Whether a row is one of these, where so many granularities are kept.
    #[must_use]
    pub fn holds(&self, row: &Row, granularities: &[Granularity]) -> bool {
        self.holds_or_shares(row, granularities, self.with_siblings)
    }

    /// Whether a row is one of these, or shares a parent with one.
    #[must_use]
    pub fn holds_sibling(&self, row: &Row, granularities: &[Granularity]) -> bool {
        self.holds_or_shares(row, granularities, true)
    }

    fn holds_or_shares(&self, row: &Row, granularities: &[Granularity], with_siblings: bool) -> bool {
        let period = row.period();
        if self
            .organization
            .as_deref()
            .is_some_and(|name| name != row.organization())
        {
            return false;
        }
        let granularity = period.granularity();
        let is_child = matches!(row, Row::Ledger(..))
            && (granularities.first() == Some(&granularity) || granularity == Granularity::Daily);
        self.days.meet(period) || (with_siblings && is_child && self.days.widened(granularities).meet(period))
    }

    /// Whether all rows are.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.organization.is_none() && self.days.are_all()
    }

    /// The same, and the days that share a period with one of these.
    #[must_use]
    pub fn with_siblings(&self) -> Self {
        Self {
            with_siblings: true,
            ..self.clone()
        }
    }

    /// Whether rows that name no period are among these.
    #[must_use]
    pub const fn holds_strays(&self) -> bool {
        self.days.are_all()
    }
}

#[cfg(test)]
mod tests {
    use rollup::audit::key::{RowKey, Table};

    use super::*;

    #[test]
    fn a_row_is_in_a_scope_where_its_period_has_one_of_the_days() {
        let day = |text: &str| Some(text.parse().expect("a day"));
        let mut scope = Scope {
            organization: Some("acme".into()),
            days: Days {
                from: day("2026-01-31"),
                to: day("2026-01-31"),
            },
            with_siblings: false,
            fills: false,
        };
        let kept = [Granularity::Daily, Granularity::Weekly, Granularity::Monthly];
        let holds = |scope: &Scope, organization: &str, period: &str| {
            let id = format!("v1/{organization}/{period}/a/p/m/u/t/k/s/llm");
            let row = RowKey::new(Table::Ledger, id).row().expect("a row");
            scope.holds(&row, &kept)
        };
        for (period, alone, with_siblings) in [
            ("daily/2026-01-31", true, true),
            ("daily/2026-01-30", false, true),
            ("daily/2026-02-01", false, true),
            ("daily/2026-02-02", false, false),
            ("daily/2025-12-31", false, false),
            ("weekly/2026-W05", true, true),
            ("weekly/2026-W06", false, false),
            ("monthly/2026-01", true, true),
            ("monthly/2026-02", false, false),
        ] {
            scope.with_siblings = false;
            assert_eq!(holds(&scope, "acme", period), alone, "{period}");
            scope.with_siblings = true;
            assert_eq!(holds(&scope, "acme", period), with_siblings, "{period}");
            assert!(!holds(&scope, "beta", period), "{period}");
        }
        assert!(!scope.holds_strays() && Scope::default().holds_strays());
    }
}
