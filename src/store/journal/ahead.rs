//! A fence that was set back goes on where its journal ends.

use ingest::lane::{JournalHead, LaneId, LastRecord, Position};
use ingest::ledger::Tally;
use ingest::server_error::DUPLICATE_KEY;
use mongodb::bson::{Document, doc};

use crate::store::fences::{self, StoredFence};
use crate::store::{Error, FENCES, Store, errors};

/// Where the journal of a lane ends, and leaves it.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The newest document that is whole.
    pub head: JournalHead,
    /// What became of all records of the lane until then.
    pub tally: Tally,
    /// Where the lane goes on.
    pub position: Option<Position>,
    /// The last record that was counted.
    pub last: Option<LastRecord>,
}

impl Store {
    /// Sets a fence to where its journal left the lane. Whoever has the lane takes it up from
    /// there. Whether it did: somebody else may have moved the fence meanwhile.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn set_ahead(
        &self,
        lane: &LaneId,
        fence: Option<&StoredFence>,
        end: &End,
    ) -> Result<bool, Error> {
        let collection = self.collection(FENCES);
        let change = change(end);
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

fn change(end: &End) -> Document {
    let (JournalHead { id, content }, tally) = (end.head, end.tally);
    let mut set = doc! {
        "seq": id.seq, "generation": id.generation, "content": content.0,
        "journal": fences::stored_head(id, content),
        "read": tally.read(), "counted": tally.counted, "duplicate": tally.duplicate, "skipped": tally.skipped,
        "deadLetter": tally.dead_letter,
    };
    let mut unset = doc! {"stopped": ""};
    if let Some(position) = &end.position {
        fences::set_position(position, &mut set, &mut unset);
    }
    if let Some(last) = end.last {
        set.insert("last", fences::stored_record(last));
    }
    doc! {
        "$set": set, "$unset": unset, "$inc": {"epoch": 1_i64, "letters": 1_i64}, "$currentDate": {"updatedAt": true},
    }
}
