//! Fences: who may write a lane, from where, and how a stopped lane goes on.

use std::collections::HashSet;

use std::time::Duration;

use chrono::{DateTime as Instant, Utc};
use ingest::dedupe::{EventHash, Generation, Letter, Scope, Windows};
use ingest::lane::{Fence, LaneId};
use ingest::lease::Life;
use ingest::ledger::{Acquired, FenceError};
use ingest::source::Stop;
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::Error as DriverError;
use mongodb::options::{CollectionOptions, ReadConcern, ReturnDocument, WriteConcern};

use super::convert::WindowName;
use super::leases::Leases;
use super::{DEDUPE, FENCES, META, Store, convert, failure, letters};

/// How long moving a fence waits for a transaction that keeps it.
const MOVE: Duration = Duration::from_millis(500);
/// How often moving a fence is tried again after a transaction was ended that kept it.
const MOVES: usize = 3;
/// When to ask again for a lane that a commit of a living worker keeps.
const BUSY: Duration = Duration::from_secs(1);
/// What says that a transaction keeps a fence: `MaxTimeMSExpired`, and from a server that does not wait `LockTimeout` or
/// `WriteConflict`.
const KEPT: [i32; 3] = [50, 24, 112];

impl Store {
    /// Raises the epoch of a lane and makes it ours. What stands in the way is ended by force only where the lease
    /// of its worker is over.
    pub(super) async fn acquire(&self, lane: &LaneId, leases: &Leases) -> Result<Acquired, FenceError> {
        let away = |error: DriverError| failure::fence(&error);
        let mut holder = String::new();
        for _ in 0..MOVES {
            let blocked = match self.move_fence(lane).await {
                Ok(fence) => return self.moved(lane, &fence, leases.life()).await,
                Err(error) => error,
            };
            match failure::code(&blocked) {
                Some(code) if KEPT.contains(&code) => {}
                // Two workers made the first fence at once.
                Some(11000) => continue,
                _ => return Err(away(blocked)),
            }
            holder = self.owner_of(lane).await.map_err(away)?;
            // What we left open ourselves is ended by whoever gave it up.
            let lives = match holder == self.owner {
                true => Some(BUSY),
                false => leases.end_if_over(&holder).await.map_err(away)?,
            };
            if let Some(left) = lives {
                let ask_in = left.min(BUSY);
                return Ok(Acquired::Held {
                    owner: holder,
                    ask_in,
                });
            }
        }
        Ok(Acquired::Held {
            owner: holder,
            ask_in: BUSY,
        })
    }

    /// Moves the epoch of a fence, which is made where there is none. Not yet by majority.
    async fn move_fence(&self, lane: &LaneId) -> mongodb::error::Result<Document> {
        let take = doc! {
            "$inc": {"epoch": 1_i64}, "$currentDate": {"updatedAt": true}, "$set": {"owner": &self.owner},
            "$setOnInsert": first_fence(lane),
        };
        let moved = self
            .fences_now()
            .find_one_and_update(doc! {"_id": lane.as_str()}, take)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .max_time(MOVE)
            .await?;
        moved.ok_or_else(|| DriverError::custom("the server made no fence"))
    }

    /// A fence that was moved is ours once a majority has it: until then a new primary may not know of it.
    async fn moved(&self, lane: &LaneId, moved: &Document, life: &Life) -> Result<Acquired, FenceError> {
        let fence = read(moved)
            .map_err(|why| failure::damaged(format!("the fence of `{lane}` is damaged: {why}")))?;
        let seen = doc! {"$currentDate": {"updatedAt": true}};
        let ours = doc! {"_id": lane.as_str(), "epoch": fence.epoch, "owner": &self.owner};
        let confirmed = self.collection(FENCES).update_one(ours, seen).await;
        if confirmed.map_err(|error| failure::fence(&error))?.matched_count == 0 {
            let owner = self
                .owner_of(lane)
                .await
                .map_err(|error| failure::fence(&error))?;
            return Ok(Acquired::Held { owner, ask_in: BUSY });
        }
        Ok(Acquired::Granted((fence, self.windows(lane, life).await?)))
    }

    /// Who has a lane at this moment.
    async fn owner_of(&self, lane: &LaneId) -> mongodb::error::Result<String> {
        let fence = self.fences_now().find_one(doc! {"_id": lane.as_str()}).await?;
        let owner = fence.as_ref().and_then(|fence| fence.get_str("owner").ok());
        Ok(owner.unwrap_or_default().to_owned())
    }

    /// The fences as the primary has them, whether a majority does or not: with replication behind, what a majority
    /// has names an owner of long ago.
    fn fences_now(&self) -> Collection<Document> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::local())
            .write_concern(WriteConcern::nodes(1))
            .build();
        self.database.collection_with_options(FENCES, options)
    }

    /// The server's clock.
    pub(super) async fn server_time(&self) -> mongodb::error::Result<DateTime> {
        let hello = self
            .client
            .database("admin")
            .run_command(doc! {"hello": 1})
            .await?;
        Ok(*hello.get_datetime("localTime")?)
    }

    /// The ids of the lane's windows, oldest commit first.
    async fn windows(&self, lane: &LaneId, life: &Life) -> Result<Windows<Vec<Generation>>, FenceError> {
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
        let mut overdue: HashSet<EventHash> = HashSet::new();
        while cursor.advance().await.map_err(away)? {
            // There may be millions.
            life.touch();
            let stored = cursor.current();
            let ids = stored
                .get_binary("ids")
                .ok()
                .and_then(|ids| EventHash::unpack(ids.bytes));
            let (Ok(window), Ok(newest), Some(ids)) =
                (stored.get_str("window"), stored.get_datetime("newest"), ids)
            else {
                return Err(failure::damaged(format!(
                    "a document of `{DEDUPE}` for `{lane}` is damaged"
                )));
            };
            if !open.is_empty() && window == WindowName::Events.name() {
                let is_overdue = |id: &&EventHash| open.get(*id) == Some(&Letter::Uncounted);
                overdue.extend(ids.iter().filter(is_overdue));
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
            let ids: Vec<EventHash> = overdue.iter().copied().collect();
            let which = letters::open_under(lane, Scope::Lane, &ids);
            let at = self.server_time().await.map_err(away)?;
            self.supersede_all(which, at).await.map_err(away)?;
            open.retain(|id, _| !overdue.contains(id));
        }
        windows.letters = open;
        Ok(windows)
    }

    /// Gives a fence back. Whether it was ours still.
    pub(super) async fn release(&self, lane: &LaneId, epoch: i64) -> Result<bool, FenceError> {
        self.touch(lane, epoch, doc! {"$unset": {"owner": ""}}).await
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

/// The fence of a lane that was never acquired, but for what acquiring it sets.
fn first_fence(lane: &LaneId) -> Document {
    doc! {
        "seq": 0_i64, "scanning": lane.source() == "mongodb",
        "read": 0_i64, "counted": 0_i64, "duplicate": 0_i64, "skipped": 0_i64, "deadLetter": 0_i64,
    }
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
