//! `usageJournal`: what was counted, event by event; and the ids by which duplicates are known.
//!
//! One document for each commit and lane that judged anything, written in the transaction that counts it. Its `_id` is
//! {lane, generation, seq}; `previous` names the content of the document before it, so nobody can take one out of the
//! chain unseen. The fence names the newest one.
//!
//! | field | |
//! |---|---|
//! | `commits` | of each commit in it: `seq`, `content`, `at`, `entries`, and of each window the number of `ids` and the `newest` source time |
//! | `position` `last` `tally` | of the lane after it: what the fence says |
//! | `least` `greatest` `days` | what finds its entries |
//! | `events` `scanned` `deleted` | ids, 16 bytes each, packed |
//! | `entries` | packed, as [`rollup::journal`] says |
//! | `entriesSum` `checksum` | XXH3-64 of `entries`; of everything but `entries` and itself |

mod ahead;
mod reading;
mod stored;
mod window;

use ingest::identity::{CountedId, Quantities};
use ingest::lane::{ContentId, JournalId, LaneId};
use ingest::ledger::{JournalCommit, LaneCommit};
use ingest::server_error::{Fault, Place};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc};
use twox_hash::XxHash3_64;

use super::fences;
use super::{JOURNAL, Store};

pub use reading::{Boundary, Found, Unread, Written};
use stored::checksum;

/// The version of the documents.
const FORMAT: i32 = 1;
/// How far the clock of an emitter may be ahead.
const AHEAD_MS: i64 = 5 * 60 * 1_000;

/// The `_id` of a document.
fn id(lane: &LaneId, id: JournalId) -> Document {
    doc! {"lane": lane.as_str(), "generation": id.generation, "seq": id.seq}
}

fn binary(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}

/// The document that a commit writes of a lane; `None`: it judged nothing.
pub(super) fn document(
    lane: &LaneCommit,
    content: ContentId,
    at: DateTime,
) -> Result<Option<RawDocumentBuf>, Fault> {
    let Some(journal) = &lane.journal else {
        return Ok(None);
    };
    let windows = [&lane.events, &lane.scanned, &lane.deleted].map(|window| &window.ids);
    let newest = |ms: i64| (ms > i64::MIN).then(|| DateTime::from_millis(ms));
    let mut document = doc! {
        "_id": id(&lane.fence.lane, journal.id),
        "format": FORMAT,
        "edit": 0_i64,
        "previous": journal.previous.map(|head| head.content.0),
        "commits": [{
            "seq": journal.id.seq,
            "content": content.0,
            "at": at,
            "entries": i64::try_from(journal.entries.entries).unwrap_or(i64::MAX),
            "ids": windows.map(|ids| i64::try_from(ids.ids.len()).unwrap_or(i64::MAX)).to_vec(),
            "newest": windows.map(|ids| Bson::from(newest(ids.newest_ms))).to_vec(),
        }],
    };
    document.extend(after(lane, journal));
    document.extend(found_by(journal, at));
    let [events, scanned, deleted] = windows.map(|ids| binary(CountedId::pack(&ids.ids)));
    document.extend(doc! {
        "quantities": Quantities::VERSION, "events": events, "scanned": scanned, "deleted": deleted,
        "entriesSum": XxHash3_64::oneshot(&journal.entries.bytes).cast_signed(),
    });
    let sum = RawDocumentBuf::try_from(&document).map(|raw| checksum(&raw));
    let sum = sum.map_err(|error| Fault::of(&error.into(), Place::Transaction))?;
    document.insert("checksum", sum);
    document.insert("entries", binary(journal.entries.bytes.clone()));
    let raw = RawDocumentBuf::try_from(&document);
    raw.map(Some)
        .map_err(|error| Fault::of(&error.into(), Place::Transaction))
}

/// What the fence says after it.
fn after(lane: &LaneCommit, journal: &JournalCommit) -> Document {
    let tally = journal.tally;
    doc! {
        "position": lane.position.as_ref().map(fences::stored_position),
        "last": lane.last.map(fences::stored_record),
        "tally": {
            "counted": tally.counted, "duplicate": tally.duplicate, "skipped": tally.skipped,
            "deadLetter": tally.dead_letter,
        },
    }
}

/// What finds its entries.
fn found_by(journal: &JournalCommit, at: DateTime) -> Document {
    let completed = journal.entries.completed_ms;
    let instant = |ms: Option<i64>| ms.map(DateTime::from_millis);
    let greatest = completed.map(|(_, greatest)| greatest);
    // However wrong a clock was: a document is kept for as long as its entries are asked for.
    let kept_from = greatest.map_or(at.timestamp_millis(), |ms| {
        (ms - AHEAD_MS).max(at.timestamp_millis())
    });
    doc! {
        "least": instant(completed.map(|(least, _)| least)),
        "greatest": instant(greatest),
        "at": DateTime::from_millis(kept_from),
        "days": journal.entries.days.clone(),
    }
}

impl Store {
    /// The documents of a lane that a window needs, and whatever is beyond the newest.
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
