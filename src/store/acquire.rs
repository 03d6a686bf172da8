//! The way in which a lane becomes ours.
//!
//! ```text
//! MOVE      raise the fence's epoch, on the primary alone      the owner until then writes nothing any more
//! CONFIRM   read the fence                                     once a majority has the move, nobody goes back on it
//! LOAD      read how events are booked, the dedupe window, which the journal holds, and the open letters
//! ```
//! All of them in one causally consistent session: each read is by majority, and of no time before the move. A
//! fail-over may bring a primary that has yet to learn what a majority has: without the session it would show the
//! window without the ids of the last commit, and their events would be counted again.
//!
//! A majority that is away, or far behind, is waited for in one answer after the other. The move is kept meanwhile: one
//! that is made again and again would always be too new for it.

use std::collections::HashSet;
use std::time::Duration;

use ingest::dedupe::{Generation, RejectedIdState, RejectedIds, Scope, Windows};
use ingest::identity::IdentityHash;
use ingest::lane::LaneId;
use ingest::lease::Life;
use ingest::ledger::{Acquired, FenceError, Granted};
use ingest::server_error::DUPLICATE_KEY;
use mongodb::ClientSession;
use mongodb::bson::doc;
use mongodb::error::Error as DriverError;
use mongodb::options::ReturnDocument;
use rollup::fold::Grouping;

use super::answer::{WORK, answer, in_time};
use super::connection::server_time;
use super::fences::{self, StoredFence};
use super::leases::Leases;
use super::meta::{self, Meta};
use super::{META, Store, dead_letters, errors};

/// How long moving a fence waits for a transaction that keeps it.
const MOVE: Duration = Duration::from_millis(500);
/// How often moving a fence is tried again after a transaction was ended that kept it.
const MOVES: usize = 3;
/// When to ask again for a lane that a commit of a living worker keeps.
const BUSY: Duration = Duration::from_secs(1);
/// What says that a transaction keeps a fence: `MaxTimeMSExpired`, and from a server that does not wait `LockTimeout` or
/// `WriteConflict`.
const KEPT: [i32; 3] = [TIME_IS_UP, 24, 112];
/// `MaxTimeMSExpired`.
const TIME_IS_UP: i32 = 50;

/// A fence that we moved, and the session that knows when.
#[derive(Debug)]
pub(super) struct Moved {
    session: ClientSession,
    epoch: i64,
}

/// What came of moving a fence.
pub(super) enum Move {
    Done(Moved),
    LeasedTo(Acquired),
}

impl Store {
    /// Raises the epoch of a lane. What stands in the way is ended by force only where the lease of its worker is over.
    pub(super) async fn move_fence(&self, lane: &LaneId, leases: &Leases) -> Result<Move, FenceError> {
        let started = self.client.start_session().causal_consistency(true);
        let mut session = answer(started.into_future()).await?;
        let mut holder = String::new();
        for _ in 0..MOVES {
            let blocked = match in_time(self.raise_epoch(lane, &mut session)).await? {
                Ok(epoch) => return Ok(Move::Done(Moved { session, epoch })),
                Err(error) => error,
            };
            match errors::code(&blocked) {
                Some(code) if KEPT.contains(&code) => {}
                // Two workers made the first fence at once.
                Some(DUPLICATE_KEY) => continue,
                _ => return Err(errors::fence(&blocked)),
            }
            holder = self.owner_of(lane).await?;
            // What we left open ourselves is ended by whoever gave it up.
            let lives = match holder == self.owner {
                true => Some(BUSY),
                false => answer(leases.end_if_over(&holder)).await?,
            };
            if let Some(left) = lives {
                let ask_in = left.min(BUSY);
                return Ok(Move::LeasedTo(Acquired::LeasedTo {
                    owner: holder,
                    ask_in,
                }));
            }
        }
        Ok(Move::LeasedTo(Acquired::LeasedTo {
            owner: holder,
            ask_in: BUSY,
        }))
    }

    /// Moves the epoch of a fence, which is made where there is none. Not yet by majority.
    async fn raise_epoch(&self, lane: &LaneId, session: &mut ClientSession) -> mongodb::error::Result<i64> {
        let take = doc! {
            "$inc": {"epoch": 1_i64}, "$currentDate": {"updatedAt": true}, "$set": {"owner": &self.owner},
            "$setOnInsert": fences::first(lane.source() == "mongodb"),
        };
        let moved = self
            .fences_now()
            .find_one_and_update(doc! {"_id": lane.as_str()}, take)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .max_time(MOVE)
            .session(session)
            .await?;
        let moved = moved.ok_or_else(|| DriverError::custom("the server made no fence"))?;
        Ok(moved.epoch)
    }

    /// A fence that was moved is ours once a majority has it, unless somebody moved it on meanwhile. What its lane
    /// remembers is loaded then.
    pub(super) async fn load(
        &self,
        lane: &LaneId,
        moved: &mut Moved,
        life: &Life,
    ) -> Result<Acquired, FenceError> {
        let Moved { session, epoch } = moved;
        let fences = self.typed_fences();
        let question = fences.find_one(doc! {"_id": lane.as_str()}).max_time(WORK);
        let stored = in_time(question.session(&mut *session).into_future()).await?;
        let stored = stored.map_err(|error| match errors::code(&error) {
            Some(TIME_IS_UP) => {
                FenceError::Away("a majority of the replica set does not say that the lane is ours".into())
            }
            _ => errors::fence(&error),
        })?;
        let is_ours = |stored: &StoredFence| {
            stored.epoch == *epoch && stored.owner.as_deref() == Some(self.owner.as_str())
        };
        // The move may have been lost with the primary that made it.
        let Some(stored) = stored.filter(is_ours) else {
            let owner = self.owner_of(lane).await?;
            return Ok(Acquired::LeasedTo { owner, ask_in: BUSY });
        };
        let fence = stored
            .fence()
            .map_err(|why| errors::damaged(format!("the fence of `{lane}` is damaged: {why}")))?;
        life.touch();
        let grouping = self.grouping(session).await?;
        let loaded = self.windows_in_journal(lane, &stored, session, life).await?;
        let (mut windows, damage) = match loaded {
            Ok(windows) => (windows, None),
            Err(stop) => (Windows::default(), Some(*stop)),
        };
        windows.rejected = self.still_rejected(lane, &windows.events, session).await?;
        Ok(Acquired::Granted(Granted {
            fence,
            windows,
            grouping,
            damage,
        }))
    }

    /// Which rows events are booked to. Who changes that moves every fence with it: what is read behind the move of a
    /// fence holds for as long as that is ours.
    async fn grouping(&self, session: &mut ClientSession) -> Result<Grouping, FenceError> {
        let meta = self.database.collection::<Meta>(META);
        let meta = meta.find_one(meta::ledger()).max_time(WORK);
        let meta = answer(meta.session(&mut *session).into_future()).await?;
        meta.as_ref()
            .and_then(Meta::grouping)
            .ok_or_else(|| errors::damaged(format!("`{META}` does not describe a ledger")))
    }

    /// The open letters of a lane. Those whose event is counted were too many to be closed with it: they are now.
    async fn still_rejected(
        &self,
        lane: &LaneId,
        events: &[Generation],
        session: &mut ClientSession,
    ) -> Result<RejectedIds, FenceError> {
        let mut open = self.open_letters(lane, session).await?;
        if open.is_empty() {
            return Ok(open);
        }
        let counted = events.iter().flat_map(|generation| &generation.ids);
        let is_overdue = |id: &IdentityHash| open.state(*id) == Some(RejectedIdState::Uncounted);
        let overdue: HashSet<IdentityHash> = counted.map(|id| id.id).filter(is_overdue).collect();
        if !overdue.is_empty() {
            let ids: Vec<IdentityHash> = overdue.iter().copied().collect();
            let which = dead_letters::open_under(lane, Scope::Lane, &ids);
            let at = answer(server_time(&self.client)).await?;
            answer(self.supersede_all(lane, &which, at)).await?;
            for id in overdue {
                open.close(id);
            }
        }
        Ok(open)
    }
}
