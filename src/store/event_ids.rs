//! `usageEventIds`: ids that are unique in the whole ledger ([`Scope::Ledger`](ingest::dedupe::Scope::Ledger)).
//!
//! One document per id, `{_id: hash, lane, counted, letter?}`: `counted` once an event with it is, `letter` while a
//! dead letter is open under it, so that neither is forgotten before its time. Whatever two lanes do to the same
//! id, the one that commits second finds the document there (11000) or in its way (112), and nothing of its
//! transaction is applied: it looks the id up, judges its event by that, and folds again.

use std::collections::HashSet;

use ingest::dedupe::{EventHash, ExistingId};
use ingest::ledger::{Commit, LaneCommit};
use ingest::server_error::{Fault, Place};
use mongodb::bson::{Bson, Document, doc};

use super::convert::hash;
use super::{EVENT_IDS, Store};

/// Ids in one question or deletion.
const CHUNK: usize = 10_000;

/// What a commit does to the ids, as statements of `insert`, `update` and `delete`.
pub(super) struct Changes {
    pub(super) inserts: Vec<Document>,
    pub(super) updates: Vec<Document>,
    pub(super) deletes: Vec<Document>,
}

impl Changes {
    /// In the order in which they are written: a claim must find the id of an event that the same commit counts,
    /// and an event that closes letters their claims.
    pub(super) fn of(commit: &Commit) -> Self {
        let mut changes = Self {
            inserts: Vec::new(),
            updates: Vec::new(),
            deletes: Vec::new(),
        };
        let mut taken = Vec::new();
        for lane in &commit.lanes {
            let name = lane.fence.lane.as_str();
            let closes = closes(lane);
            let mut added: Vec<EventHash> = lane.events.ids.ids.clone();
            added.retain(|id| !closes.contains(id));
            added.sort_unstable();
            let inserts = added
                .iter()
                .map(|id| doc! {"_id": hash(*id), "lane": name, "counted": true});
            changes.inserts.extend(inserts);
            let letters = lane.letters.iter().filter_map(|letter| letter.event_id.as_ref());
            changes.updates.extend(letters.map(|id| claim(id.hash, name)));
            taken.extend(closes.iter().map(|id| take(*id, name)));
            changes.deletes.extend(lane.dropped.chunks(CHUNK).map(|ids| {
                let ids: Vec<Bson> = ids.iter().map(|id| hash(*id)).collect();
                doc! {"q": {"_id": {"$in": ids}, "lane": name, "letter": {"$ne": true}}, "limit": 0}
            }));
        }
        changes.updates.extend(taken);
        changes
    }
}

/// A dead letter is open under an id, counted or not.
fn claim(id: EventHash, lane: &str) -> Document {
    let update = doc! {"$set": {"letter": true}, "$setOnInsert": {"lane": lane, "counted": false}};
    doc! {"q": {"_id": hash(id)}, "u": update, "upsert": true}
}

/// Counts an id under which only dead letters are known. Where it is counted, this is an 11000.
fn take(id: EventHash, lane: &str) -> Document {
    let update = doc! {"$set": {"counted": true, "lane": lane}, "$unset": {"letter": ""}};
    doc! {"q": {"_id": hash(id), "counted": false}, "u": update, "upsert": true}
}

/// The ids under which a lane closes letters.
fn closes(lane: &LaneCommit) -> HashSet<EventHash> {
    lane.closes.iter().copied().collect()
}

impl Store {
    /// What is held under the ids that a commit counts, where that stands in its way.
    pub(super) async fn held(&self, commit: &Commit) -> Result<Vec<(EventHash, ExistingId)>, Fault> {
        let failed = |error| Fault::of(&error, Place::Outside);
        let closes: HashSet<EventHash> = commit.lanes.iter().flat_map(closes).collect();
        let ids: Vec<Bson> = commit
            .lanes
            .iter()
            .flat_map(|lane| &lane.events.ids.ids)
            .map(|id| hash(*id))
            .collect();
        let mut held = Vec::new();
        for ids in ids.chunks(CHUNK) {
            let mut cursor = self
                .collection(EVENT_IDS)
                .find(doc! {"_id": {"$in": ids}})
                .projection(doc! {"counted": 1})
                .await
                .map_err(failed)?;
            while cursor.advance().await.map_err(failed)? {
                let stored = cursor.current();
                let id = stored
                    .get_binary("_id")
                    .ok()
                    .and_then(|id| EventHash::from_bytes(id.bytes));
                let (Some(id), Ok(is_counted)) = (id, stored.get_bool("counted")) else {
                    return Err(Fault::wait(format!("a document of `{EVENT_IDS}` is damaged")));
                };
                match is_counted {
                    true => held.push((id, ExistingId::Counted)),
                    false if !closes.contains(&id) => held.push((id, ExistingId::Rejected)),
                    false => {}
                }
            }
        }
        Ok(held)
    }
}
