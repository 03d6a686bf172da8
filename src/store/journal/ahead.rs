//! A fence that was set back goes on where its journal ends.

use ingest::lane::{JournalId, LaneId};
use ingest::server_error::DUPLICATE_KEY;
use mongodb::bson::{Document, doc};

use super::reading::Written;
use crate::store::fences::{self, StoredFence};
use crate::store::{Error, FENCES, Store, errors};

impl Store {
    /// Sets a fence to where the newest document of its journal left the lane. Whoever has the lane takes it up from
    /// there. Whether it did: somebody else may have moved the fence meanwhile.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn set_ahead(
        &self,
        lane: &LaneId,
        fence: Option<&StoredFence>,
        newest: JournalId,
        written: &Written,
    ) -> Result<bool, Error> {
        let collection = self.collection(FENCES);
        let change = change(newest, written);
        let Some(fence) = fence else {
            let mut first = fences::first(lane.source() == "mongodb");
            first.extend(change.get_document("$set").cloned().unwrap_or_default());
            first.extend(doc! {"_id": lane.as_str(), "epoch": 0_i64});
            let inserted = collection.insert_one(first).await;
            return match inserted {
                Err(error) if errors::code(&error) == Some(DUPLICATE_KEY) => Ok(false),
                inserted => inserted.map(|_| true).map_err(errors::unusable),
            };
        };
        let same = doc! {"_id": lane.as_str(), "epoch": fence.epoch, "seq": fence.seq};
        let changed = collection.update_one(same, change).await;
        Ok(changed.map_err(errors::unusable)?.matched_count == 1)
    }
}

fn change(newest: JournalId, written: &Written) -> Document {
    let tally = written.tally;
    let content = written.commits.last().map(|commit| commit.content.0);
    let mut set = doc! {
        "seq": newest.seq, "generation": newest.generation, "content": content,
        "journal": {"generation": newest.generation, "seq": newest.seq, "content": content},
        "read": tally.read(), "counted": tally.counted, "duplicate": tally.duplicate, "skipped": tally.skipped,
        "deadLetter": tally.dead_letter,
    };
    let mut unset = doc! {"stopped": ""};
    if let Some(position) = &written.position {
        set.extend(position.clone());
        for name in ["isPast", "scannedUpTo"] {
            if !position.contains_key(name) {
                unset.insert(name, "");
            }
        }
    }
    if let Some(last) = &written.last {
        set.insert("last", last.clone());
    }
    doc! {
        "$set": set, "$unset": unset, "$inc": {"epoch": 1_i64, "letters": 1_i64}, "$currentDate": {"updatedAt": true},
    }
}
