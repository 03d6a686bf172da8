//! How long documents of the journal are kept.

use ingest::lane::{JournalId, LaneId};
use ingest::ledger::FenceError;
use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::store::answer::{WORK, answer};
use crate::store::{JOURNAL, META, Store, meta};

/// Documents of a lane that are deleted at once.
const AT_ONCE: i64 = 1_000;

impl Store {
    /// Deletes the oldest documents of these lanes that are older than this and that no window needs. How many.
    ///
    /// What cannot be proved any more is stored first: nobody takes a document that is gone for one that is missing.
    pub(in crate::store) async fn forget_journal(
        &self,
        lanes: &[LaneId],
        before: DateTime,
    ) -> Result<u64, FenceError> {
        let mut forgotten = 0;
        for lane in lanes {
            let old = self.old_documents(lane, before).await?;
            if old.is_empty() {
                continue;
            }
            let horizon = doc! {"$max": {"horizon": before}};
            let ledger = self.collection(META);
            answer(ledger.update_one(meta::ledger(), horizon).into_future()).await?;
            let journal = self.collection(JOURNAL);
            let which = doc! {"_id": {"$in": old}};
            let deleted = answer(journal.delete_many(which).into_future()).await?;
            forgotten += deleted.deleted_count;
        }
        Ok(forgotten)
    }

    /// Which of a lane's oldest documents are older than this, and before its window.
    async fn old_documents(&self, lane: &LaneId, before: DateTime) -> Result<Vec<Bson>, FenceError> {
        let fences = self.typed_fences();
        let fence = fences.find_one(doc! {"_id": lane.as_str()}).max_time(WORK);
        let Some(fence) = answer(fence.into_future()).await? else {
            return Ok(Vec::new());
        };
        let needed = super::id(lane, fence.window_from());
        let first = super::id(lane, JournalId::default());
        let journal = self.collection(JOURNAL);
        let found = journal
            .find(doc! {"_id": {"$gte": first, "$lt": needed}})
            .projection(doc! {"at": 1})
            .sort(doc! {"_id": 1})
            .limit(AT_ONCE)
            .max_time(WORK);
        let mut found = answer(found.into_future()).await?;
        let mut old = Vec::new();
        while answer(found.advance()).await? {
            let document = Document::try_from(found.current()).unwrap_or_default();
            let is_old = document.get_datetime("at").is_ok_and(|at| *at < before);
            old.extend(document.get("_id").filter(|_| is_old).cloned());
        }
        Ok(old)
    }
}
