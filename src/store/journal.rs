//! `usageJournal`: what was counted, event by event; and the ids by which duplicates are known.
//!
//! One document for each commit and lane that judged anything, written in the transaction that counts it. Its `_id` is
//! {lane, generation, seq}; `previous` names the content of the document before it, so nobody can take one out of the
//! chain unseen. The fence names the newest one. Small documents become one later.
//!
//! | field | |
//! |---|---|
//! | `commits` | of each commit in it: `seq`, `content`, `at`, `entries`, and of each window the number of `ids` and the `newest` source time |
//! | `position` `last` `tally` | of the lane after it: what the fence says |
//! | `least` `greatest` `days` | what finds its entries |
//! | `at` | the later of the clock and the greatest completion less 5 minutes: it is kept from then on |
//! | `events` `scanned` `deleted` | ids, 16 bytes each, packed |
//! | `entries` | packed, as [`rollup::journal`] says |
//! | `entriesSum` `checksum` | XXH3-64 of `entries`; of everything but `entries` and itself |

mod ahead;
mod keeping;
mod merging;
mod reading;
mod stored;
mod window;

use ingest::identity::CountedId;
use ingest::journal::Document as Journaled;
use ingest::lane::{JournalId, LaneId};
use ingest::server_error::{Fault, Place};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc};
use twox_hash::XxHash3_64;

use super::fences;
use super::{JOURNAL, Store};

pub use ahead::End;
pub use reading::{Found, Unread};
use stored::checksum;

/// The version of the documents.
const FORMAT: i32 = 1;

/// The `_id` of a document.
pub(super) fn id(lane: &LaneId, id: JournalId) -> Document {
    doc! {"lane": lane.as_str(), "generation": id.generation, "seq": id.seq}
}

fn binary(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A document as it is stored.
pub(super) fn document(lane: &LaneId, journaled: &Journaled) -> Result<RawDocumentBuf, Fault> {
    let entries = &journaled.entries;
    let mut document = doc! {
        "_id": id(lane, journaled.id),
        "format": FORMAT,
        "edit": journaled.edit,
        "previous": journaled.previous.map(|content| content.0),
        "commits": journaled.commits.iter().map(boundary).collect::<Vec<_>>(),
    };
    document.extend(after(journaled));
    document.extend(found_by(journaled));
    let [events, scanned, deleted] = journaled.ids.each_ref().map(|ids| binary(CountedId::pack(ids)));
    document.extend(doc! {
        "quantities": journaled.quantities, "events": events, "scanned": scanned, "deleted": deleted,
        "entriesSum": XxHash3_64::oneshot(&entries.bytes).cast_signed(),
    });
    let raw = |document: &Document| {
        let raw = RawDocumentBuf::try_from(document);
        raw.map_err(|error| Fault::of(&error.into(), Place::Transaction))
    };
    let sum = checksum(&raw(&document)?);
    document.extend(doc! {"checksum": sum, "entries": binary(entries.bytes.clone())});
    raw(&document)
}

fn boundary(commit: &ingest::journal::Boundary) -> Document {
    let newest = commit
        .newest_ms
        .map(|ms| Bson::from(ms.map(DateTime::from_millis)));
    doc! {
        "seq": commit.seq,
        "content": commit.content.0,
        "at": DateTime::from_chrono(commit.at),
        "entries": number(commit.entries),
        "ids": commit.ids.map(number).to_vec(),
        "newest": newest.to_vec(),
    }
}

/// What the fence says after it.
fn after(journaled: &Journaled) -> Document {
    let tally = journaled.tally;
    doc! {
        "position": journaled.position.as_ref().map(fences::stored_position),
        "last": journaled.last.map(fences::stored_record),
        "tally": {
            "counted": tally.counted, "duplicate": tally.duplicate, "skipped": tally.skipped,
            "deadLetter": tally.dead_letter,
        },
    }
}

/// What finds its entries, and from when on it is kept.
fn found_by(journaled: &Journaled) -> Document {
    let completed = journaled.entries.completed_ms;
    let instant = |ms: Option<i64>| ms.map(DateTime::from_millis);
    let greatest = completed.map(|(_, greatest)| greatest);
    doc! {
        "least": instant(completed.map(|(least, _)| least)),
        "greatest": instant(greatest),
        "at": DateTime::from_chrono(journaled.kept_from()),
        "days": journaled.entries.days.clone(),
    }
}

impl Store {
    /// The documents of a lane from this one on, whatever is beyond the newest among them.
    fn journal_from(lane: &LaneId, from: JournalId) -> Document {
        let end = JournalId {
            generation: i64::MAX,
            seq: i64::MAX,
        };
        doc! {"_id": {"$gte": id(lane, from), "$lte": id(lane, end)}}
    }

    fn journal(&self) -> mongodb::Collection<RawDocumentBuf> {
        self.database.collection(JOURNAL)
    }
}
