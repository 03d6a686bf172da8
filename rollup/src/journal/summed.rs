//! The sums of an organization's entries by row, column by column: no entry is ever put together, and no id is read.

use super::block::{CHANGE, FLAGS, QUANTITIES, RowAt, WIDE, read_rows};
use super::varint::Reader;
use super::{Change, Damaged};
use crate::counters::{Counter, Sums};
use crate::fold::RowDelta;
use crate::period::Granularity;

/// What entries come to.
#[derive(Debug)]
pub struct Summed<'a> {
    /// The texts of the rows.
    pub texts: Vec<&'a str>,
    /// Each row that has any of the entries.
    pub rows: Vec<RowSum>,
    /// How many entries there are.
    pub entries: usize,
    /// Whether each of them is a request that was counted.
    pub are_requests: bool,
}

/// A row, and what its entries come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSum {
    /// The row; its texts are indexes of those beside it.
    pub row: RowAt,
    /// The sums.
    pub booked: RowDelta,
}

impl<'a> Summed<'a> {
    /// Nothing.
    pub(super) const fn none() -> Self {
        Self {
            texts: Vec::new(),
            rows: Vec::new(),
            entries: 0,
            are_requests: true,
        }
    }

    /// Reads a block of so many entries.
    pub(super) fn read(
        bytes: &'a [u8],
        count: usize,
        from: u32,
        granularity: Granularity,
    ) -> Result<Self, Damaged> {
        let mut reader = Reader::new(bytes);
        let (texts, rows) = read_rows(&mut reader, count, granularity)?;
        let flags = reader.bytes(count)?;
        let is_old = read_commits(&mut reader, count, from)?;
        // Where they were in their lane.
        reader.skip(2 * count)?;
        let instants = read_instants(&mut reader, count)?;
        let mut columns = Columns::new(rows.len());
        let rows_of = read_rows_of(&mut reader, &is_old, rows.len())?;
        columns.add_flags(flags, &rows_of);
        columns.add_narrow(&mut reader, flags, &rows_of)?;
        columns.add_wide(&mut reader, flags, &rows_of)?;
        let times = times(&rows_of, &instants, rows.len());
        let are_new = || flags.iter().zip(&is_old).filter(|(_, is_old)| !**is_old);
        let rows = rows.into_iter().zip(times).enumerate();
        Ok(Self {
            texts,
            rows: rows
                .filter_map(|(at, (row, times))| {
                    let (first_event_ms, last_event_ms) = times?;
                    let booked = RowDelta {
                        sums: columns.of(at),
                        first_event_ms,
                        last_event_ms,
                    };
                    Some(RowSum { row, booked })
                })
                .collect(),
            entries: are_new().count(),
            are_requests: are_new().all(|(flags, _)| flags & CHANGE == Change::Completed as u8),
        })
    }
}

/// Of each entry, whether it is of a commit before this one.
fn read_commits(reader: &mut Reader<'_>, count: usize, from: u32) -> Result<Vec<bool>, Damaged> {
    let (mut commit, mut is_old) = (0_u32, Vec::with_capacity(count));
    for _ in 0..count {
        let step = u32::try_from(reader.number()?).map_err(|_| Damaged::Format("a commit is none"))?;
        commit = commit.wrapping_add(step);
        is_old.push(commit < from);
    }
    Ok(is_old)
}

fn read_instants(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Damaged> {
    let (mut instant, mut instants) = (0_i64, Vec::with_capacity(count));
    for _ in 0..count {
        instant = instant.wrapping_add(reader.signed()?);
        instants.push(instant);
    }
    Ok(instants)
}

/// The row of each entry. Entries that are old have one behind all others, for which nobody asks.
fn read_rows_of(reader: &mut Reader<'_>, is_old: &[bool], rows: usize) -> Result<Vec<usize>, Damaged> {
    let mut rows_of = Vec::with_capacity(is_old.len());
    for is_old in is_old {
        let row = reader.length(rows)?;
        if row == rows {
            return Err(Damaged::Format("a row is missing"));
        }
        rows_of.push(if *is_old { rows } else { row });
    }
    Ok(rows_of)
}

/// The first and the last completion of each row; `None`: it has no entries.
fn times(rows_of: &[usize], instants: &[i64], rows: usize) -> Vec<Option<(i64, i64)>> {
    let mut times: Vec<Option<(i64, i64)>> = vec![None; rows + 1];
    for (row, at) in rows_of.iter().zip(instants) {
        let (first, last) = times[*row].unwrap_or((*at, *at));
        times[*row] = Some((first.min(*at), last.max(*at)));
    }
    times.truncate(rows);
    times
}

/// The sums of each counter by row. A counter that no entry has takes no room.
struct Columns {
    /// One more than there are rows.
    rows: usize,
    sums: [Vec<i128>; Counter::ALL.len()],
}

impl Columns {
    fn new(rows: usize) -> Self {
        Self {
            rows: rows + 1,
            sums: [const { Vec::new() }; Counter::ALL.len()],
        }
    }

    fn column(&mut self, counter: Counter) -> &mut [i128] {
        let column = &mut self.sums[counter as usize];
        if column.is_empty() {
            column.resize(self.rows, 0);
        }
        column
    }

    /// What follows from the flags of narrow entries.
    fn add_flags(&mut self, flags: &[u8], rows_of: &[usize]) {
        let narrow = || flags.iter().zip(rows_of).filter(|(flags, _)| *flags & WIDE == 0);
        let requests = self.column(Counter::Requests);
        narrow().for_each(|(_, row)| requests[*row] += 1);
        let any = flags.iter().fold(0, |any, flags| any | flags);
        for (counter, flag) in FLAGS.into_iter().filter(|(_, flag)| any & flag != 0) {
            let column = self.column(counter);
            for (flags, row) in narrow() {
                column[*row] += i128::from(flags & flag != 0);
            }
        }
    }

    /// The quantities of narrow entries.
    fn add_narrow(
        &mut self,
        reader: &mut Reader<'_>,
        flags: &[u8],
        rows_of: &[usize],
    ) -> Result<(), Damaged> {
        let (mut masks, mut any) = (Vec::with_capacity(flags.len()), 0);
        for flags in flags {
            let mask = if flags & WIDE == 0 { reader.number()? } else { 0 };
            masks.push(mask);
            any |= mask;
        }
        for (at, counter) in QUANTITIES.into_iter().enumerate() {
            let bit = 1 << at;
            if any & bit == 0 {
                continue;
            }
            let column = self.column(counter);
            for (mask, row) in masks.iter().zip(rows_of) {
                if mask & bit != 0 {
                    column[*row] += i128::from(reader.signed()?);
                }
            }
        }
        for part in [Counter::InputTokens, Counter::OutputTokens] {
            let part = self.sums[part as usize].clone();
            let total = self.column(Counter::TotalTokens);
            total
                .iter_mut()
                .zip(part)
                .for_each(|(total, part)| *total += part);
        }
        Ok(())
    }

    fn add_wide(&mut self, reader: &mut Reader<'_>, flags: &[u8], rows_of: &[usize]) -> Result<(), Damaged> {
        for (_, row) in flags.iter().zip(rows_of).filter(|(flags, _)| *flags & WIDE != 0) {
            let mask = reader.number()?;
            for (at, counter) in Counter::ALL.into_iter().enumerate() {
                if mask & (1 << at) != 0 {
                    self.column(counter)[*row] += i128::from(reader.signed()?);
                }
            }
        }
        Ok(())
    }

    fn of(&self, row: usize) -> Sums {
        let mut sums = Sums::default();
        for counter in Counter::ALL {
            sums[counter] = self.sums[counter as usize].get(row).copied().unwrap_or(0);
        }
        sums
    }
}
