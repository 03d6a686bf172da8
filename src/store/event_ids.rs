//! `usageEventIds`: ids that are unique in the whole ledger ([`Scope::Ledger`](ingest::dedupe::Scope::Ledger)).
//!
//! One document per id, `{_id: hash, lane, counted, quantities?, letter?}`: `counted` once an event with it is, `letter` while a
//! dead letter is open under it, so that neither is forgotten before its time. Whatever two lanes do to the same
//! id, the one that commits second finds the document there (11000) or in its way (112), and nothing of its
//! transaction is applied: it looks the id up, judges its event by that, and folds again.

use std::collections::{BTreeSet, HashSet};

use ingest::dedupe::ExistingId;
use ingest::identity::{CountedId, IdentityHash, Quantities};
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
            let closes = lane.closed_event_ids();
            let (mut closing, mut added): (Vec<CountedId>, Vec<CountedId>) =
                lane.unique.iter().partition(|id| closes.contains(&id.id));
            for ids in [&mut closing, &mut added] {
                ids.sort_unstable_by_key(|id| id.id);
            }
            changes.inserts.extend(added.iter().map(|id| {
                let mut counted = counted(*id, name);
                counted.insert("_id", hash(id.id));
                counted
            }));
            let letters = lane.letters.iter().filter_map(|letter| letter.identity?.event());
            let kept: BTreeSet<IdentityHash> = letters.collect();
            changes.updates.extend(kept.iter().map(|id| claim(*id, name)));
            taken.extend(closing.iter().map(|id| take(*id, name, kept.contains(&id.id))));
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
fn claim(id: IdentityHash, lane: &str) -> Document {
    let update = doc! {"$set": {"letter": true}, "$setOnInsert": {"lane": lane, "counted": false}};
    doc! {"q": {"_id": hash(id)}, "u": update, "upsert": true}
}

/// Counts an id under which only dead letters are known. Where it is counted, this is an 11000.
///
/// `has_letter`: one is open beside it that came after the event.
fn take(id: CountedId, lane: &str, has_letter: bool) -> Document {
    let mut update = doc! {"$set": counted(id, lane)};
    if !has_letter {
        update.insert("$unset", doc! {"letter": ""});
    }
    doc! {"q": {"_id": hash(id.id), "counted": false}, "u": update, "upsert": true}
}

/// What is stored under an id that is counted.
fn counted(id: CountedId, lane: &str) -> Document {
    doc! {
        "lane": lane, "counted": true, "quantities": id.quantities.to_stored(),
        "quantitiesVersion": Quantities::VERSION,
    }
}

impl Store {
    /// What is held under the ids that a commit counts, where that stands in its way.
    pub(super) async fn held(&self, commit: &Commit) -> Result<Vec<(IdentityHash, ExistingId)>, Fault> {
        let failed = |error| Fault::of(&error, Place::Outside);
        let closes: HashSet<IdentityHash> = commit
            .lanes
            .iter()
            .flat_map(LaneCommit::closed_event_ids)
            .collect();
        let ids: Vec<Bson> = commit
            .lanes
            .iter()
            .flat_map(|lane| &lane.unique)
            .map(|id| hash(id.id))
            .collect();
        let mut held = Vec::new();
        for ids in ids.chunks(CHUNK) {
            let mut cursor = self
                .collection(EVENT_IDS)
                .find(doc! {"_id": {"$in": ids}})
                .projection(doc! {"counted": 1, "quantities": 1, "quantitiesVersion": 1})
                .await
                .map_err(failed)?;
            while cursor.advance().await.map_err(failed)? {
                let stored = cursor.current();
                let id = stored
                    .get_binary("_id")
                    .ok()
                    .and_then(|id| IdentityHash::from_bytes(id.bytes));
                let (Some(id), Ok(is_counted)) = (id, stored.get_bool("counted")) else {
                    return Err(Fault::wait(format!("a document of `{EVENT_IDS}` is damaged")));
                };
                let quantities = stored.get_i32("quantities").unwrap_or(0);
                let version = stored.get_i32("quantitiesVersion").unwrap_or(0);
                match is_counted {
                    true => held.push((
                        id,
                        ExistingId::Counted(Quantities::from_stored(quantities, version)),
                    )),
                    false if !closes.contains(&id) => held.push((id, ExistingId::Rejected)),
                    false => {}
                }
            }
        }
        Ok(held)
    }
}
