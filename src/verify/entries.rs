//! The sums of entries, for every row that they are part of.

use std::io;

use rollup::audit::finest::Finest;
use rollup::audit::key::{RowKey, rows_of};
use rollup::audit::sums::{Files, RowSums};
use rollup::journal::{Damaged, Journal};
use rollup::period::Granularity;

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
    /// Those that are kept, the finest first.
    granularities: Vec<Granularity>,
    /// The coarsest granularity that entries were booked to first.
    coarsest: Option<Granularity>,
    /// Entries that were taken in, of whatever organization.
    entries: u64,
}

impl<F: Files> Summing<F> {
    /// No entries yet. The memory of `sums` is all that there is.
    pub fn new(scope: Scope, granularities: Vec<Granularity>, mut sums: RowSums<F>) -> Self {
        let memory = sums.most_bytes();
        let most_bytes = (memory - REST.min(memory / 2)) / 2;
        sums.hold(most_bytes);
        Self {
            most_bytes,
            sums,
            finest: Finest::default(),
            scope,
            granularities,
            coarsest: None,
            entries: 0,
        }
    }

    /// Entries that were taken in.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The granularities that are kept, the finest first.
    #[must_use]
    pub fn granularities(&self) -> &[Granularity] {
        &self.granularities
    }

    /// Those whose rows follow from the entries: no entry was booked to longer periods.
    #[must_use]
    pub fn comparable(&self) -> &[Granularity] {
        let is_finer =
            |granularity: &Granularity| self.coarsest.is_some_and(|coarsest| *granularity < coarsest);
        let finer = self.granularities.iter().take_while(|one| is_finer(one)).count();
        &self.granularities[finer..]
    }

    /// Takes in the entries of packed bytes, of the commits from this one on. Nothing, where they are damaged.
    ///
    /// # Errors
    /// When sums cannot be written to a file.
    pub fn add(&mut self, packed: &[u8], from: u32) -> io::Result<Result<Counted, Damaged>> {
        let (counted, granularity) = match self.read(packed, from) {
            Ok(read) => read,
            Err(damaged) => return Ok(Err(damaged)),
        };
        self.coarsest = self.coarsest.max(Some(granularity));
        self.entries += counted.entries.unsigned_abs();
        if self.finest.bytes() > self.most_bytes {
            self.widen()?;
        }
        Ok(Ok(counted))
    }

    /// Adds to rows of the finest granularity. How many entries there are, and that granularity.
    fn read(&mut self, packed: &[u8], from: u32) -> Result<(Counted, Granularity), Damaged> {
        let journal = Journal::open(packed)?;
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
            let asked_for = self.scope.organization.as_deref();
            if asked_for.is_none_or(|name| name == organization) {
                read.push((organization, summed));
            }
        }
        for (organization, summed) in read {
            self.finest.add(organization, &summed);
        }
        Ok((counted, journal.granularity()))
    }

    /// Adds the rows of the finest granularity to the rows that they are part of.
    fn widen(&mut self) -> io::Result<()> {
        let Self {
            finest,
            sums,
            scope,
            granularities,
            ..
        } = self;
        let is_asked_for =
            |key: &RowKey| scope.is_all() || key.row().is_some_and(|row| scope.holds(&row, granularities));
        for delta in finest.widened(granularities) {
            for (key, booked) in rows_of(delta).filter(|(key, _)| is_asked_for(key)) {
                sums.add(key, &booked)?;
            }
        }
        Ok(())
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
