//! `usageFences`: who may write a lane, and how a stopped one is noted.

mod document;

use chrono::{DateTime as Instant, Utc};
use futures_util::TryStreamExt;
use ingest::lane::LaneId;
use ingest::ledger::FenceError;
use ingest::source::Stop;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern, WriteConcern};

use super::answer::{WORK, answer};
use super::{Error, FENCES, Store, errors};

pub use document::{Stopped, StoredFence, StoredGap};
pub(super) use document::{fence_move, first, set_position, stored_head, stored_position, stored_record};

impl Store {
    /// The fences, in the order of their lanes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn fences(&self) -> Result<Vec<StoredFence>, Error> {
        let fences = self.typed_fences();
        let found = fences.find(doc! {}).sort(doc! {"_id": 1}).await;
        let found = found.map_err(errors::unusable)?;
        found.try_collect().await.map_err(errors::unusable)
    }

    /// The fences as a majority has them.
    pub(super) fn typed_fences(&self) -> Collection<StoredFence> {
        self.database.collection(FENCES)
    }

    /// Who has a lane at this moment.
    pub(super) async fn owner_of(&self, lane: &LaneId) -> Result<String, FenceError> {
        let fences = self.fences_now();
        let found = fences.find_one(doc! {"_id": lane.as_str()}).max_time(WORK);
        let fence = answer(found.into_future()).await?;
        Ok(fence.and_then(|fence| fence.owner).unwrap_or_default())
    }

    /// The fences as the primary has them, whether a majority does or not: with replication behind, what a majority
    /// has names an owner of long ago.
    pub(super) fn fences_now(&self) -> Collection<StoredFence> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::local())
            .write_concern(WriteConcern::nodes(1))
            .build();
        self.database.collection_with_options(FENCES, options)
    }

    /// Gives a fence back. Whether it was ours still.
    pub(super) async fn release(&self, lane: &LaneId, epoch: i64) -> Result<bool, FenceError> {
        let ours = doc! {"_id": lane.as_str(), "epoch": epoch};
        self.touch(ours, doc! {"$unset": {"owner": ""}}).await
    }

    /// Notes why a lane stopped. Where it stopped for the same reason before, it did so then.
    pub(super) async fn stopped(
        &self,
        lane: &LaneId,
        epoch: i64,
        stop: &Stop,
        at: Instant<Utc>,
    ) -> Result<(), FenceError> {
        let reason = stop.reason.name();
        let mut what = doc! {"detail": &stop.detail};
        if let Some(ingest::lane::Position::Stream { token, .. }) = &stop.resumable {
            what.insert("resumeToken", token.clone());
        }
        let still = doc! {"_id": lane.as_str(), "epoch": epoch, "stopped.reason": reason};
        let news: Document = what
            .iter()
            .map(|(name, value)| (format!("stopped.{name}"), value.clone()))
            .collect();
        if self.touch(still, doc! {"$set": news}).await? {
            return Ok(());
        }
        what.extend(doc! {"reason": reason, "at": DateTime::from_chrono(at)});
        // Not ours any more: then its new owner finds out by itself.
        let ours = doc! {"_id": lane.as_str(), "epoch": epoch};
        self.touch(ours, doc! {"$set": {"stopped": what}}).await.map(drop)
    }

    /// Whether a lane is noted as stopped.
    pub(super) async fn is_stopped(&self, lane: &LaneId) -> Result<bool, FenceError> {
        let fences = self.collection(FENCES);
        let stopped = doc! {"_id": lane.as_str(), "stopped": {"$exists": true}};
        let found = fences
            .find_one(stopped)
            .projection(doc! {"_id": 1})
            .max_time(WORK);
        Ok(answer(found.into_future()).await?.is_some())
    }

    /// Changes a fence. Whether it was there.
    async fn touch(&self, which: Document, change: Document) -> Result<bool, FenceError> {
        let fences = self.collection(FENCES);
        let touched = fences
            .find_one_and_update(which, change)
            .projection(doc! {"_id": 1})
            .max_time(WORK);
        Ok(answer(touched.into_future()).await?.is_some())
    }
}
