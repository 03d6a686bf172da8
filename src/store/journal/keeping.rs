//! How long documents of the journal are kept.

use ingest::lane::{ContentId, JournalHead, JournalId, LaneId};
use ingest::ledger::FenceError;
use mongodb::bson::{DateTime, deserialize_from_slice, doc};
use serde::Deserialize;

use crate::store::answer::{WORK, answer};
use crate::store::{FENCES, JOURNAL, META, Store, fences, meta};

/// Documents of a lane that are deleted at once.
const AT_ONCE: i64 = 1_000;

impl Store {
    /// Deletes the oldest documents of these lanes that are older than this and that no window needs. How many.
    ///
    /// What cannot be proved any more is stored first, and of each lane the last document that goes: nobody takes one that
    /// is gone for one that is missing.
    pub(in crate::store) async fn forget_journal(
        &self,
        lanes: &[LaneId],
        before: DateTime,
    ) -> Result<u64, FenceError> {
        let mut forgotten = 0;
        for lane in lanes {
            let Some(last) = self.last_old(lane, before).await? else {
                continue;
            };
            let horizon = doc! {"$max": {"horizon": before}};
            let ledger = self.collection(META);
            answer(ledger.update_one(meta::ledger(), horizon).into_future()).await?;
            // An owner of before, who was asleep, knows less.
            let older =
                doc! {"$or": [{"keptAfter": {"$exists": false}}, {"keptAfter.seq": {"$lt": last.id.seq}}]};
            let mut which = doc! {"_id": lane.as_str()};
            which.extend(older);
            let kept = doc! {"$set": {"keptAfter": fences::stored_head(last.id, last.content)}};
            let fences = self.collection(FENCES);
            answer(fences.update_one(which, kept).into_future()).await?;
            let (first, last) = (super::id(lane, JournalId::default()), super::id(lane, last.id));
            let journal = self.collection(JOURNAL);
            let which = doc! {"_id": {"$gte": first, "$lte": last}};
            let deleted = answer(journal.delete_many(which).into_future()).await?;
            forgotten += deleted.deleted_count;
        }
        Ok(forgotten)
    }

    /// The last of a lane's oldest documents, one after the other, that are all older than this and before its window.
    async fn last_old(&self, lane: &LaneId, before: DateTime) -> Result<Option<JournalHead>, FenceError> {
        let fences = self.typed_fences();
        let fence = fences.find_one(doc! {"_id": lane.as_str()}).max_time(WORK);
        let Some(fence) = answer(fence.into_future()).await? else {
            return Ok(None);
        };
        let needed = super::id(lane, fence.window_from());
        let first = super::id(lane, JournalId::default());
        let journal = self.collection(JOURNAL);
        let found = journal
            .find(doc! {"_id": {"$gte": first, "$lt": needed}})
            .projection(doc! {"at": 1, "commits.content": 1})
            .sort(doc! {"_id": 1})
            .limit(AT_ONCE)
            .max_time(WORK);
        let mut found = answer(found.into_future()).await?;
        let mut last = None;
        while answer(found.advance()).await? {
            // Damaged or not: it is old.
            let old = deserialize_from_slice::<Old>(found.current().as_bytes()).ok();
            let Some(head) = old.filter(|old| old.at < before).and_then(Old::head) else {
                break;
            };
            last = Some(head);
        }
        Ok(last)
    }
}

/// What is read of a document that may be old.
#[derive(Debug, Deserialize)]
struct Old {
    #[serde(rename = "_id")]
    id: StoredId,
    at: DateTime,
    commits: Vec<Commit>,
}

#[derive(Debug, Deserialize)]
struct StoredId {
    generation: i64,
    seq: i64,
}

#[derive(Debug, Deserialize)]
struct Commit {
    content: i64,
}

impl Old {
    fn head(self) -> Option<JournalHead> {
        let StoredId { generation, seq } = self.id;
        let content = ContentId(self.commits.last()?.content);
        let id = JournalId { generation, seq };
        Some(JournalHead { id, content })
    }
}
