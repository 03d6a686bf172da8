//! Documents of the journal with their entries, as they are read by those who prove rows.

use ingest::journal::Document;
use ingest::lane::{JournalId, LaneId};
use mongodb::ClientSession;
use mongodb::bson::{DateTime, RawDocument, doc};
use mongodb::error::Result as DriverResult;

use super::FORMAT;
use super::stored::{self, checksum};
use crate::store::Store;

/// A document as it was found.
#[derive(Debug)]
pub struct Found {
    /// Which.
    pub id: JournalId,
    /// What is in it.
    pub written: Result<Document, Unread>,
}

/// Why a document is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It is not what was written.
    Damaged(String),
    /// A newer program wrote it.
    Newer,
}

impl Found {
    /// `None`: nobody can tell which document it is.
    fn read(raw: &RawDocument) -> Option<Self> {
        let id = Self::id(raw)?;
        let written = read(raw);
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

fn read(raw: &RawDocument) -> Result<Document, Unread> {
    let is_whole = raw.get_i64("checksum").ok() == Some(checksum(raw));
    if is_whole && raw.get_i32("format").is_ok_and(|format| format > FORMAT) {
        return Err(Unread::Newer);
    }
    if raw.get_binary("entries").is_err() {
        return Err(Unread::Damaged("it has no entries".into()));
    }
    stored::read(raw).map_err(Unread::Damaged)
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
