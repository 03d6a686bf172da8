//! The statements that keep letters and close them, and which letters these are.

use std::collections::HashSet;

use ingest::dedupe::{RejectedIdState, Scope};
use ingest::identity::{Identity, IdentityHash, Quantities};
use ingest::lane::LaneId;
use ingest::ledger::{DeadLetter, LaneCommit, Outcome, ReplayResult};
use mongodb::bson::{Bson, DateTime, Document, doc};
use rollup::period::Calendar;

use super::day;
use super::payload::{self, CUT, DROPPED};
use super::which::{LOST, OPEN, among};
use crate::store::VERSION;
use crate::store::convert::hash;

/// The upsert of a dead letter. A record that is read again at the same place stays the letter it is.
///
/// `taken`: the places that hold a letter of another record. An offset comes twice where a topic was recreated.
pub(in crate::store) fn keep(
    lane: &LaneCommit,
    letter: &DeadLetter,
    taken: &HashSet<String>,
    calendar: &Calendar,
    at: DateTime,
) -> Document {
    let place = match taken.contains(&letter.place) {
        true => format!("{}@{}", letter.place, letter.source_time_ms),
        false => letter.place.clone(),
    };
    let payload = payload::write(&letter.payload, letter.keep);
    let is_kept = payload.get_str("format").is_ok_and(|format| format != CUT);
    let mut fields = doc! {
        "lane": lane.fence.lane.as_str(),
        "place": &place,
        "reason": letter.reject.reason.code(),
        "field": letter.reject.field,
        "message": letter.reject.message(),
        "state": if is_kept { "open" } else { LOST },
        "open": lane.fence.lane.as_str(),
        "eventId": letter.names.event_id.as_deref(),
        "documentId": letter.names.document_id.as_deref(),
        "identity": letter.identity.map(|identity| hash(identity.hash())),
        "document": letter.document.map(hash),
        "organizationId": letter.about.organization.as_deref(),
        "day": day::of(letter, calendar, at.to_chrono()).to_string(),
        "countedBefore": matches!(letter.known, RejectedIdState::Counted(_)),
        "sourceTime": DateTime::from_millis(letter.source_time_ms),
        "rejectedAt": at,
        "schemaVersion": VERSION,
    };
    if let RejectedIdState::Counted(quantities) = letter.known {
        fields.extend(doc! {
            "countedQuantities": quantities.to_stored(), "quantitiesVersion": Quantities::VERSION,
        });
    }
    fields.extend(payload);
    doc! {"q": {"_id": id(&lane.fence.lane, &place)}, "u": {"$setOnInsert": fields}, "upsert": true}
}

/// What becomes of a letter that was judged again. It matches nothing where the letter is not marked any more.
pub(in crate::store) fn replayed(lane: &LaneId, letter: &ReplayResult, at: DateTime) -> Document {
    let update = match &letter.result {
        Ok(outcome) => closed("replay", Some(*outcome), at),
        Err(reject) => doc! {
            "$set": {
                "state": "open", "reason": reject.reason.code(), "field": reject.field, "message": reject.message(),
                "replayedAt": at,
            },
            "$unset": {"replayRequestedAt": ""},
        },
    };
    doc! {"q": {"_id": id(lane, &letter.place), "state": "replay"}, "u": update}
}

/// The letters that counted events with these identities close, in the whole ledger or in this lane.
pub(in crate::store) fn open_under(lane: &LaneId, scope: Scope, ids: &[IdentityHash]) -> Document {
    let ids: Vec<Bson> = ids.iter().copied().map(hash).collect();
    // One that came after an event with its identity is not closed by that event.
    let mut which = doc! {
        "identity": among(&ids), "state": {"$in": OPEN.as_slice()}, "countedBefore": {"$ne": true},
    };
    if scope == Scope::Lane {
        which.insert("lane", lane.as_str());
    }
    which
}

/// The letters that the counted events of a lane close, in questions of at most so many identities.
pub(in crate::store) fn closed_by(lane: &LaneCommit, scope: Scope, at_once: usize) -> Vec<Document> {
    let (mut events, mut documents) = (Vec::new(), Vec::new());
    for identity in &lane.closes {
        match identity {
            Identity::Event(id) => events.push(*id),
            Identity::Document(id) | Identity::Copy(id) => documents.push(*id),
        }
    }
    let id = &lane.fence.lane;
    let events = events.chunks(at_once).map(|ids| open_under(id, scope, ids));
    // A document is known within its lane only.
    let documents = documents
        .chunks(at_once)
        .map(|ids| open_under(id, Scope::Lane, ids));
    events.chain(documents).collect()
}

/// Closes letters whose event was counted.
pub(in crate::store) fn superseded(ids: Vec<Bson>, at: DateTime) -> Document {
    doc! {"q": {"_id": {"$in": ids}}, "u": closed("event", None, at), "multi": true}
}

/// Closes a letter that waits.
pub(super) fn closed(by: &str, outcome: Option<Outcome>, at: DateTime) -> Document {
    let mut set = doc! {"state": "closed", "closedBy": by, "closedAt": at};
    if let Some(outcome) = outcome {
        set.insert("outcome", outcome.name());
    }
    // It holds whatever an emitter sent, and is not needed any more.
    set.insert("format", DROPPED);
    doc! {"$set": set, "$unset": {"open": "", "replayRequestedAt": "", "payload": "", "headers": ""}}
}

/// The `_id` of the letter of this place.
pub(super) fn id(lane: &LaneId, place: &str) -> String {
    format!("{lane}/{place}")
}
