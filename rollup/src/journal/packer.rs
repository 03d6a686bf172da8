//! Entries on their way into the journal.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::NaiveDate;
use twox_hash::XxHash3_64;

use super::block::Block;
use super::varint::Writer;
use super::{Change, Entry, Place, pack};
use crate::counters::Counters;
use crate::event::{Dimensions, DocumentId, Identity};
use crate::period::{Granularity, Period};

/// A row that somebody else holds: its finest period, and who used what.
pub type RowRef<'a> = (Period, &'a Dimensions<Box<str>>);

/// Packed entries, and what finds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packed {
    /// See the module.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub entries: usize,
    /// The least and the greatest completion, in milliseconds; `None`: there are no entries.
    pub completed_ms: Option<(i64, i64)>,
    /// Of each organization and day that they are of: [`day_hash`], in order.
    pub days: Vec<i64>,
}

/// A number by which the entries of an organization and a day are found. Others may have the same. Stored.
#[must_use]
pub fn day_hash(organization: &str, day: NaiveDate) -> i64 {
    let day = u64::from(day.to_epoch_days().cast_unsigned());
    XxHash3_64::oneshot_with_seed(day, organization.as_bytes()).cast_signed()
}

/// Collects entries, of all organizations, and packs them.
#[derive(Debug, Clone, Default)]
pub struct Packer {
    pending: Vec<Pending>,
    /// The ids that are texts, one after the other.
    texts: String,
}

/// An entry that borrows nothing, and owns nothing.
#[derive(Debug, Clone, Copy)]
struct Pending {
    commit: u32,
    change: Change,
    place: Place,
    completed_at_ms: i64,
    row: usize,
    counters: Counters,
    id: PendingId,
}

#[derive(Debug, Clone, Copy)]
enum PendingId {
    Event(usize, usize),
    DocumentText(usize, usize),
    ObjectId([u8; 12]),
    Uuid([u8; 16]),
    LegacyUuid([u8; 16]),
    Integer(i64),
    None,
}

impl Packer {
    /// Takes in an entry; its row is an index of those that [`Packer::pack`] gets.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let id = match &entry.id {
            Identity::EventId(text) => {
                let Range { start, end } = self.text(text);
                PendingId::Event(start, end)
            }
            Identity::Document(DocumentId::Text(text)) => {
                let Range { start, end } = self.text(text);
                PendingId::DocumentText(start, end)
            }
            Identity::Document(DocumentId::ObjectId(bytes)) => PendingId::ObjectId(*bytes),
            Identity::Document(DocumentId::Uuid(bytes)) => PendingId::Uuid(*bytes),
            Identity::Document(DocumentId::LegacyUuid(bytes)) => PendingId::LegacyUuid(*bytes),
            Identity::Document(DocumentId::Integer(number)) => PendingId::Integer(*number),
            Identity::Document(DocumentId::None | DocumentId::Unsupported) => PendingId::None,
        };
        self.pending.push(Pending {
            commit: entry.commit,
            change: entry.change,
            place: entry.place,
            completed_at_ms: entry.completed_at_ms,
            row: entry.row,
            counters: entry.counters,
            id,
        });
    }

    fn text(&mut self, text: &str) -> Range<usize> {
        let start = self.texts.len();
        self.texts.push_str(text);
        start..self.texts.len()
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Everything that was taken in, packed. `rows` are of this granularity.
    #[must_use]
    pub fn pack(&self, granularity: Granularity, rows: &[RowRef<'_>]) -> Packed {
        let instants = || self.pending.iter().map(|pending| pending.completed_at_ms);
        let days: BTreeSet<i64> = rows
            .iter()
            .map(|(period, dimensions)| day_hash(&dimensions.organization, period.first_day()))
            .collect();
        Packed {
            bytes: self.bytes(granularity, rows),
            entries: self.pending.len(),
            completed_ms: instants().min().zip(instants().max()),
            days: days.into_iter().collect(),
        }
    }

    fn bytes(&self, granularity: Granularity, rows: &[RowRef<'_>]) -> Vec<u8> {
        let mut blocks: BTreeMap<&str, Block<'_>> = BTreeMap::new();
        // Where a row is in the block of its organization.
        let mut renumbered: Vec<Option<usize>> = vec![None; rows.len()];
        for pending in &self.pending {
            let row = rows[pending.row];
            let block = blocks.entry(&row.1.organization).or_insert_with(|| Block {
                rows: Vec::new(),
                entries: Vec::new(),
            });
            let at = *renumbered[pending.row].get_or_insert_with(|| {
                block.rows.push(row);
                block.rows.len() - 1
            });
            block.entries.push(self.entry(pending, at));
        }
        let mut directory = Writer::default();
        let mut written = Writer::default();
        let position = Granularity::ALL.iter().position(|other| *other == granularity);
        directory.byte(position.map_or(0, |position| position.to_le_bytes()[0]));
        directory.length(blocks.len());
        for (name, block) in &blocks {
            let before = written.written().len();
            block.write(&mut written);
            directory.text(name);
            directory.length(block.entries.len());
            directory.length(written.written().len() - before);
        }
        directory.bytes(written.written());
        pack(directory.written())
    }

    fn entry(&self, pending: &Pending, row: usize) -> Entry<'_> {
        let text = |start: usize, end: usize| Cow::Borrowed(&self.texts[start..end]);
        Entry {
            commit: pending.commit,
            change: pending.change,
            place: pending.place,
            completed_at_ms: pending.completed_at_ms,
            row,
            counters: pending.counters,
            id: match pending.id {
                PendingId::Event(start, end) => Identity::EventId(text(start, end)),
                PendingId::DocumentText(start, end) => Identity::Document(DocumentId::Text(text(start, end))),
                PendingId::ObjectId(bytes) => Identity::Document(DocumentId::ObjectId(bytes)),
                PendingId::Uuid(bytes) => Identity::Document(DocumentId::Uuid(bytes)),
                PendingId::LegacyUuid(bytes) => Identity::Document(DocumentId::LegacyUuid(bytes)),
                PendingId::Integer(number) => Identity::Document(DocumentId::Integer(number)),
                PendingId::None => Identity::Document(DocumentId::None),
            },
        }
    }
}
