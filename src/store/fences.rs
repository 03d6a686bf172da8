//! Fences: who may write a lane, from where, and how a stopped lane goes on.

use std::time::Duration;

use chrono::{DateTime as Instant, Utc};
use ingest::dedupe::{EventHash, Generation, Letter, Scope, Windows};
use ingest::lane::{Fence, LaneId};
use ingest::ledger::{Acquired, FenceError};
use ingest::source::Stop;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::Error as DriverError;
use mongodb::options::ReturnDocument;

use super::convert::WindowName;
use super::{DEDUPE, FENCES, META, Store, convert, failure, letters};

impl Store {
    /// Raises the epoch of a lane and makes it ours, unless another owner's lease has not run out.
    pub(super) async fn acquire(
        &self,
        lane: &LaneId,
        lease: Option<Duration>,
    ) -> Result<Acquired, FenceError> {
        let fences = self.collection(FENCES);
        let away = |error: DriverError| failure::fence(&error);
        let id = doc! {"_id": lane.as_str()};
        let previous = match fences.find_one(id.clone()).await.map_err(away)? {
            Some(fence) => fence,
            None => {
                let first = doc! {"$setOnInsert": first_fence(lane)};
                fences
                    .update_one(id.clone(), first)
                    .upsert(true)
                    .await
                    .map_err(away)?;
                Document::new()
            }
        };
        let mut filter = id.clone();
        if let Some(lease) = lease {
            let expired = self
                .server_time()
                .await
                .map_err(away)?
                .timestamp_millis()
                .saturating_sub(millis(lease));
            let expired = DateTime::from_millis(expired);
            let is_ours = previous.get_str("owner").is_ok_and(|owner| owner == self.owner);
            if !is_ours
                && previous
                    .get_datetime("updatedAt")
                    .is_ok_and(|updated| *updated >= expired)
            {
                return Ok(Acquired::Held {
                    owner: owner(&previous),
                });
            }
            filter.insert(
                "$or",
                vec![doc! {"owner": &self.owner}, doc! {"updatedAt": {"$lt": expired}}],
            );
        }
        self.end_session_of(&previous).await;
        let take = doc! {
            "$inc": {"epoch": 1_i64}, "$currentDate": {"updatedAt": true},
            "$set": {"owner": &self.owner, "session": self.sessions.id().await.map_err(away)?},
        };
        let taken = fences
            .find_one_and_update(filter, take)
            .return_document(ReturnDocument::After)
            .await
            .map_err(away)?;
        let Some(taken) = taken else {
            let held = fences.find_one(id).await.map_err(away)?.unwrap_or_default();
            return Ok(Acquired::Held { owner: owner(&held) });
        };
        let fence = read(&taken)
            .map_err(|why| FenceError::Fatal(format!("the fence of `{lane}` is damaged: {why}")))?;
        Ok(Acquired::Granted((fence, self.windows(lane).await?)))
    }

    /// Ends the session of the owner before us, so that a transaction it left open does not keep the fence
    /// for as long as a transaction may live.
    async fn end_session_of(&self, fence: &Document) {
        let (Ok(owner), Ok(session)) = (fence.get_str("owner"), fence.get_document("session")) else {
            return;
        };
        if owner == self.owner {
            return;
        }
        if let Err(error) = self.sessions.end(session).await {
            tracing::debug!(%error, "the session of the owner before us could not be ended; it will run out");
        }
    }

    /// The server's clock, which also writes `updatedAt`.
    pub(super) async fn server_time(&self) -> mongodb::error::Result<DateTime> {
        let hello = self
            .client
            .database("admin")
            .run_command(doc! {"hello": 1})
            .await?;
        Ok(*hello.get_datetime("localTime")?)
    }

    /// The ids of the lane's windows, oldest commit first.
    async fn windows(&self, lane: &LaneId) -> Result<Windows<Vec<Generation>>, FenceError> {
        let away = |error: DriverError| failure::fence(&error);
        let mut cursor = self
            .collection(DEDUPE)
            .find(doc! {"lane": lane.as_str()})
            .sort(doc! {"seq": 1})
            .await
            .map_err(away)?;
        let mut open = self.open_letters(lane).await.map_err(away)?;
        let mut windows: Windows<Vec<Generation>> = Windows::default();
        // Their event is counted: they were too many to be closed with it.
        let mut overdue: Vec<String> = Vec::new();
        while cursor.advance().await.map_err(away)? {
            let stored = cursor.current();
            let ids = stored
                .get_binary("ids")
                .ok()
                .and_then(|ids| EventHash::unpack(ids.bytes));
            let (Ok(window), Ok(newest), Some(ids)) =
                (stored.get_str("window"), stored.get_datetime("newest"), ids)
            else {
                return Err(FenceError::Fatal(format!(
                    "a document of `{DEDUPE}` for `{lane}` is damaged"
                )));
            };
            if !open.is_empty() && window == WindowName::Events.name() {
                let known = ids.iter().filter_map(|id| open.get(id));
                let known = known.filter(|open| open.letter == Letter::Uncounted);
                overdue.extend(known.map(|open| open.event_id.clone()));
            }
            let generation = Generation {
                newest_ms: newest.timestamp_millis(),
                ids,
            };
            match window == WindowName::Scanned.name() {
                true => windows.scanned.push(generation),
                false => windows.events.push(generation),
            }
        }
        if !overdue.is_empty() {
            let which = letters::open_under(lane, Scope::Lane, &overdue);
            let at = self.server_time().await.map_err(away)?;
            self.supersede_all(which, at).await.map_err(away)?;
            overdue
                .iter()
                .for_each(|id| drop(open.remove(&EventHash::of(id))));
        }
        windows.letters = open.into_iter().map(|(id, open)| (id, open.letter)).collect();
        Ok(windows)
    }

    pub(super) async fn renew(&self, lane: &LaneId, epoch: i64) -> Result<bool, FenceError> {
        self.touch(lane, epoch, doc! {"$currentDate": {"updatedAt": true}})
            .await
    }

    pub(super) async fn release(&self, lane: &LaneId, epoch: i64) -> Result<(), FenceError> {
        let free = doc! {"$set": {"updatedAt": DateTime::from_millis(0)}, "$unset": {"owner": ""}};
        self.touch(lane, epoch, free).await.map(drop)
    }

    pub(super) async fn stopped(
        &self,
        lane: &LaneId,
        epoch: i64,
        stop: &Stop,
        at: Instant<Utc>,
    ) -> Result<(), FenceError> {
        let mut stopped =
            doc! {"reason": stop.reason.name(), "detail": &stop.detail, "at": DateTime::from_chrono(at)};
        if let Some(ingest::lane::Position::Stream { token, .. }) = &stop.resumable {
            stopped.insert("resumeToken", token.clone());
        }
        // Not ours any more: then its new owner finds out by itself.
        self.touch(lane, epoch, doc! {"$set": {"stopped": stopped}})
            .await
            .map(drop)
    }

    /// Changes a fence that is still ours. Whether it was.
    async fn touch(&self, lane: &LaneId, epoch: i64, change: Document) -> Result<bool, FenceError> {
        let ours = doc! {"_id": lane.as_str(), "epoch": epoch};
        let touched = self.collection(FENCES).update_one(ours, change).await;
        Ok(touched.map_err(|error| failure::fence(&error))?.matched_count == 1)
    }

    pub(super) async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        let lanes: Vec<Bson> = lanes.iter().map(|lane| Bson::from(lane.as_str())).collect();
        self.collection(META)
            .update_one(doc! {"_id": "ledger"}, doc! {"$set": {"lanes": lanes}})
            .await
            .map(drop)
            .map_err(|error| failure::fence(&error))
    }
}

/// The fence of a lane that was never acquired.
fn first_fence(lane: &LaneId) -> Document {
    doc! {
        "epoch": 0_i64, "seq": 0_i64, "updatedAt": DateTime::from_millis(0), "scanning": lane.source() == "mongodb",
        "read": 0_i64, "counted": 0_i64, "duplicate": 0_i64, "skipped": 0_i64, "deadLetter": 0_i64,
    }
}

fn owner(fence: &Document) -> String {
    fence.get_str("owner").unwrap_or_default().to_owned()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a stored fence.
fn read(fence: &Document) -> Result<Fence, String> {
    let number = |name: &str| {
        fence
            .get_i64(name)
            .map_err(|_| format!("`{name}` is not an int64"))
    };
    Ok(Fence {
        epoch: number("epoch")?,
        seq: number("seq")?,
        position: convert::position(fence)?,
        last: convert::last(fence),
    })
}
