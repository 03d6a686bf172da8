//! A document of the journal as it is read.

use std::hash::Hasher;

use ingest::identity::CountedId;
use ingest::journal::{Boundary, Document, WINDOWS};
use ingest::lane::{ContentId, JournalId, LastRecord};
use ingest::ledger::Tally;
use mongodb::bson::{Binary, DateTime, RawDocument, deserialize_from_slice};
use rollup::journal::Packed;
use serde::Deserialize;
use twox_hash::XxHash3_64;

use super::FORMAT;
use crate::store::fences::StoredFence;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: StoredId,
    format: i32,
    edit: i64,
    previous: Option<i64>,
    commits: Vec<StoredBoundary>,
    /// As a fence has it.
    position: Option<StoredFence>,
    last: Option<StoredRecord>,
    tally: StoredTally,
    least: Option<DateTime>,
    greatest: Option<DateTime>,
    days: Vec<i64>,
    quantities: i32,
    events: Binary,
    scanned: Binary,
    deleted: Binary,
    entries_sum: i64,
    checksum: i64,
    /// Left out where only ids are asked for.
    entries: Option<Binary>,
}

#[derive(Debug, Deserialize)]
struct StoredId {
    generation: i64,
    seq: i64,
}

#[derive(Debug, Deserialize)]
struct StoredBoundary {
    seq: i64,
    content: i64,
    at: DateTime,
    entries: usize,
    ids: [usize; WINDOWS],
    newest: [Option<DateTime>; WINDOWS],
}

#[derive(Debug, Deserialize)]
struct StoredRecord {
    offset: i64,
    timestamp: i64,
    hash: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTally {
    counted: i64,
    duplicate: i64,
    skipped: i64,
    dead_letter: i64,
}

/// Reads a document. Where its entries were not asked for, it has none.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn read(raw: &RawDocument) -> Result<Document, String> {
    let stored: Stored = deserialize_from_slice(raw.as_bytes())
        .map_err(|error| format!("a document cannot be read: {error}"))?;
    let StoredId { generation, seq } = stored.id;
    let named = format!("the document of generation {generation} and seq {seq}");
    let entries = stored.entries.as_ref();
    let are_whole =
        entries.is_none_or(|entries| XxHash3_64::oneshot(&entries.bytes).cast_signed() == stored.entries_sum);
    if stored.checksum != checksum(raw) || !are_whole {
        return Err(format!("{named} is not what was written"));
    }
    if stored.format != FORMAT {
        let found = stored.format;
        return Err(format!(
            "{named} has the format {found}; this program knows {FORMAT}"
        ));
    }
    document(stored).map_err(|why| format!("{named}: {why}"))
}

fn document(stored: Stored) -> Result<Document, String> {
    let ids = |packed: &Binary| {
        let ids = CountedId::unpack(&packed.bytes, stored.quantities);
        ids.ok_or("its ids are not whole")
    };
    let position = stored.position.map(|position| position.position()).transpose()?;
    let completed = stored.least.zip(stored.greatest);
    Ok(Document {
        id: JournalId {
            generation: stored.id.generation,
            seq: stored.id.seq,
        },
        edit: stored.edit,
        previous: stored.previous.map(ContentId),
        position: position.flatten(),
        last: stored.last.map(|last| LastRecord {
            offset: last.offset,
            timestamp_ms: last.timestamp,
            hash: last.hash,
        }),
        tally: Tally {
            counted: stored.tally.counted,
            duplicate: stored.tally.duplicate,
            skipped: stored.tally.skipped,
            dead_letter: stored.tally.dead_letter,
        },
        entries: Packed {
            entries: stored.commits.iter().map(|commit| commit.entries).sum(),
            bytes: stored.entries.map(|entries| entries.bytes).unwrap_or_default(),
            completed_ms: completed
                .map(|(least, greatest)| (least.timestamp_millis(), greatest.timestamp_millis())),
            days: stored.days,
        },
        ids: [ids(&stored.events)?, ids(&stored.scanned)?, ids(&stored.deleted)?],
        quantities: stored.quantities,
        commits: stored.commits.into_iter().map(StoredBoundary::boundary).collect(),
    })
}

impl StoredBoundary {
    fn boundary(self) -> Boundary {
        Boundary {
            seq: self.seq,
            content: ContentId(self.content),
            at: self.at.to_chrono(),
            entries: self.entries,
            ids: self.ids,
            newest_ms: self.newest.map(|at| at.map(DateTime::timestamp_millis)),
        }
    }
}

/// Of every element as it is stored, but the entries, which have a checksum of their own, and itself.
pub(super) fn checksum(document: &RawDocument) -> i64 {
    let mut hash = XxHash3_64::default();
    let bytes = document.as_bytes();
    // What lies before an element: of the document its length, of each element its type, name and value.
    let mut at = 4;
    for element in document.iter_elements().flatten() {
        let name = element.key().as_str();
        let end = at + 1 + name.len() + 1 + element.size();
        if !["entries", "checksum"].contains(&name) {
            hash.write(bytes.get(at..end).unwrap_or_default());
        }
        at = end;
    }
    hash.finish().cast_signed()
}
