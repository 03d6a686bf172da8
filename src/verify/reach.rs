//! What of the rows can be compared with entries.
//!
//! | begin of the period | a day | an hour | a week, a month, a rollup |
//! |---|---|---|---|
//! | from the first day on of which all entries are read | its entries | its entries | its entries |
//! | before, since entries are kept no more | taken at its word | not compared | its entries, and what its days hold beyond theirs |
//! | before its granularity was switched on | | not compared | not compared |
//!
//! What a day holds beyond the entries that were read does not change by what lanes add. So it may be added to its parents
//! although these are read at a later instant.

use std::collections::BTreeSet;
use std::io;

use chrono::NaiveDate;
use rollup::audit::compare::{self, Difference, StoredRow};
use rollup::audit::key::{Row, RowKey};
use rollup::audit::repair::parents;
use rollup::audit::sums::{Files, RowSums};
use rollup::fold::RowDelta;
use rollup::kept;
use rollup::period::{Granularity, Period};

use super::scope::Scope;
use crate::store::reader::audit::Described;

/// See the module.
#[derive(Debug, Clone)]
pub struct Reach {
    /// What is asked for.
    pub scope: Scope,
    /// The ledger.
    pub ledger: Described,
    /// The first day of which all entries are read; `None`: of every day.
    pub first_day: Option<NaiveDate>,
    /// A person gave up entries of periods that begin before this, in milliseconds; `None`: none.
    pub given_up_until_ms: Option<i64>,
}

/// What was found of rows besides differences.
#[derive(Debug, Default)]
pub struct Compared {
    /// Those that hold more than their entries, where entries were given up.
    pub given_up: u64,
    /// Rows and rollups over a day that is taken at its word and cannot be read: what they must be is not known.
    unsure: BTreeSet<RowKey>,
    /// How many of these there were.
    pub not_known: u64,
}

impl Compared {
    /// What was left out of them, and why.
    pub fn left_out(&self) -> impl Iterator<Item = (String, String)> {
        let given_up = (
            self.given_up,
            "rows that hold more than what is left of their entries",
            "`lanes resume --from fence` gave up documents of the journal: what these rows counted may be in them",
        );
        let not_known = (
            self.not_known,
            "rows of weeks, months and rollups over a day that cannot be read",
            "the entries of that day are kept no more: what is missing of it is not known",
        );
        let left_out = [given_up, not_known].into_iter().filter(|(rows, ..)| *rows > 0);
        left_out.map(|(rows, what, why)| (format!("{rows} {what}"), why.to_owned()))
    }
}

impl Reach {
    /// Compares rows that follow each other, up to the last of them, with the sums of all entries that were read. How many
    /// they were.
    ///
    /// # Errors
    /// When sums cannot be written or read back.
    pub fn compare<F: Files>(
        &self,
        rows: Vec<StoredRow>,
        up_to: Option<&RowKey>,
        sums: &mut RowSums<F>,
        compared: &mut Compared,
        mut found: impl FnMut(Difference),
    ) -> io::Result<u64> {
        let stored = rows
            .into_iter()
            .filter(|row| self.is_of_interest(row.row.as_ref()));
        compare::page(stored, up_to, sums, |mut difference, sums| {
            let row = difference.row.as_ref();
            let is_compared = self.is_compared(row);
            if self.is_taken_at_its_word(row) {
                for (parent, booked) in self.openings(&difference) {
                    if difference.is_readable() {
                        sums.add(parent, &booked)?;
                    } else {
                        compared.unsure.insert(parent);
                    }
                }
                difference.expected = difference.stored.as_ref().map(StoredRow::booked);
            }
            if !is_compared || difference.faults().is_empty() {
                return Ok(());
            }
            if compared.unsure.contains(&difference.key) {
                compared.not_known += 1;
            // Whoever fills rows knows by itself what may be lost.
            } else if !self.scope.fills && self.is_given_up(&difference) {
                compared.given_up += 1;
            } else {
                found(difference);
            }
            Ok(())
        })
    }

    fn granularities(&self) -> &[Granularity] {
        self.ledger.grouping.granularities()
    }

    fn has_all_entries(&self, period: Period) -> bool {
        self.first_day.is_none_or(|first| period.first_day() >= first)
    }

    /// Whether a row is compared. Of those that can be rows of nothing, whether all are asked for.
    fn is_compared(&self, row: Option<&Row>) -> bool {
        let Some(row) = row else {
            return self.scope.holds_strays();
        };
        let period = row.period();
        let is_hour = period.granularity() == Granularity::Hourly;
        self.scope.holds(row, self.granularities())
            && kept::of(&self.ledger.kept, period)
                .is_some_and(|kept| self.scope.fills || kept.is_whole(period))
            && (!is_hour || self.has_all_entries(period))
    }

    /// Whether a row is a day of which not all entries are read.
    fn is_taken_at_its_word(&self, row: Option<&Row>) -> bool {
        row.is_some_and(|row| {
            let period = row.period();
            matches!(row, Row::Ledger(..))
                && period.granularity() == Granularity::Daily
                && !self.has_all_entries(period)
                && self.scope.holds_sibling(row, self.granularities())
        })
    }

    /// Whether a row is needed at all.
    fn is_of_interest(&self, row: Option<&Row>) -> bool {
        self.is_compared(row) || self.is_taken_at_its_word(row)
    }

    /// What a day that is taken at its word adds to what its parents must be. Of one that cannot be read: which they are.
    fn openings(&self, day: &Difference) -> Vec<(RowKey, RowDelta)> {
        let granularities = self.granularities();
        let shorter = granularities
            .iter()
            .take_while(|one| **one < Granularity::Daily)
            .count();
        match (day.opening(), &day.stored) {
            (Some(opening), _) => parents(&day.key, &granularities[shorter..], &opening),
            (None, Some(stored)) if !day.is_readable() => {
                parents(&day.key, &granularities[shorter..], &stored.booked())
            }
            (None, _) => Vec::new(),
        }
    }

    /// Whether nothing is wrong with a row but that it holds more than its entries, and some of them may have been given
    /// up.
    fn is_given_up(&self, difference: &Difference) -> bool {
        let until_ms = self.given_up_until_ms;
        let period = difference.row.as_ref().map(Row::period);
        difference.is_only_more()
            && period.zip(until_ms).is_some_and(|(period, until_ms)| {
                self.ledger
                    .grouping
                    .calendar()
                    .start_of(period)
                    .timestamp_millis()
                    <= until_ms
            })
    }

    /// What is not compared, and why.
    #[must_use]
    pub fn left_out(&self) -> Vec<(String, String)> {
        let mut left_out = Vec::new();
        let is_asked_for = |day: NaiveDate| self.scope.days.from.is_none_or(|from| from < day);
        if let Some(first) = self.ledger.reach.filter(|first| is_asked_for(*first)) {
            left_out.push((
                format!("days before {first}"),
                "their entries are kept no more: longer periods and rollups were compared with their days"
                    .into(),
            ));
        }
        let later = self.ledger.kept.iter().filter(|_| !self.scope.fills);
        for (granularity, since) in later.filter_map(|kept| Some((kept.granularity, kept.since?))) {
            if is_asked_for(since) {
                left_out.push((
                    format!("`{granularity}` rows of periods that begin before {since}"),
                    "this granularity was switched on later: `usage-ledger rebuild` fills them".into(),
                ));
            }
        }
        left_out
    }
}
