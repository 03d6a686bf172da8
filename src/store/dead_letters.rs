//! Dead letters as they are stored: what keeps them, marks them and closes them.
//!
//! | `state` | what it means | what follows |
//! |---|---|---|
//! | `open` | it waits | a counted event with its id closes it; a person may mark it |
//! | `lost` | it waits, and its payload was not kept, or not for so long | a counted event with its id closes it |
//! | `replay` | a person wants it judged again | the owner of its lane does, in its next commit |
//! | `closed` | `closedBy` an `event` with its id, or by a `replay` that ended as `outcome` | nothing, ever |
//!
//! `open` (the lane) is there only while the letter waits: the index of what is open holds no others.
//!
//! Every letter that waits is usage that is in no sum, and answers tell how many there are by `day` and `reason`. So
//! they are changed by what keeps a letter, closes it or judges it again; not by marks, nor by payloads that are
//! dropped. Whatever changes a letter's state raises `letters` of a fence, and no remembered answer outlives that: where
//! answers change, in the transaction that changes them.

mod day;
mod document;
mod payload;
mod statements;
mod told;
mod which;

use std::collections::HashSet;

use ingest::dedupe::RejectedIds;
use ingest::identity::IdentityHash;
use ingest::lane::LaneId;
use ingest::ledger::{Commit, DeadLetter, FenceError, LaneCommit, ReplayRequest};
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, doc};
use mongodb::error::Result as DriverResult;

pub use document::StoredLetter;
pub(super) use statements::{closed_by, keep, open_under, replayed, superseded};
pub use which::{LOST, STATES, Which};

use document::state;
use payload::DROPPED;
use statements::{closed, id};
use told::changed;
use which::{OPEN, meant};

use super::answer::{WORK, answer};
use super::{DEAD_LETTERS, FENCES, Store, errors};

/// Payloads that are dropped at once, at most, of each lane.
const DROPPED_AT_ONCE: i64 = 500;

/// Letters that events close in their transaction, at most, for each question.
const CLOSED_AT_ONCE: i64 = 1_000;

impl Store {
    /// The places of a lane, among those of these letters, that hold a letter of another record.
    pub(super) async fn other_letters(
        &self,
        session: &mut ClientSession,
        lane: &LaneCommit,
    ) -> DriverResult<HashSet<String>> {
        let of = &lane.fence.lane;
        let ids: Vec<String> = lane.letters.iter().map(|letter| id(of, &letter.place)).collect();
        let mut cursor = self
            .collection(DEAD_LETTERS)
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"place": 1, "sourceTime": 1})
            .session(&mut *session)
            .await?;
        let mut taken = HashSet::new();
        while cursor.advance(session).await? {
            let stored = cursor.current();
            let (place, time) = (stored.get_str("place")?, stored.get_datetime("sourceTime")?);
            let is_same = |letter: &DeadLetter| {
                letter.place == place && letter.source_time_ms == time.timestamp_millis()
            };
            if !lane.letters.iter().any(is_same) {
                taken.insert(place.to_owned());
            }
        }
        Ok(taken)
    }

    /// The ids of these letters; not of all where there are very many.
    pub(super) async fn some_letters(
        &self,
        session: &mut ClientSession,
        which: Document,
    ) -> DriverResult<Vec<Bson>> {
        let mut cursor = self
            .collection(DEAD_LETTERS)
            .find(which)
            .projection(doc! {"_id": 1})
            .limit(CLOSED_AT_ONCE)
            .session(&mut *session)
            .await?;
        let mut ids = Vec::new();
        while cursor.advance(session).await? {
            ids.push(Bson::from(cursor.current().get_str("_id")?));
        }
        Ok(ids)
    }

    /// Closes the letters of counted events that were too many for their transaction. What is counted stays so:
    /// their replay could only say the same. Where this fails, the lane's next owner does it.
    pub(super) async fn close_the_rest(&self, commit: &Commit) {
        for lane in commit.lanes.iter().filter(|lane| !lane.closes.is_empty()) {
            let at = DateTime::from_chrono(commit.at);
            for rest in closed_by(lane, commit.scope, usize::MAX) {
                if let Err(error) = self.supersede_all(&lane.fence.lane, &rest, at).await {
                    let error = errors::message(&error);
                    tracing::warn!(error, lane = %lane.fence.lane, "letters of a counted event stay open for now");
                }
            }
        }
    }

    /// Closes letters of events that were counted, some of them at once. The lane's fence tells of it.
    #[expect(
        clippy::disallowed_methods,
        reason = "it writes no rows: the one transaction that does is the ledger's"
    )]
    pub(super) async fn supersede_all(
        &self,
        lane: &LaneId,
        which: &Document,
        at: DateTime,
    ) -> DriverResult<()> {
        let mut session = self.client.start_session().await?;
        loop {
            let transaction = session.start_transaction();
            let closing = transaction.and_run((self, lane, which), move |session, (store, lane, which)| {
                Box::pin(store.supersede_some(session, lane, which, at))
            });
            if closing.await? < CLOSED_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// The same in a transaction, with no more letters than one takes. How many.
    async fn supersede_some(
        &self,
        session: &mut ClientSession,
        lane: &LaneId,
        which: &Document,
        at: DateTime,
    ) -> DriverResult<i64> {
        let ids = self.some_letters(session, which.clone()).await?;
        let letters = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        if letters > 0 {
            let (open, fences) = (self.collection(DEAD_LETTERS), self.collection(FENCES));
            let closing = open.update_many(doc! {"_id": {"$in": ids}}, closed("event", None, at));
            closing.session(&mut *session).await?;
            // Last: nobody else waits for the fence for longer than the commit takes.
            let telling = fences.update_one(doc! {"_id": lane.as_str()}, changed(letters));
            telling.session(session).await?;
        }
        Ok(letters)
    }

    /// How many letters there are, in this state or in any.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub async fn count_letters(&self, which: &Which, state: Option<&str>) -> Result<u64, super::Error> {
        let letters = self.collection(DEAD_LETTERS);
        let counted = letters.count_documents(which.filter(meant(state))).await;
        counted.map_err(errors::unusable)
    }

    /// Shows letters one after the other, the newest first, until that fails.
    ///
    /// # Errors
    /// When they cannot be read or shown.
    pub async fn each_letter<E: From<super::Error>>(
        &self,
        which: &Which,
        state: Option<&str>,
        limit: Option<u32>,
        mut show: impl FnMut(StoredLetter) -> Result<(), E>,
    ) -> Result<(), E> {
        let letters = self.collection(DEAD_LETTERS);
        let found = letters
            .find(which.filter(meant(state)))
            .sort(doc! {"rejectedAt": -1, "_id": 1})
            .limit(limit.map_or(0, i64::from));
        let mut cursor = found.await.map_err(errors::unusable)?;
        while cursor.advance().await.map_err(errors::unusable)? {
            let letter: Document = cursor.deserialize_current().map_err(errors::unusable)?;
            show(letter.into())?;
        }
        Ok(())
    }

    /// Drops the payloads of open letters that were rejected before this. How many.
    pub(super) async fn drop_payloads(&self, lanes: &[LaneId], before: DateTime) -> Result<u64, FenceError> {
        let letters = self.collection(DEAD_LETTERS);
        let mut dropped = 0;
        for lane in lanes {
            let old = doc! {"lane": lane.as_str(), "state": "open", "rejectedAt": {"$lt": before}};
            let found = letters
                .find(old)
                .projection(doc! {"_id": 1})
                .sort(doc! {"rejectedAt": 1})
                .limit(DROPPED_AT_ONCE)
                .max_time(WORK);
            let mut found = answer(found.into_future()).await?;
            let mut ids: Vec<Bson> = Vec::new();
            while answer(found.advance()).await? {
                let id = found.current().get_str("_id");
                ids.push(id.map_err(|error| errors::fence(&error.into()))?.into());
            }
            if ids.is_empty() {
                continue;
            }
            // One that was marked meanwhile is judged first.
            let which = doc! {"_id": {"$in": ids}, "state": "open"};
            let drop =
                doc! {"$set": {"state": LOST, "format": DROPPED}, "$unset": {"payload": "", "headers": ""}};
            let changed = answer(letters.update_many(which, drop).into_future()).await?;
            dropped += changed.modified_count;
            answer(self.tell_of_letters(doc! {"_id": lane.as_str()})).await?;
        }
        Ok(dropped)
    }

    /// Marks letters that wait, to be judged again by the owners of their lanes. How many were marked.
    ///
    /// # Errors
    /// When that cannot be written.
    pub async fn mark_letters(&self, which: &Which) -> Result<u64, super::Error> {
        let mark = doc! {"$set": {"state": "replay"}, "$currentDate": {"replayRequestedAt": true}};
        let marked = self
            .collection(DEAD_LETTERS)
            .update_many(which.filter(&["open"]), mark)
            .await;
        let marked = marked.map_err(errors::unusable)?.modified_count;
        let lanes = match &which.lane {
            Some(lane) => doc! {"_id": lane},
            None => doc! {},
        };
        if marked > 0 {
            self.tell_of_letters(lanes).await.map_err(errors::unusable)?;
        }
        Ok(marked)
    }

    /// The ids of the letters of a lane that are open, and what they say of them.
    pub(super) async fn open_letters(
        &self,
        lane: &LaneId,
        session: &mut ClientSession,
    ) -> Result<RejectedIds, FenceError> {
        let letters = self.collection(DEAD_LETTERS);
        let open = doc! {"lane": lane.as_str(), "state": {"$in": OPEN.as_slice()}};
        let found = letters.find(open).projection(doc! {
            "_id": 0, "identity": 1, "document": 1, "countedBefore": 1, "countedQuantities": 1, "quantitiesVersion": 1,
        });
        let mut cursor = answer(found.session(&mut *session).into_future()).await?;
        let mut letters = RejectedIds::default();
        while answer(cursor.advance(session)).await? {
            let stored = cursor.current();
            let hash = |name: &str| match stored.get(name) {
                Ok(Some(RawBsonRef::Binary(binary))) => IdentityHash::from_bytes(binary.bytes).map(Some),
                Ok(Some(RawBsonRef::Null) | None) => Some(None),
                _ => None,
            };
            let (Some(identity), Some(document)) = (hash("identity"), hash("document")) else {
                return Err(errors::damaged(format!(
                    "a document of `{DEAD_LETTERS}` for `{lane}` has a damaged `identity` or `document`"
                )));
            };
            let state = state(stored.get_bool("countedBefore").ok(), |name| {
                stored.get_i32(name).ok()
            });
            letters.open(identity, document, state);
        }
        Ok(letters)
    }

    /// The letters of these lanes that are marked, up to so many, or until their payloads have so many bytes.
    pub(super) async fn marked_letters(
        &self,
        lanes: &[LaneId],
        max_letters: usize,
        max_bytes: usize,
    ) -> Result<Vec<ReplayRequest>, FenceError> {
        let of = |lane: &LaneId| doc! {"lane": lane.as_str(), "state": "replay"};
        // Each lane by itself: not every server finds an index for `$in`.
        let filter = match lanes {
            [] => return Ok(Vec::new()),
            [lane] => of(lane),
            lanes => doc! {"$or": lanes.iter().map(of).collect::<Vec<_>>()},
        };
        let letters = self.collection(DEAD_LETTERS);
        let found = letters
            .find(filter)
            .limit(i64::try_from(max_letters).unwrap_or(i64::MAX))
            .max_time(WORK);
        let mut cursor = answer(found.into_future()).await?;
        let (mut marked, mut bytes) = (Vec::new(), 0);
        while bytes < max_bytes && answer(cursor.advance()).await? {
            let stored = cursor
                .deserialize_current()
                .map_err(|error| errors::fence(&error))?;
            match payload::read(&stored) {
                Ok(letter) => {
                    bytes += letter.payload.size();
                    marked.push(letter);
                }
                Err(why) => self.unmark(&stored, &why).await?,
            }
        }
        Ok(marked)
    }

    /// A letter that cannot be judged waits again, and says why.
    async fn unmark(&self, stored: &Document, why: &str) -> Result<(), FenceError> {
        let id = stored.get_str("_id").unwrap_or_default();
        tracing::error!(letter = id, error = why, "a dead letter cannot be judged again");
        let wait = doc! {"$set": {"state": "open", "replayError": why}, "$unset": {"replayRequestedAt": ""}};
        let letters = self.collection(DEAD_LETTERS);
        let which = doc! {"_id": id, "state": "replay"};
        answer(letters.update_one(which, wait).into_future()).await?;
        let lane = stored.get_str("lane").unwrap_or_default();
        answer(self.tell_of_letters(doc! {"_id": lane})).await
    }
}
