//! The sums of entries, for every row that they are part of.

use std::io;

use chrono::DateTime;
use rollup::audit::finest::Finest;
use rollup::audit::key::{RowKey, rows_of};
use rollup::audit::sums::{Files, RowSums};
use rollup::counters::Sums;
use rollup::fold::{Delta, Grouping, RowDelta};
use rollup::journal::{Change, Damaged, Journal};
use rollup::period::Period;

use super::chain::Counted;
use super::scope::Scope;

/// Of the memory that is given, what everything else takes: documents and rows that were just read, and the program. Where
/// little is given, half of it.
const REST: usize = 160 << 20;

/// Sums that are being made.
pub struct Summing<F: Files> {
    sums: RowSums<F>,
    /// Rows of the finest granularities alone, and the most bytes that they take.
    finest: Finest,
    most_bytes: usize,
    scope: Scope,
    /// The granularities that are kept.
    grouping: Grouping,
    /// Entries that were taken in, of whatever organization.
    entries: u64,
}

impl<F: Files> Summing<F> {
    /// No entries yet. The memory of `sums` is all that there is.
    pub fn new(scope: Scope, grouping: Grouping, mut sums: RowSums<F>) -> Self {
        let memory = sums.most_bytes();
        let most_bytes = (memory - REST.min(memory / 2)) / 2;
        sums.hold(most_bytes);
        Self {
            most_bytes,
            sums,
            finest: Finest::default(),
            scope,
            grouping,
            entries: 0,
        }
    }

    /// Entries that were taken in.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes in the entries of packed bytes, of the commits from this one on. Nothing, where they are damaged.
    ///
    /// # Errors
    /// When sums cannot be written to a file.
    pub fn add(&mut self, packed: &[u8], from: u32) -> io::Result<Result<Counted, Damaged>> {
        let counted = match self.read(packed, from) {
            Ok(read) => read,
            Err(damaged) => return Ok(Err(damaged)),
        };
        self.entries += counted.entries.unsigned_abs();
        if self.finest.bytes() > self.most_bytes {
            self.widen()?;
        }
        Ok(Ok(counted))
    }

    /// Adds to rows of the finest granularity. How many entries there are.
    fn read(&mut self, packed: &[u8], from: u32) -> Result<Counted, Damaged> {
        let journal = Journal::open(packed)?;
        if journal.granularity() > self.grouping.finest() {
            return self.read_coarser(&journal, from);
        }
        let mut counted = Counted {
            entries: 0,
            are_requests: true,
        };
        // All or nothing: what cannot be read shows before anything is added.
        let mut read = Vec::new();
        for (organization, _) in journal.organizations() {
            let summed = journal.sums_of(organization, from)?;
            counted.entries += i64::try_from(summed.entries).unwrap_or(i64::MAX);
            counted.are_requests &= summed.are_requests;
            if self.is_asked_for(organization) {
                read.push((organization, summed));
            }
        }
        for (organization, summed) in read {
            self.finest.add(organization, &summed);
        }
        Ok(counted)
    }

    /// The same of entries that were booked before the finest granularity was switched on: the period of each follows
    /// from its time.
    fn read_coarser(&mut self, journal: &Journal, from: u32) -> Result<Counted, Damaged> {
        let mut counted = Counted {
            entries: 0,
            are_requests: true,
        };
        let mut delta = Delta::default();
        for (organization, _) in journal.organizations() {
            let (rows, entries) = journal.of(organization)?;
            for entry in entries.iter().filter(|entry| entry.commit >= from) {
                counted.entries += 1;
                counted.are_requests &= entry.change == Change::Completed;
                let row = rows
                    .get(entry.row)
                    .ok_or(Damaged::Format("an entry has no row"))?;
                let period = finest(row.period, entry.completed_at_ms, &self.grouping)?;
                let booked = RowDelta {
                    sums: Sums::from(entry.counters),
                    first_event_ms: entry.completed_at_ms,
                    last_event_ms: entry.completed_at_ms,
                };
                if self.is_asked_for(organization) {
                    delta.add_row(period, &row.dimensions, &booked);
                }
            }
        }
        self.finest.add_rows(&delta);
        Ok(counted)
    }

    /// Adds the rows of the finest granularity to the rows that they are part of.
    fn widen(&mut self) -> io::Result<()> {
        let Self {
            finest,
            sums,
            scope,
            grouping,
            ..
        } = self;
        let granularities = grouping.granularities();
        let is_asked_for =
            |key: &RowKey| scope.is_all() || key.row().is_some_and(|row| scope.holds(&row, granularities));
        for delta in finest.widened(granularities) {
            for (key, booked) in rows_of(delta).filter(|(key, _)| is_asked_for(key)) {
                sums.add(key, &booked)?;
            }
        }
        Ok(())
    }

    fn is_asked_for(&self, organization: &str) -> bool {
        let asked_for = self.scope.organization.as_deref();
        asked_for.is_none_or(|name| name == organization)
    }

    /// The sums of all entries that were taken in.
    ///
    /// # Errors
    /// When they cannot be written to a file.
    pub fn sums(&mut self) -> io::Result<&mut RowSums<F>> {
        self.widen()?;
        Ok(&mut self.sums)
    }
}
/// The finest period of an entry that was booked to this one.
fn finest(booked_to: Period, completed_at_ms: i64, grouping: &Grouping) -> Result<Period, Damaged> {
    let completed_at = DateTime::from_timestamp_millis(completed_at_ms);
    let period = completed_at.map(|at| grouping.calendar().period_of(grouping.finest(), at));
    period
        .filter(|period| period.widened(booked_to.granularity()) == booked_to)
        .ok_or(Damaged::Format("an entry is not of the period of its row"))
}
