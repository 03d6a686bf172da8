//! Taking in the documents that were in the collection before the stream, exactly once with it.
//!
//! The collection is paged in the order of `_id`, across BSON types. With everything up to `a` counted, the
//! next chunk `(a, b]` is read by majority (see [`page`]), and the cluster time `H` after the read noted. Then the stream is
//! read up to `H`:
//!
//! | a change up to `H` | what is done with it |
//! |---|---|
//! | of a document up to `a` | sent at once: the scan is past it |
//! | an insert in `(a, b]` that the read did not see | kept with the chunk: the scan will not come by again |
//! | an insert in `(a, b]` that the read saw | dropped: the chunk has it |
//! | an update or delete in `(a, b]` that the read may not have seen | the chunk is cut off below it, to be read again |
//! | of a document above `b` | dropped: the scan will read it |
//!
//! The chunk and what was kept are sent in the order of `_id`, each with the position "stream at `H`, scanned
//! up to this `_id`". After any of them the state is whole: what lies above will be read by the scan, and what
//! the stream brings after `H` is counted if it lies below. So a batch may end anywhere, also in a chunk.
//!
//! Documents deleted before the scan came by are not there to count.

use std::cmp::Ordering;

use bson::{RawDocument, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::ClientSession;
use mongodb::change_stream::ChangeStream;
use rollup::clock::Clock;

use super::bytes::compare;
use super::change::{Change, Operation};
use super::interrupt::Interrupt;
use super::page;
use super::reader::{Polled, Reader};
use crate::decode::Payload;
use crate::lane::{Backfill, DocumentKey, Position};
use crate::source::{Record, SourceEvent};

/// Documents in a chunk, at most.
const CHUNK_DOCUMENTS: usize = 5_000;
/// Bytes of documents in a chunk, at most (and one document more).
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Changes kept with a chunk, at most. Beyond, the chunk is read again: what it would have kept is still
/// in the collection, above the bound.
const KEPT_CHANGES: usize = 10_000;

/// Documents read in one piece, in the order of `_id`.
struct Chunk {
    documents: Vec<(DocumentKey, RawDocumentBuf)>,
    /// Everything committed by majority before this time was seen by the read.
    before: Timestamp,
    /// The read saw nothing that was committed after this time (`H`).
    after: Timestamp,
    /// When the source's clock showed `after`, in milliseconds.
    read_at_ms: i64,
    /// No document lies above the chunk.
    is_last: bool,
}

impl Chunk {
    /// Leaves this `_id` and all above to the next chunk.
    fn cut_off_below(&mut self, id: &DocumentKey) {
        let keep = self
            .documents
            .partition_point(|(document, _)| compare(document, id) == Ordering::Less);
        self.documents.truncate(keep);
        self.is_last = false;
    }

    fn holds(&self, id: &DocumentKey) -> bool {
        self.documents
            .binary_search_by(|(document, _)| compare(document, id))
            .is_ok()
    }

    /// Whether an `_id` above the bound lies in the chunk's part of the collection.
    fn covers(&self, id: &DocumentKey) -> bool {
        self.is_last
            || self
                .documents
                .last()
                .is_some_and(|(last, _)| compare(id, last) != Ordering::Greater)
    }
}

/// Documents in one answer, at most.
const PAGE: u32 = 1_000;

/// The question for the documents of a filter in the order of `_id`, read by majority and no older than this time. As
/// bytes: what is asked for may be no value.
fn find(collection: &str, filter: &RawDocument, limit: i64, since: Timestamp) -> RawDocumentBuf {
    rawdoc! {
        "find": collection,
        "filter": filter.to_owned(),
        "sort": {"_id": 1},
        "hint": {"_id": 1},
        "limit": limit,
        "batchSize": i64::from(PAGE),
        "readConcern": {"level": "majority", "afterClusterTime": since},
    }
}

/// Sends everything that is in the collection, and what the stream brings meanwhile.
pub(super) async fn scan_history<C: Clock>(
    reader: &mut Reader<'_, C>,
    stream: &mut ChangeStream<RawDocumentBuf>,
) -> Result<(), Interrupt> {
    tracing::info!(lane = %reader.events.lane(), from = ?reader.backfill, "taking in the documents that are already there");
    let mut sent: u64 = 0;
    while reader.backfill != Backfill::Done {
        let mut chunk = reader.read_chunk().await?;
        let Some(kept) = reader.read_up_to(stream, &mut chunk).await? else {
            continue;
        };
        sent += chunk.documents.len() as u64;
        reader.send_chunk(chunk, kept).await?;
        tracing::info!(documents = sent, "taken in so far");
    }
    Ok(())
}

impl<C: Clock> Reader<'_, C> {
    async fn read_chunk(&self) -> Result<Chunk, Interrupt> {
        let no_time = || Interrupt::Away("the server gives no operation times: it is no replica set".into());
        let client = &self.events.client;
        let session = client.start_session().causal_consistency(true);
        let mut session = self.answer(session.into_future()).await?;
        let ping = client.database("admin");
        let ping = ping.run_command(doc! {"ping": 1}).session(&mut session);
        self.answer(ping.into_future()).await?;
        let before = session.operation_time().ok_or_else(no_time)?;
        let (documents, is_last) = self.read_page(&mut session, before).await?;
        let read_at_ms = self.clock.now().timestamp_millis();
        let after = session.operation_time().ok_or_else(no_time)?;
        Ok(Chunk {
            documents,
            before,
            after,
            read_at_ms,
            is_last,
        })
    }

    /// The next documents of the collection, and whether they are the last.
    async fn read_page(
        &self,
        session: &mut ClientSession,
        since: Timestamp,
    ) -> Result<(Vec<(DocumentKey, RawDocumentBuf)>, bool), Interrupt> {
        let bound = match &self.backfill {
            Backfill::UpTo(id) => Some(id),
            Backfill::Pending | Backfill::Done => None,
        };
        let database = self.events.client.database(&self.events.database);
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for filter in page::above(bound) {
            let limit = i64::try_from(CHUNK_DOCUMENTS + 1 - documents.len()).unwrap_or(i64::MAX);
            let question = find(&self.events.collection, &filter, limit, since);
            let asked = database
                .run_raw_cursor_command(question)
                .batch_size(PAGE)
                .session(&mut *session);
            let mut cursor = self.answer(asked.into_future()).await?;
            while self.answer(cursor.advance(session)).await? {
                if documents.len() == CHUNK_DOCUMENTS || bytes > CHUNK_BYTES {
                    return Ok((documents, false));
                }
                let document = cursor.current().to_owned();
                let Some(id) = DocumentKey::of(&document) else {
                    return Err(Interrupt::Away(
                        "a document of the collection has no `_id`: it is damaged".into(),
                    ));
                };
                bytes += document.as_bytes().len();
                documents.push((id, document));
            }
        }
        Ok((documents, true))
    }

    /// Reads the stream up to the time of the chunk. `None`: more was to be kept than is sensible, and the
    /// chunk has to be read again.
    async fn read_up_to(
        &mut self,
        stream: &mut ChangeStream<RawDocumentBuf>,
        chunk: &mut Chunk,
    ) -> Result<Option<Vec<(DocumentKey, Change)>>, Interrupt> {
        let mut kept: Vec<(DocumentKey, Change)> = Vec::new();
        loop {
            let change = match self.poll(stream).await? {
                Polled::Change(change) => change,
                // The poll began after the read: whatever the read saw was there to be polled.
                Polled::Empty { token } => {
                    self.token = Some(token);
                    return Ok(Some(kept));
                }
            };
            if (change.time.time, change.time.increment) > (chunk.after.time, chunk.after.increment) {
                self.held = Some(change);
                return Ok(Some(kept));
            }
            let Some(id) = change.document.clone() else {
                return Err(Interrupt::Away("a change event has no `documentKey`".into()));
            };
            if self.is_scanned(&id) {
                self.forward(change).await?;
                continue;
            }
            self.token = Some(change.token.clone());
            if !chunk.covers(&id) {
                continue;
            }
            let seen = chunk.holds(&id);
            match change.operation {
                Operation::Insert if !seen => kept.push((id, change)),
                Operation::Insert => {}
                _ => {
                    let time = (change.time.time, change.time.increment);
                    let may_be_news = time > (chunk.before.time, chunk.before.increment);
                    if may_be_news && (seen || kept.iter().any(|(other, _)| *other == id)) {
                        chunk.cut_off_below(&id);
                        kept.retain(|(other, _)| chunk.covers(other));
                    }
                }
            }
            if kept.len() > KEPT_CHANGES {
                return Ok(None);
            }
        }
    }

    fn is_scanned(&self, id: &DocumentKey) -> bool {
        match &self.backfill {
            Backfill::Pending => false,
            Backfill::UpTo(bound) => compare(id, bound) != Ordering::Greater,
            Backfill::Done => true,
        }
    }

    async fn send_chunk(&mut self, chunk: Chunk, kept: Vec<(DocumentKey, Change)>) -> Result<(), Interrupt> {
        let Some(token) = self.token.clone() else {
            return Err(Interrupt::Away("the change stream has no position".into()));
        };
        let lane = self.grant.key;
        let is_last = chunk.is_last;
        let read_at_ms = chunk.read_at_ms;
        let is_past = self.passed.as_ref() == Some(&token);
        let at = |id: &DocumentKey| Position::Stream {
            token: token.clone(),
            is_past,
            backfill: Backfill::UpTo(id.clone()),
        };
        let mut records: Vec<(DocumentKey, Record)> = Vec::with_capacity(chunk.documents.len() + kept.len());
        for (id, document) in chunk.documents {
            let record = Record {
                lane,
                payload: Payload::Document(document).cut(),
                next: at(&id),
                source_time_ms: read_at_ms,
                as_of_ms: None,
                index: None,
                historical: true,
                last: None,
            };
            records.push((id, record));
        }
        for (id, change) in kept {
            let next = at(&id);
            records.push((
                id,
                Record {
                    as_of_ms: None,
                    ..change.into_record(lane, next)
                },
            ));
        }
        records.sort_by(|(one, _), (other, _)| compare(one, other));
        for (id, record) in records {
            self.backfill = Backfill::UpTo(id);
            self.send(SourceEvent::Records(vec![record])).await?;
        }
        if is_last {
            self.backfill = Backfill::Done;
            self.idle(None).await?;
        }
        Ok(())
    }
}
