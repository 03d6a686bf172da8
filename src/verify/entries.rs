//! The sums of entries, for every row that they are part of.

use std::io;

use chrono::DateTime;
use rollup::audit::key::{RowKey, rows_of};
use rollup::audit::sums::{Files, RowSums};
use rollup::counters::Sums;
use rollup::fold::{Delta, Grouping, RowDelta};
use rollup::journal::{Change, Damaged, Journal};
use rollup::period::Period;

use super::chain::Counted;
use super::scope::Scope;

/// So many rows of the finest granularity are summed before their parents are.
const PENDING: usize = 20_000;

/// Sums that are being made.
pub struct Summing<F: Files> {
    sums: RowSums<F>,
    /// Rows of the finest granularities alone.
    pending: Delta,
    scope: Scope,
    /// The granularities that are kept.
    grouping: Grouping,
    /// Entries that were taken in, of whatever organization.
    entries: u64,
}

impl<F: Files> Summing<F> {
    /// No entries yet.
    pub fn new(scope: Scope, grouping: Grouping, sums: RowSums<F>) -> Self {
        Self {
            sums,
            pending: Delta::default(),
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
        let (delta, counted) = match read(packed, from, &self.scope, &self.grouping) {
            Ok(read) => read,
            Err(damaged) => return Ok(Err(damaged)),
        };
        self.entries += counted.entries.unsigned_abs();
        for row in delta.ledger.values() {
            self.pending.add_row(row.period, &row.dimensions, &row.booked);
        }
        if self.pending.ledger.len() > PENDING {
            self.widen()?;
        }
        Ok(Ok(counted))
    }

    /// Adds what is pending to the rows that it is part of.
    fn widen(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let mut delta = Delta::default();
        for row in pending.ledger.values() {
            let granularities = self.grouping.granularities();
            delta.book(granularities, row.period, &row.dimensions, &row.booked);
        }
        for (key, booked) in rows_of(delta) {
            if self.is_asked_for(&key) {
                self.sums.add(key, &booked)?;
            }
        }
        Ok(())
    }

    fn is_asked_for(&self, key: &RowKey) -> bool {
        self.scope.is_all()
            || key
                .row()
                .is_some_and(|row| self.scope.holds(&row, self.grouping.granularities()))
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

/// The rows of the finest granularity, and how many entries there are.
fn read(packed: &[u8], from: u32, scope: &Scope, grouping: &Grouping) -> Result<(Delta, Counted), Damaged> {
    let journal = Journal::open(packed)?;
    // They were booked before the finest granularity was switched on.
    let is_coarser = journal.granularity() > grouping.finest();
    let (mut delta, mut entries, mut are_requests) = (Delta::default(), 0, true);
    for (organization, _) in journal.organizations() {
        let (rows, of_organization) = journal.of(organization)?;
        let is_asked_for = scope
            .organization
            .as_deref()
            .is_none_or(|name| name == organization);
        let mut sums: Vec<Option<RowDelta>> = vec![None; rows.len()];
        for entry in of_organization.iter().filter(|entry| entry.commit >= from) {
            entries += 1;
            are_requests &= entry.change == Change::Completed;
            let booked = RowDelta {
                sums: Sums::from(entry.counters),
                first_event_ms: entry.completed_at_ms,
                last_event_ms: entry.completed_at_ms,
            };
            let missing = || Damaged::Format("an entry has no row");
            if is_coarser {
                let row = rows.get(entry.row).ok_or_else(missing)?;
                let period = finest(row.period, entry.completed_at_ms, grouping)?;
                if is_asked_for {
                    delta.add_row(period, &row.dimensions, &booked);
                }
                continue;
            }
            match sums.get_mut(entry.row).ok_or_else(missing)? {
                Some(sum) => sum.merge(&booked),
                sum @ None => *sum = Some(booked),
            }
        }
        for (row, sum) in rows.iter().zip(sums).filter(|_| is_asked_for) {
            if let Some(booked) = sum {
                delta.add_row(row.period, &row.dimensions, &booked);
            }
        }
    }
    let counted = Counted {
        entries,
        are_requests,
    };
    Ok((delta, counted))
}

/// The finest period of an entry that was booked to this one.
fn finest(booked_to: Period, completed_at_ms: i64, grouping: &Grouping) -> Result<Period, Damaged> {
    let completed_at = DateTime::from_timestamp_millis(completed_at_ms);
    let period = completed_at.map(|at| grouping.calendar().period_of(grouping.finest(), at));
    period
        .filter(|period| period.widened(booked_to.granularity()) == booked_to)
        .ok_or(Damaged::Format("an entry is not of the period of its row"))
}
