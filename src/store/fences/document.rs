//! A fence as a document of `usageFences`, and its move in a commit.

use ingest::lane::{Backfill, ContentId, DocumentKey, Fence, JournalHead, JournalId, LastRecord, Position};
use ingest::ledger::{LaneCommit, Tally};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc};
use serde::Deserialize;

/// What one lane has done, as it is stored. What a fence does not hold yet is as if nothing had been done.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoredFence {
    /// The lane.
    #[serde(rename = "_id")]
    pub lane: String,
    /// Counts owners.
    pub epoch: i64,
    /// Counts commits.
    pub seq: i64,
    /// The id of the last content committed.
    pub(in crate::store) content: Option<i64>,
    /// The worker that has the lane, or had it last.
    pub owner: Option<String>,
    /// The next offset (Kafka).
    pub next: Option<i64>,
    /// How many events of the record there are done: none, unless it holds several (Kafka).
    pub index: u32,
    /// The last record counted (Kafka).
    last: Option<StoredRecord>,
    /// The resume token (change stream).
    pub token: Option<Document>,
    /// Whether the token is that of a change which the server could not deliver.
    is_past: bool,
    /// Up to when a person accepted that the collection ended (change stream).
    pub(in crate::store) ends_accepted_until: Option<Timestamp>,
    /// Whether documents that were there before are still being taken in (change stream).
    pub scanning: bool,
    /// How far these are taken in.
    scanned_up_to: Option<Bson>,
    /// Every event that reached the source up to this instant is counted.
    pub watermark: Option<DateTime>,
    /// Raised whenever the lane begins again below its position, or elsewhere.
    pub(in crate::store) generation: i64,
    /// The newest document of the journal.
    journal: Option<StoredHead>,
    /// The first document of the journal that holds an id which is still known.
    window_from: Option<StoredId>,
    /// The newest document of the journal that is old, and kept no more.
    kept_after: Option<StoredHead>,
    /// Where the journal began anew, after a person gave up what was damaged before.
    journals_begun: Vec<StoredBegin>,
    /// Up to where the documents of the journal are merged.
    merged_up_to: Option<StoredId>,
    /// The source time before which ids are forgotten.
    pub(in crate::store) forgotten: Forgotten,
    /// Why the lane does not go on.
    pub stopped: Option<Stopped>,
    /// Spans of time whose events an operator accepted to lose.
    pub gaps: Vec<StoredGap>,
    /// Records read, ever.
    pub read: i64,
    /// Of these, booked.
    pub counted: i64,
    /// Known already.
    pub duplicate: i64,
    /// No usage, by rule.
    pub skipped: i64,
    /// Rejected.
    pub dead_letter: i64,
}

/// Why a lane stopped.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Its code.
    pub reason: String,
    /// In words.
    #[serde(default)]
    pub detail: String,
    /// When it stopped for this reason.
    pub at: Option<DateTime>,
    /// Where the stream itself says that it goes on.
    pub(in crate::store) resume_token: Option<Document>,
}

/// A span of time with events missing.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct StoredGap {
    /// Its begin.
    pub from: DateTime,
    /// Its end.
    pub to: DateTime,
}

/// The source time before which ids are forgotten, by window.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(in crate::store) struct Forgotten {
    pub(in crate::store) events: Option<DateTime>,
    pub(in crate::store) scanned: Option<DateTime>,
    pub(in crate::store) deleted: Option<DateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct StoredId {
    generation: i64,
    seq: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct StoredBegin {
    at: DateTime,
    from: StoredId,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct StoredHead {
    generation: i64,
    seq: i64,
    content: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct StoredRecord {
    offset: i64,
    timestamp: i64,
    hash: i64,
}

impl StoredHead {
    const fn head(self) -> JournalHead {
        JournalHead {
            id: JournalId {
                generation: self.generation,
                seq: self.seq,
            },
            content: ContentId(self.content),
        }
    }
}

impl StoredId {
    /// The document that it names; the begin of the journal, where it names none.
    fn named(id: Option<Self>) -> JournalId {
        id.map_or_else(JournalId::default, |id| JournalId {
            generation: id.generation,
            seq: id.seq,
        })
    }
}

impl StoredFence {
    /// The fence as its owner needs it, or what is wrong with it.
    pub(in crate::store) fn fence(&self) -> Result<Fence, String> {
        Ok(Fence {
            epoch: self.epoch,
            seq: self.seq,
            position: self.position()?,
            last: self.last.map(|last| LastRecord {
                offset: last.offset,
                timestamp_ms: last.timestamp,
                hash: last.hash,
            }),
            generation: self.generation,
            journal: self.head(),
            merged_up_to: StoredId::named(self.merged_up_to),
            tally: Tally {
                counted: self.counted,
                duplicate: self.duplicate,
                skipped: self.skipped,
                dead_letter: self.dead_letter,
            },
            ends_accepted_until: self.ends_accepted_until,
        })
    }

    /// The newest document of the journal.
    #[must_use]
    pub fn head(&self) -> Option<JournalHead> {
        self.journal.map(StoredHead::head)
    }

    /// The newest document of the journal that is kept no more, whether it is still there or not.
    #[must_use]
    pub fn kept_after(&self) -> Option<JournalHead> {
        self.kept_after.map(StoredHead::head)
    }

    /// From which document on the journal began anew, and when (ms), the last time that a person gave up what was damaged.
    #[must_use]
    pub fn begun_anew(&self) -> Option<(JournalId, i64)> {
        let last = self.journals_begun.last()?;
        Some((StoredId::named(Some(last.from)), last.at.timestamp_millis()))
    }

    /// The first document of the journal that is needed to know what its windows know.
    pub(in crate::store) fn window_from(&self) -> JournalId {
        StoredId::named(self.window_from)
    }

    /// The same; `None`: it does not say.
    pub(in crate::store) fn window_begin(&self) -> Option<JournalId> {
        self.window_from.map(|id| StoredId::named(Some(id)))
    }

    pub(in crate::store) fn position(&self) -> Result<Option<Position>, String> {
        if let Some(next) = self.next {
            return Ok(Some(Position::Offset {
                next,
                index: self.index,
            }));
        }
        let Some(token) = self.token.clone() else {
            return Ok(None);
        };
        let backfill = match (self.scanning, &self.scanned_up_to) {
            (true, None) => Backfill::Pending,
            (true, Some(id)) => Backfill::UpTo(read_key(id)?),
            (false, _) => Backfill::Done,
        };
        Ok(Some(Position::Stream {
            token,
            is_past: self.is_past,
            backfill,
        }))
    }
}

/// The fence of a lane that was never acquired, but for what acquiring it sets.
pub(in crate::store) fn first(is_stream: bool) -> Document {
    doc! {
        "seq": 0_i64, "scanning": is_stream,
        "read": 0_i64, "counted": 0_i64, "duplicate": 0_i64, "skipped": 0_i64, "deadLetter": 0_i64,
        "letters": 0_i64,
    }
}

/// The statement that moves a lane's fence to this content. It matches nothing where the fence is not where the commit
/// expects it.
pub(in crate::store) fn fence_move(lane: &LaneCommit, content: ContentId) -> Document {
    let mut set = doc! {"content": content.0};
    let mut unset = doc! {"stopped": ""};
    if let Some(position) = &lane.position {
        set_position(position, &mut set, &mut unset);
    }
    if let Some(last) = lane.last {
        set.insert("last", stored_record(last));
    }
    if let Some(journal) = &lane.journal {
        set.insert("journal", stored_head(journal.id, content));
        set.insert("windowFrom", stored_id(journal.window_from));
    }
    if let Some(merge) = &lane.merge {
        set.insert("mergedUpTo", stored_id(merge.up_to));
    }
    let tally = lane.tally;
    let letters = lane.letters.len() + lane.replayed.len() + lane.closes.len();
    let mut update = doc! {
        "$inc": {
            "seq": 1_i64, "read": tally.read(), "counted": tally.counted, "duplicate": tally.duplicate,
            "skipped": tally.skipped, "deadLetter": tally.dead_letter,
            // No number of letters: it tells readers that some may have changed.
            "letters": i64::try_from(letters).unwrap_or(i64::MAX),
        },
        "$currentDate": {"updatedAt": true},
        "$unset": unset,
        "$set": set,
    };
    let mut max = forgotten(lane);
    if let Some(watermark) = lane.watermark_ms {
        max.insert("watermark", DateTime::from_millis(watermark));
    }
    if !max.is_empty() {
        update.insert("$max", max);
    }
    let fence = &lane.fence;
    doc! {"q": {"_id": fence.lane.as_str(), "epoch": fence.epoch, "seq": fence.seq}, "u": update}
}

/// A position, alone.
pub(in crate::store) fn stored_position(position: &Position) -> Document {
    let mut stored = Document::new();
    set_position(position, &mut stored, &mut Document::new());
    stored
}

/// What recognises a record.
pub(in crate::store) fn stored_record(record: LastRecord) -> Document {
    let LastRecord {
        offset,
        timestamp_ms,
        hash,
    } = record;
    doc! {"offset": offset, "timestamp": timestamp_ms, "hash": hash}
}

/// Sets a fence to a position.
pub(in crate::store) fn set_position(position: &Position, set: &mut Document, unset: &mut Document) {
    match position {
        Position::Offset { next, index } => {
            set.extend(doc! {"next": *next, "index": i64::from(*index)});
        }
        Position::Stream {
            token,
            is_past,
            backfill,
        } => {
            set.insert("token", token.clone());
            match is_past {
                true => drop(set.insert("isPast", true)),
                false => drop(unset.insert("isPast", "")),
            }
            set.insert("scanning", *backfill != Backfill::Done);
            match backfill {
                Backfill::UpTo(id) => drop(set.insert("scannedUpTo", stored_key(id))),
                Backfill::Pending | Backfill::Done => drop(unset.insert("scannedUpTo", "")),
            }
        }
    }
}

/// The source time before which ids are forgotten, of each window that forgets any.
fn forgotten(lane: &LaneCommit) -> Document {
    let windows = [
        ("forgotten.events", &lane.events),
        ("forgotten.scanned", &lane.scanned),
        ("forgotten.deleted", &lane.deleted),
    ];
    windows
        .into_iter()
        .filter_map(|(name, window)| {
            let before = DateTime::from_millis(window.forget_before_ms?);
            Some((name.to_owned(), before.into()))
        })
        .collect()
}

fn stored_id(id: JournalId) -> Document {
    doc! {"generation": id.generation, "seq": id.seq}
}

/// A document of the journal, and its content.
pub(in crate::store) fn stored_head(id: JournalId, content: ContentId) -> Document {
    doc! {"generation": id.generation, "seq": id.seq, "content": content.0}
}

/// The `_id` of a document, as a document with its bytes where it is no value: every server takes those.
fn stored_key(key: &DocumentKey) -> Document {
    match key {
        DocumentKey::Plain(value) => doc! {"_id": value.clone()},
        DocumentKey::Bytes(raw) => doc! {"bytes": Binary {
            subtype: BinarySubtype::Generic, bytes: raw.as_bytes().to_vec(),
        }},
    }
}

fn read_key(stored: &Bson) -> Result<DocumentKey, String> {
    let stored = stored.as_document().ok_or("`scannedUpTo` is not a document")?;
    if let Some(value) = stored.get("_id") {
        return Ok(value.clone().into());
    }
    let bytes = stored.get_binary_generic("bytes").ok();
    let raw = bytes.and_then(|bytes| RawDocumentBuf::from_bytes(bytes.clone()).ok());
    raw.map(DocumentKey::Bytes)
        .ok_or_else(|| "`scannedUpTo` is damaged".into())
}
