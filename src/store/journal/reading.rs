//! Documents of the journal with their entries, as they are read by those who prove rows.

use ingest::lane::{ContentId, JournalId, LaneId};
use ingest::ledger::Tally;
use mongodb::ClientSession;
use mongodb::bson::{Binary, DateTime, Document, RawDocument, doc};
use mongodb::error::Result as DriverResult;
use serde::Deserialize;

use super::FORMAT;
use super::stored::{self, checksum};
use crate::store::Store;

/// A document as it was found.
#[derive(Debug)]
pub struct Found {
    /// Which.
    pub id: JournalId,
    /// What is in it.
    pub written: Result<Written, Unread>,
}

/// Why a document is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It is not what was written.
    Damaged(String),
    /// A newer program wrote it.
    Newer,
}

/// A document whose checksums match.
#[derive(Debug, Clone)]
pub struct Written {
    /// The content before it; `None`: it is the first.
    pub previous: Option<ContentId>,
    /// The commits in it, one after the other.
    pub commits: Vec<Boundary>,
    /// What became of all records of the lane until its end.
    pub tally: Tally,
    /// Where the lane goes on after it, as fences have it.
    pub position: Option<Document>,
    /// The last record that was counted, as fences have it.
    pub last: Option<Document>,
    /// Packed entries.
    pub entries: Vec<u8>,
}

/// A commit of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// Which commit of the lane.
    pub seq: i64,
    /// Its content.
    pub content: ContentId,
    /// The clock of the worker, in milliseconds.
    pub at_ms: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    commits: Vec<StoredCommit>,
    tally: StoredTally,
    position: Option<Document>,
    last: Option<Document>,
    entries: Binary,
}

#[derive(Debug, Deserialize)]
struct StoredCommit {
    seq: i64,
    content: i64,
    at: DateTime,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTally {
    counted: i64,
    duplicate: i64,
    skipped: i64,
    dead_letter: i64,
}

impl Found {
    /// `None`: nobody can tell which document it is.
    fn read(raw: &RawDocument) -> Option<Self> {
        let id = Self::id(raw)?;
        let written = Written::read(raw);
        Some(Self { id, written })
    }

    pub(super) fn id(raw: &RawDocument) -> Option<JournalId> {
        let id = raw.get_document("_id").ok()?;
        Some(JournalId {
            generation: id.get_i64("generation").ok()?,
            seq: id.get_i64("seq").ok()?,
        })
    }
}

impl Written {
    fn read(raw: &RawDocument) -> Result<Self, Unread> {
        let is_whole = raw.get_i64("checksum").ok() == Some(checksum(raw));
        if is_whole && raw.get_i32("format").is_ok_and(|format| format > FORMAT) {
            return Err(Unread::Newer);
        }
        let head = stored::read(raw).map_err(Unread::Damaged)?;
        let stored: Stored = mongodb::bson::deserialize_from_slice(raw.as_bytes())
            .map_err(|error| Unread::Damaged(format!("it cannot be read: {error}")))?;
        let commits = stored.commits.into_iter().map(|commit| Boundary {
            seq: commit.seq,
            content: ContentId(commit.content),
            at_ms: commit.at.timestamp_millis(),
        });
        Ok(Self {
            previous: head.previous,
            commits: commits.collect(),
            tally: Tally {
                counted: stored.tally.counted,
                duplicate: stored.tally.duplicate,
                skipped: stored.tally.skipped,
                dead_letter: stored.tally.dead_letter,
            },
            position: stored.position,
            last: stored.last,
            entries: stored.entries.bytes,
        })
    }
}

impl Store {
    /// The documents of a lane from this one on, in order, as a session sees them: about so many bytes of them. Whether
    /// these are all.
    pub(in crate::store) async fn documents_from(
        &self,
        lane: &LaneId,
        from: Option<JournalId>,
        most_bytes: usize,
        session: &mut ClientSession,
    ) -> DriverResult<(Vec<Found>, bool)> {
        let first = JournalId {
            generation: i64::MIN,
            seq: i64::MIN,
        };
        let which = Self::journal_from(lane, from.unwrap_or(first));
        let journal = self.journal();
        let found = journal.find(which).sort(doc! {"_id": 1});
        let mut cursor = found.session(&mut *session).await?;
        let (mut documents, mut bytes) = (Vec::new(), 0);
        while cursor.advance(session).await? {
            let raw = cursor.current();
            bytes += raw.as_bytes().len();
            documents.extend(Found::read(raw));
            // The first may be known already: more than one is read.
            if bytes >= most_bytes && documents.len() > 1 {
                return Ok((documents, false));
            }
        }
        Ok((documents, true))
    }

    /// The last document of a lane that lies before this instant, by its own time, and how many events were counted
    /// until its end; `None`: none lies before.
    pub(in crate::store) async fn last_before(
        &self,
        lane: &LaneId,
        before: DateTime,
        session: &mut ClientSession,
    ) -> DriverResult<Option<(JournalId, i64)>> {
        let first = JournalId {
            generation: i64::MIN,
            seq: i64::MIN,
        };
        let journal = self.journal();
        let found = journal
            .find(Self::journal_from(lane, first))
            .sort(doc! {"_id": -1})
            .projection(doc! {"at": 1, "tally.counted": 1});
        let mut cursor = found.session(&mut *session).await?;
        while cursor.advance(session).await? {
            let raw = cursor.current();
            if raw.get_datetime("at").is_ok_and(|at| at < before) {
                let tally = raw.get_document("tally");
                let counted = tally.and_then(|tally| tally.get_i64("counted")).unwrap_or(0);
                return Ok(Found::id(raw).map(|id| (id, counted)));
            }
        }
        Ok(None)
    }

    /// The lanes that have documents.
    pub(in crate::store) async fn lanes_in_journal(
        &self,
        session: &mut ClientSession,
    ) -> DriverResult<Vec<LaneId>> {
        let (mut lanes, mut after) = (Vec::new(), doc! {"lane": ""});
        loop {
            let journal = self.journal();
            let next = journal
                .find_one(doc! {"_id": {"$gt": after}})
                .sort(doc! {"_id": 1})
                .projection(doc! {"_id": 1});
            let Some(next) = next.session(&mut *session).await? else {
                return Ok(lanes);
            };
            let lane = LaneId::from_stored(next.get_document("_id")?.get_str("lane")?);
            // Whatever else an `_id` of this lane holds.
            after = doc! {"lane": format!("{lane}\0")};
            lanes.push(lane);
        }
    }
}
