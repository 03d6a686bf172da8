//! What rows must be: sums by row, taken in in any order, and given out in the order of the rows.
//!
//! They are held in memory up to a bound. What does not fit is written to files, each in order, and these are merged
//! again as rows are asked for. More may be taken in meanwhile: what was given out already is of no interest then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use super::key::RowKey;
use super::run::Run;
use crate::fold::RowDelta;

pub use super::run::File;

/// What a row takes in memory besides its `_id`, about: nodes of the map are a little more than half full.
const ROW: usize = size_of::<(RowKey, RowDelta)>() * 3 / 2 + 32;
/// So many files are made one.
const MOST_RUNS: usize = 32;

/// Makes files that hold what memory does not.
pub trait Files {
    /// One of them.
    type File: File;

    /// Another file, empty, which is gone when it is dropped.
    ///
    /// # Errors
    /// When there can be none.
    fn file(&mut self) -> io::Result<Self::File>;
}

/// Sums by row. See the module.
pub struct RowSums<F: Files> {
    held: BTreeMap<RowKey, RowDelta>,
    bytes: usize,
    most_bytes: usize,
    runs: Vec<Run<F::File>>,
    files: F,
    /// Everything up to here was given out.
    given: Option<RowKey>,
}

impl<F: Files> RowSums<F> {
    /// No sums yet; so many bytes of them are held in memory.
    pub const fn new(most_bytes: usize, files: F) -> Self {
        Self {
            held: BTreeMap::new(),
            bytes: 0,
            most_bytes,
            runs: Vec::new(),
            files,
            given: None,
        }
    }

    /// The bytes that are held in memory at most.
    #[must_use]
    pub const fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// From now on no more than this.
    pub const fn hold(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
    }

    /// Adds to a row, unless it was given out already.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn add(&mut self, key: RowKey, booked: &RowDelta) -> io::Result<()> {
        if self.given.as_ref().is_some_and(|given| key <= *given) {
            return Ok(());
        }
        match self.held.entry(key) {
            Entry::Occupied(mut sum) => sum.get_mut().merge(booked),
            Entry::Vacant(place) => {
                self.bytes += place.key().id.len() + ROW;
                place.insert(*booked);
            }
        }
        if self.bytes > self.most_bytes {
            self.spill()?;
        }
        Ok(())
    }

    /// Whether some of it is in files.
    #[must_use]
    pub const fn is_spilled(&self) -> bool {
        !self.runs.is_empty()
    }

    fn spill(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let held = std::mem::take(&mut self.held).into_iter().map(Ok);
        self.runs.push(Run::write(self.files.file()?, held)?);
        if self.runs.len() > MOST_RUNS {
            let mut runs = std::mem::take(&mut self.runs);
            let merged = std::iter::from_fn(|| next_of(&mut runs).transpose());
            self.runs.push(Run::write(self.files.file()?, merged)?);
        }
        Ok(())
    }

    /// The next row, and what it must be; only up to this one, where it is given. `None`: there is none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next(&mut self, up_to: Option<&RowKey>) -> io::Result<Option<(RowKey, RowDelta)>> {
        let first = self.runs.iter().filter_map(Run::peek);
        let first = first.chain(self.held.keys().next()).min().cloned();
        let Some(key) = first.filter(|key| up_to.is_none_or(|end| key <= end)) else {
            return Ok(None);
        };
        let mut sum = None;
        if let Some(held) = self.held.remove(&key) {
            self.bytes = self.bytes.saturating_sub(key.id.len() + ROW);
            add(&mut sum, &held);
        }
        take(&mut self.runs, &key, &mut sum)?;
        self.given = Some(key.clone());
        Ok(sum.map(|sum| (key, sum)))
    }

    /// Everything up to this row was asked for.
    pub fn pass(&mut self, up_to: &RowKey) {
        self.given = self.given.take().max(Some(up_to.clone()));
    }
}

fn add(sum: &mut Option<RowDelta>, booked: &RowDelta) {
    match sum {
        Some(sum) => sum.merge(booked),
        None => *sum = Some(*booked),
    }
}

/// Takes what files have of a row that is next in those that have it.
fn take<F: File>(runs: &mut Vec<Run<F>>, key: &RowKey, sum: &mut Option<RowDelta>) -> io::Result<()> {
    for run in runs.iter_mut() {
        if run.peek() == Some(key)
            && let Some(booked) = run.take()?
        {
            add(sum, &booked);
        }
    }
    runs.retain(|run| run.peek().is_some());
    Ok(())
}

fn next_of<F: File>(runs: &mut Vec<Run<F>>) -> io::Result<Option<(RowKey, RowDelta)>> {
    let Some(key) = runs.iter().filter_map(Run::peek).min().cloned() else {
        return Ok(None);
    };
    let mut sum = None;
    take(runs, &key, &mut sum)?;
    Ok(sum.map(|sum| (key, sum)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::key::Table;
    use super::*;
    use crate::counters::{Counter, Sums};

    /// Files in memory.
    pub(in super::super) struct InMemory;

    impl Files for InMemory {
        type File = Cursor<Vec<u8>>;

        fn file(&mut self) -> io::Result<Self::File> {
            Ok(Cursor::default())
        }
    }

    fn key(number: u8) -> RowKey {
        let table = if number.is_multiple_of(2) {
            Table::Ledger
        } else {
            Table::Rollups
        };
        RowKey::new(table, format!("v1/{}/{}", number % 5, number % 23))
    }

    fn booked(value: i64) -> RowDelta {
        let mut sums = Sums::default();
        sums[Counter::Requests] = value.into();
        sums[Counter::PricedNanos] = i128::from(value) << 70;
        RowDelta {
            sums,
            first_event_ms: value,
            last_event_ms: value,
        }
    }

    fn merged(into: &mut BTreeMap<RowKey, RowDelta>, key: RowKey, value: i64) {
        let booked = booked(value);
        into.entry(key)
            .and_modify(|sum| sum.merge(&booked))
            .or_insert(booked);
    }

    proptest! {
        /// A naive map is the oracle; half of the additions come while rows are given out.
        #[test]
        fn every_row_comes_once_in_order_and_whole(
            before in prop::collection::vec((any::<u8>(), -5..5_i64), 0..200),
            during in prop::collection::vec((any::<u8>(), -5..5_i64), 0..60),
            most_bytes in 0..8_000_usize,
            stop in any::<u8>(),
        ) {
            let mut sums = RowSums::new(most_bytes, InMemory);
            let mut expected = BTreeMap::new();
            for (number, value) in before {
                sums.add(key(number), &booked(value)).expect("adds");
                merged(&mut expected, key(number), value);
            }
            let mut given = Vec::new();
            for (number, value) in during {
                let next = sums.next(Some(&key(stop))).expect("reads");
                given.extend(next);
                sums.add(key(number), &booked(value)).expect("adds");
                if given.last().is_none_or(|(last, _)| key(number) > *last) {
                    merged(&mut expected, key(number), value);
                }
            }
            prop_assert!(given.iter().all(|(row, _)| *row <= key(stop)));
            while let Some(next) = sums.next(None).expect("reads") {
                given.push(next);
            }
            prop_assert_eq!(given, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_was_passed_comes_no_more() {
        let mut sums = RowSums::new(1 << 20, InMemory);
        sums.add(key(0), &booked(1)).expect("adds");
        sums.pass(&key(9));
        sums.add(key(9), &booked(1)).expect("adds");
        assert_eq!(sums.next(None).expect("reads").map(|(row, _)| row), Some(key(0)));
        assert_eq!(sums.next(None).expect("reads"), None);
    }
}
