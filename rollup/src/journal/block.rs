//! The entries of one organization: texts, rows, and a column for each thing that an entry says.

use std::collections::HashMap;

use super::varint::{Reader, Writer};
use super::{Change, Damaged, Entry, Place, Row, RowRef, id};
use crate::counters::{Counter, Counters};
use crate::event::{Dimensions, Kind};
use crate::period::{Granularity, Period};

/// The quantities of a narrow entry, in stored order.
pub(super) const QUANTITIES: [Counter; 9] = [
    Counter::InputTokens,
    Counter::CachedInputTokens,
    Counter::CacheWriteTokens,
    Counter::OutputTokens,
    Counter::ReasoningTokens,
    Counter::AudioMillis,
    Counter::Characters,
    Counter::Images,
    Counter::CostNanos,
];
/// The counters of a narrow entry that are 0 or 1, and their flags.
pub(super) const FLAGS: [(Counter, u8); 4] = [
    (Counter::FailedRequests, 1 << 3),
    (Counter::AbortedRequests, 1 << 4),
    (Counter::UnpricedRequests, 1 << 5),
    (Counter::UnmeteredRequests, 1 << 6),
];
/// The flag of an entry that is wide.
pub(super) const WIDE: u8 = 1 << 7;
/// The bits of a flag byte that say why the entry was written.
pub(super) const CHANGE: u8 = 0b111;

/// Everything of an organization.
pub(super) struct Block<'a> {
    pub(super) rows: Vec<RowRef<'a>>,
    pub(super) entries: Vec<Entry<'a>>,
}

impl<'a> Block<'a> {
    pub(super) fn write(&self, writer: &mut Writer) {
        let mut texts = Texts::default();
        let mut rows = Writer::default();
        for row in &self.rows {
            write_row(*row, &mut texts, &mut rows);
        }
        writer.length(texts.texts.len());
        texts.texts.iter().for_each(|text| writer.text(text));
        writer.length(self.rows.len());
        writer.bytes(rows.written());
        for column in columns(&self.entries) {
            writer.bytes(column.written());
        }
    }

    pub(super) fn read(
        bytes: &'a [u8],
        entries: usize,
        organization: &str,
        granularity: Granularity,
    ) -> Result<(Vec<Row>, Vec<Entry<'a>>), Damaged> {
        let mut reader = Reader::new(bytes);
        let (texts, rows) = read_rows(&mut reader, entries, granularity)?;
        let rows: Vec<Row> = rows.iter().map(|row| row.named(organization, &texts)).collect();
        let entries = read_entries(&mut reader, entries, rows.len())?;
        match reader.rest() {
            [] => Ok((rows, entries)),
            _ => Err(Damaged::Format("a block does not end with its entries")),
        }
    }
}

/// Texts of which each is written once.
#[derive(Default)]
struct Texts<'a> {
    texts: Vec<&'a str>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Texts<'a> {
    fn index(&mut self, text: &'a str) -> usize {
        *self.index.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() - 1
        })
    }
}

/// The period of a row as days since 1970, and its hour.
fn write_row<'a>((period, of): RowRef<'a>, texts: &mut Texts<'a>, rows: &mut Writer) {
    rows.signed(i64::from(period.first_day().to_epoch_days()));
    rows.number(u64::from(period.hour()));
    // The organization is that of the block.
    let [_, texts_of @ ..] = of.texts();
    for text in texts_of {
        rows.length(texts.index(text));
    }
    rows.length(
        Kind::ALL
            .iter()
            .position(|kind| *kind == of.kind)
            .unwrap_or_default(),
    );
}

/// The texts of a block of so many entries, and its rows. What follows are the columns of the entries.
pub(super) fn read_rows<'a>(
    reader: &mut Reader<'a>,
    entries: usize,
    granularity: Granularity,
) -> Result<(Vec<&'a str>, Vec<RowAt>), Damaged> {
    let bytes = reader.rest().len();
    let mut texts = Vec::new();
    for _ in 0..reader.length(bytes)? {
        texts.push(reader.text()?);
    }
    let mut rows = Vec::new();
    for _ in 0..reader.length(bytes)? {
        rows.push(RowAt::read(reader, texts.len(), granularity)?);
    }
    // Each entry has a byte of flags at least.
    if entries > bytes {
        return Err(Damaged::Format("it has fewer entries than it says"));
    }
    Ok((texts, rows))
}

/// A row as it is written: its texts are indexes of those of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAt {
    /// The finest period.
    pub period: Period,
    /// Agent, provider, model, user, team, key and source.
    pub texts: [usize; 7],
    /// What was used.
    pub kind: Kind,
}

impl RowAt {
    fn read(reader: &mut Reader<'_>, texts: usize, granularity: Granularity) -> Result<Self, Damaged> {
        let day = i32::try_from(reader.signed()?).ok();
        let day = day.and_then(chrono::NaiveDate::from_epoch_days);
        let hour = u32::try_from(reader.number()?).ok();
        let period = day
            .zip(hour)
            .and_then(|(day, hour)| Period::at(granularity, day, hour))
            .ok_or(Damaged::Format("a period is none"))?;
        let mut of_row = [0; 7];
        for at in &mut of_row {
            *at = reader.length(texts)?;
            if *at == texts {
                return Err(Damaged::Format("a text is missing"));
            }
        }
        let kind = *Kind::ALL
            .get(reader.length(Kind::ALL.len())?)
            .ok_or(Damaged::Format("a kind is not known"))?;
        Ok(Self {
            period,
            texts: of_row,
            kind,
        })
    }

    /// With the texts in place of their indexes.
    #[must_use]
    pub fn named(&self, organization: &str, texts: &[&str]) -> Row {
        let [agent, provider, model, user, team, api_key, source] = self.texts.map(|at| texts[at]);
        let texts = [organization, agent, provider, model, user, team, api_key, source];
        Row {
            period: self.period,
            dimensions: Dimensions::of(texts.map(Box::from), self.kind),
        }
    }
}

/// The columns, in stored order.
fn columns(entries: &[Entry<'_>]) -> Vec<Writer> {
    let mut columns: [Writer; 7] = std::array::from_fn(|_| Writer::default());
    let [flags, commits, offsets, indexes, instants, rows, masks] = &mut columns;
    let mut quantities: [Writer; QUANTITIES.len()] = std::array::from_fn(|_| Writer::default());
    let (mut wide, mut kinds, mut ids) = (Writer::default(), Writer::default(), Writer::default());
    let (mut commit, mut offset, mut instant) = (0, 0_i64, 0_i64);
    for entry in entries {
        let narrow = narrow_flags(entry);
        flags.byte(narrow.unwrap_or(WIDE) | entry.change as u8);
        commits.number(u64::from(entry.commit.wrapping_sub(commit)));
        offsets.signed(entry.place.offset.wrapping_sub(offset));
        indexes.number(u64::from(entry.place.index));
        instants.signed(entry.completed_at_ms.wrapping_sub(instant));
        rows.length(entry.row);
        (commit, offset, instant) = (entry.commit, entry.place.offset, entry.completed_at_ms);
        match narrow {
            Some(_) => {
                masks.number(mask(&QUANTITIES, &entry.counters));
                for (counter, column) in QUANTITIES.into_iter().zip(&mut quantities) {
                    if entry.counters[counter] != 0 {
                        column.signed(entry.counters[counter]);
                    }
                }
            }
            None => {
                wide.number(mask(&Counter::ALL, &entry.counters));
                for counter in Counter::ALL {
                    if entry.counters[counter] != 0 {
                        wide.signed(entry.counters[counter]);
                    }
                }
            }
        }
        id::write(&entry.id, &mut kinds, &mut ids);
    }
    columns
        .into_iter()
        .chain(quantities)
        .chain([wide, kinds, ids])
        .collect()
}

/// Which of these counters are not 0.
fn mask(of: &[Counter], counters: &Counters) -> u64 {
    of.iter()
        .enumerate()
        .filter(|(_, counter)| counters[**counter] != 0)
        .fold(0, |mask, (at, _)| mask | 1 << at)
}

/// The flags from which the counters of an entry follow that are no quantities; `None`: it is wide.
fn narrow_flags(entry: &Entry<'_>) -> Option<u8> {
    if entry.change != Change::Completed {
        return None;
    }
    let mut flags = 0;
    for (counter, flag) in FLAGS {
        if entry.counters[counter] == 1 {
            flags |= flag;
        }
    }
    let quantities = QUANTITIES.map(|counter| entry.counters[counter]);
    (narrow(flags, quantities)? == entry.counters).then_some(flags)
}

/// The counters of a narrow entry; `None`: such an entry was never written.
fn narrow(flags: u8, quantities: [i64; QUANTITIES.len()]) -> Option<Counters> {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    for (counter, flag) in FLAGS {
        counters[counter] = i64::from(flags & flag != 0);
    }
    for (counter, quantity) in QUANTITIES.into_iter().zip(quantities) {
        counters[counter] = quantity;
    }
    counters[Counter::TotalTokens] =
        counters[Counter::InputTokens].checked_add(counters[Counter::OutputTokens])?;
    Some(counters)
}

fn read_entries<'a>(reader: &mut Reader<'a>, count: usize, rows: usize) -> Result<Vec<Entry<'a>>, Damaged> {
    let flags = reader.bytes(count)?;
    let (mut commit, mut offset, mut instant) = (0_u32, 0_i64, 0_i64);
    let commits = column(count, || {
        let step = u32::try_from(reader.number()?).map_err(|_| Damaged::Format("a commit is none"))?;
        commit = commit.wrapping_add(step);
        Ok(commit)
    })?;
    let offsets = column(count, || {
        offset = offset.wrapping_add(reader.signed()?);
        Ok(offset)
    })?;
    let indexes = column(count, || {
        u32::try_from(reader.number()?).map_err(|_| Damaged::Format("an index is none"))
    })?;
    let instants = column(count, || {
        instant = instant.wrapping_add(reader.signed()?);
        Ok(instant)
    })?;
    let row = |reader: &mut Reader<'_>| {
        let row = reader.length(rows)?;
        (row < rows)
            .then_some(row)
            .ok_or(Damaged::Format("a row is missing"))
    };
    let row_of = column(count, || row(reader))?;
    let counters = read_counters(reader, flags)?;
    let kinds = reader.bytes(count)?;
    let mut entries = Vec::with_capacity(count);
    for at in 0..count {
        let change = usize::from(flags[at] & CHANGE);
        entries.push(Entry {
            commit: commits[at],
            change: *Change::ALL
                .get(change)
                .ok_or(Damaged::Format("a change is not known"))?,
            place: Place {
                offset: offsets[at],
                index: indexes[at],
            },
            completed_at_ms: instants[at],
            row: row_of[at],
            counters: counters[at],
            id: id::read(kinds[at], reader)?,
        });
    }
    Ok(entries)
}

/// What the quantities and the counters of wide entries say together.
fn read_counters(reader: &mut Reader<'_>, flags: &[u8]) -> Result<Vec<Counters>, Damaged> {
    let is_wide = |flags: &u8| flags & WIDE != 0;
    let mut masks = Vec::with_capacity(flags.len());
    for flags in flags {
        masks.push(if is_wide(flags) { 0 } else { reader.number()? });
    }
    let mut quantities = vec![[0; QUANTITIES.len()]; flags.len()];
    for column in 0..QUANTITIES.len() {
        for (mask, quantities) in masks.iter().zip(&mut quantities) {
            if mask & (1 << column) != 0 {
                quantities[column] = reader.signed()?;
            }
        }
    }
    let mut counters = Vec::with_capacity(flags.len());
    for (flags, quantities) in flags.iter().zip(quantities) {
        counters.push(if is_wide(flags) {
            read_wide(reader)?
        } else {
            narrow(*flags, quantities).ok_or(Damaged::Format("a sum does not fit"))?
        });
    }
    Ok(counters)
}

fn read_wide(reader: &mut Reader<'_>) -> Result<Counters, Damaged> {
    let (mask, mut counters) = (reader.number()?, Counters::default());
    for (at, counter) in Counter::ALL.into_iter().enumerate() {
        if mask & (1 << at) != 0 {
            counters[counter] = reader.signed()?;
        }
    }
    Ok(counters)
}

fn column<T>(count: usize, mut next: impl FnMut() -> Result<T, Damaged>) -> Result<Vec<T>, Damaged> {
    (0..count).map(|_| next()).collect()
}
