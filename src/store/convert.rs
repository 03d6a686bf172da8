//! Values of the core as they are stored.

use ingest::dedupe::{EventHash, Remember};
use ingest::lane::{ContentId, DocumentKey, LastRecord, Position, Scan};
use ingest::ledger::{LaneCommit, pack};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc};

/// The move of a lane's fence, in a transaction of this session.
pub(super) fn fence_move(lane: &LaneCommit, content: ContentId) -> Document {
    let mut set = doc! {"content": content.0};
    let mut unset = doc! {"stopped": ""};
    match &lane.position {
        None => {}
        Some(Position::Offset(next)) => {
            set.insert("next", *next);
        }
        Some(Position::Stream { token, is_past, scan }) => {
            set.insert("token", token.clone());
            match is_past {
                true => drop(set.insert("isPast", true)),
                false => drop(unset.insert("isPast", "")),
            }
            set.insert("scanning", *scan != Scan::Done);
            match scan {
                Scan::UpTo(id) => {
                    set.insert("scannedUpTo", stored_key(id));
                }
                Scan::Pending | Scan::Done => {
                    unset.insert("scannedUpTo", "");
                }
            }
        }
    }
    if let Some(LastRecord {
        offset,
        timestamp_ms,
        hash,
    }) = lane.last
    {
        set.insert(
            "last",
            doc! {"offset": offset, "timestamp": timestamp_ms, "hash": hash},
        );
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
    };
    if !set.is_empty() {
        update.insert("$set", set);
    }
    if let Some(watermark) = lane.watermark_ms {
        update.insert("$max", doc! {"watermark": DateTime::from_millis(watermark)});
    }
    let fence = &lane.fence;
    doc! {"q": {"_id": fence.lane.as_str(), "epoch": fence.epoch, "seq": fence.seq}, "u": update}
}

/// The position that a fence holds, or what is wrong with it.
pub(super) fn position(fence: &Document) -> Result<Option<Position>, String> {
    if let Some(next) = fence.get("next") {
        let next = next.as_i64().ok_or("`next` is not an int64")?;
        return Ok(Some(Position::Offset(next)));
    }
    let Some(token) = fence.get("token") else {
        return Ok(None);
    };
    let token = token.as_document().ok_or("`token` is not a document")?.clone();
    let is_past = fence.get_bool("isPast").unwrap_or(false);
    let scan = match (fence.get_bool("scanning"), fence.get("scannedUpTo")) {
        (Ok(true), None) => Scan::Pending,
        (Ok(true), Some(id)) => Scan::UpTo(read_key(id)?),
        (Ok(false), _) => Scan::Done,
        (Err(_), _) => return Err("`scanning` is not a boolean".into()),
    };
    Ok(Some(Position::Stream { token, is_past, scan }))
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

/// The last record that a fence remembers.
pub(super) fn last(fence: &Document) -> Option<LastRecord> {
    let last = fence.get_document("last").ok()?;
    Some(LastRecord {
        offset: last.get_i64("offset").ok()?,
        timestamp_ms: last.get_i64("timestamp").ok()?,
        hash: last.get_i64("hash").ok()?,
    })
}

/// The ids that one commit adds to a window of a lane; `None`: it adds none.
pub(super) fn ids(lane: &LaneCommit, window: WindowName, remember: &Remember) -> Option<Document> {
    if remember.ids.ids.is_empty() {
        return None;
    }
    let (id, seq) = (&lane.fence.lane, lane.fence.seq);
    Some(doc! {
        "_id": format!("{id}/{}/{seq}", window.name()),
        "lane": id.as_str(),
        "window": window.name(),
        "seq": seq,
        "newest": DateTime::from_millis(remember.ids.newest_ms),
        "ids": Binary { subtype: BinarySubtype::Generic, bytes: pack(&remember.ids.ids) },
    })
}

/// The hash of an id as it is stored.
pub(super) fn hash(id: EventHash) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: id.to_bytes().to_vec(),
    })
}

/// The windows of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowName {
    Events,
    Scanned,
}

impl WindowName {
    pub(super) const fn name(self) -> &'static str {
        match self {
            WindowName::Events => "events",
            WindowName::Scanned => "scanned",
        }
    }
}
