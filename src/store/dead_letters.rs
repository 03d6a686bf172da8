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
mod told;

use std::collections::HashSet;

use ingest::dedupe::{EventHash, RejectedIdState, RejectedIds, Scope};
use ingest::lane::LaneId;
use ingest::ledger::{Commit, DeadLetter, FenceError, LaneCommit, Outcome, ReplayRequest, ReplayResult};
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::Result as DriverResult;
use rollup::period::Calendar;

pub use document::StoredLetter;
use payload::{CUT, DROPPED};
use told::changed;

use super::answer::{WORK, answer};
use super::convert::hash;
use super::schema::VERSION;
use super::{DEAD_LETTERS, FENCES, Store, failure};

/// The upsert of a dead letter. A record that is read again at the same place stays the letter it is.
///
/// `taken`: the places that hold a letter of another record. An offset comes twice where a topic was recreated.
pub(super) fn keep(
    lane: &LaneCommit,
    letter: &DeadLetter,
    taken: &HashSet<String>,
    calendar: &Calendar,
    at: DateTime,
) -> Document {
    let place = match taken.contains(&letter.place) {
        true => format!("{}@{}", letter.place, letter.source_time_ms),
        false => letter.place.clone(),
    };
    let payload = payload::write(&letter.payload, letter.keep);
    let is_kept = payload.get_str("format").is_ok_and(|format| format != CUT);
    let mut fields = doc! {
        "lane": lane.fence.lane.as_str(),
        "place": &place,
        "reason": letter.reject.reason.code(),
        "field": letter.reject.field,
        "message": letter.reject.message(),
        "state": if is_kept { "open" } else { LOST },
        "open": lane.fence.lane.as_str(),
        "eventId": letter.event_id.as_ref().map(|id| id.text.as_str()),
        "eventHash": letter.event_id.as_ref().map(|id| hash(id.hash)),
        "organizationId": letter.about.organization.as_deref(),
        "day": day::of(letter, calendar, at.to_chrono()).to_string(),
        "countedBefore": letter.letter == RejectedIdState::Counted,
        "sourceTime": DateTime::from_millis(letter.source_time_ms),
        "rejectedAt": at,
        "schemaVersion": VERSION,
    };
    fields.extend(payload);
    doc! {"q": {"_id": id(&lane.fence.lane, &place)}, "u": {"$setOnInsert": fields}, "upsert": true}
}

/// What becomes of a letter that was judged again. It matches nothing where the letter is not marked any more.
pub(super) fn replayed(lane: &LaneId, letter: &ReplayResult, at: DateTime) -> Document {
    let update = match &letter.result {
        Ok(outcome) => closed("replay", Some(*outcome), at),
        Err(reject) => doc! {
            "$set": {
                "state": "open", "reason": reject.reason.code(), "field": reject.field, "message": reject.message(),
                "replayedAt": at,
            },
            "$unset": {"replayRequestedAt": ""},
        },
    };
    doc! {"q": {"_id": id(lane, &letter.place), "state": "replay"}, "u": update}
}

/// The states of letters that wait for something.
const OPEN: [&str; 3] = ["open", "replay", LOST];
/// The state of letters that can never be judged.
const LOST: &str = "lost";

/// The letters that counted events with these ids close.
pub(super) fn open_under(lane: &LaneId, scope: Scope, ids: &[EventHash]) -> Document {
    let ids: Vec<Bson> = ids.iter().copied().map(hash).collect();
    let mut which = doc! {"eventHash": among(&ids), "state": {"$in": OPEN.as_slice()}};
    if scope == Scope::Lane {
        which.insert("lane", lane.as_str());
    }
    which
}

/// One of these. One alone is a plain equality: not every server finds an index for `$in`.
fn among(values: &[Bson]) -> Bson {
    match values {
        [one] => one.clone(),
        several => doc! {"$in": several}.into(),
    }
}

/// Closes letters whose event was counted.
pub(super) fn superseded(ids: Vec<Bson>, at: DateTime) -> Document {
    doc! {"q": {"_id": {"$in": ids}}, "u": closed("event", None, at), "multi": true}
}

fn closed(by: &str, outcome: Option<Outcome>, at: DateTime) -> Document {
    let mut set = doc! {"state": "closed", "closedBy": by, "closedAt": at};
    if let Some(outcome) = outcome {
        set.insert("outcome", outcome.name());
    }
    // It holds whatever an emitter sent, and is not needed any more.
    set.insert("format", DROPPED);
    doc! {"$set": set, "$unset": {"open": "", "replayRequestedAt": "", "payload": "", "headers": ""}}
}

/// Payloads that are dropped at once, at most, of each lane.
const DROPPED_AT_ONCE: i64 = 500;

fn id(lane: &LaneId, place: &str) -> String {
    format!("{lane}/{place}")
}

/// The states of letters.
pub const STATES: [&str; 4] = ["open", LOST, "replay", "closed"];

/// The states that a person means by one of them, or by none: what is lost is open, too.
fn meant(state: Option<&str>) -> &[&str] {
    match state {
        None => &STATES,
        Some("open") => &STATES[..2],
        Some(state) => STATES
            .iter()
            .find(|known| **known == state)
            .map_or(&[], std::slice::from_ref),
    }
}

/// Which letters a person means. What is not said does not matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Which {
    /// Those with these ids.
    pub ids: Vec<String>,
    /// Of this lane.
    pub lane: Option<String>,
    /// Rejected for this reason.
    pub reason: Option<String>,
    /// Of the event with this id.
    pub event_id: Option<String>,
    /// Rejected at or after this instant.
    pub since: Option<DateTime>,
    /// Rejected before this instant.
    pub until: Option<DateTime>,
}

impl Which {
    fn filter(&self, states: &[&str]) -> Document {
        let mut filter = Document::new();
        if !self.ids.is_empty() {
            let ids: Vec<Bson> = self.ids.iter().map(Bson::from).collect();
            filter.insert("_id", among(&ids));
        }
        let texts = [("lane", self.lane.as_deref()), ("reason", self.reason.as_deref())];
        for (name, text) in texts {
            if let Some(text) = text {
                filter.insert(name, text);
            }
        }
        if let Some(event_id) = &self.event_id {
            filter.insert("eventHash", hash(EventHash::of(event_id)));
        }
        // Named one by one, so that those of each are found by an index in the order of their time.
        let states: Vec<Bson> = states.iter().copied().map(Bson::from).collect();
        filter.insert("state", among(&states));
        let mut rejected = Document::new();
        rejected.extend(self.since.map(|since| ("$gte".to_owned(), Bson::from(since))));
        rejected.extend(self.until.map(|until| ("$lt".to_owned(), Bson::from(until))));
        if !rejected.is_empty() {
            filter.insert("rejectedAt", rejected);
        }
        filter
    }
}

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
            let rest = open_under(&lane.fence.lane, commit.scope, &lane.closes);
            let at = DateTime::from_chrono(commit.at);
            if let Err(error) = self.supersede_all(&lane.fence.lane, &rest, at).await {
                let error = failure::message(&error);
                tracing::warn!(error, lane = %lane.fence.lane, "letters of a counted event stay open for now");
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
        counted.map_err(failure::unusable)
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
        let mut cursor = found.await.map_err(failure::unusable)?;
        while cursor.advance().await.map_err(failure::unusable)? {
            let letter: Document = cursor.deserialize_current().map_err(failure::unusable)?;
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
                ids.push(id.map_err(|error| failure::fence(&error.into()))?.into());
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

    /// How many letters that wait can never be judged, since their payload was not kept, or not for so long.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub async fn count_lost_letters(&self, which: &Which) -> Result<u64, super::Error> {
        let letters = self.collection(DEAD_LETTERS);
        let counted = letters.count_documents(which.filter(&[LOST])).await;
        counted.map_err(failure::unusable)
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
        let marked = marked.map_err(failure::unusable)?.modified_count;
        let lanes = match &which.lane {
            Some(lane) => doc! {"_id": lane},
            None => doc! {},
        };
        if marked > 0 {
            self.tell_of_letters(lanes).await.map_err(failure::unusable)?;
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
        let open = doc! {"lane": lane.as_str(), "state": {"$in": OPEN.as_slice()}, "eventHash": {"$type": "binData"}};
        let found = letters
            .find(open)
            .projection(doc! {"_id": 0, "eventHash": 1, "countedBefore": 1});
        let mut cursor = answer(found.session(&mut *session).into_future()).await?;
        let mut letters = RejectedIds::default();
        while answer(cursor.advance(session)).await? {
            let stored = cursor.current();
            let id = stored
                .get_binary("eventHash")
                .ok()
                .and_then(|id| EventHash::from_bytes(id.bytes));
            let Some(id) = id else {
                return Err(failure::damaged(format!(
                    "a document of `{DEAD_LETTERS}` for `{lane}` has a damaged `eventHash`"
                )));
            };
            let letter = match stored.get_bool("countedBefore") {
                Ok(true) => RejectedIdState::Counted,
                _ => RejectedIdState::Uncounted,
            };
            let open = letters.entry(id).or_insert(letter);
            // One that was told of an event which then did not count knows less than the others.
            if letter == RejectedIdState::Uncounted {
                *open = letter;
            }
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
                .map_err(|error| failure::fence(&error))?;
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
