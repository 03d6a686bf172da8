//! Small documents of the journal on their way to become one.

use chrono::{DateTime, TimeDelta, Utc};
use ingest::journal::{Merge, merge};
use ingest::lane::{JournalId, LaneId};
use ingest::ledger::FenceError;
use mongodb::bson::doc;

use super::stored::read;
use crate::store::Store;
use crate::store::answer::answer;
use crate::store::errors;

/// How old documents are before they are merged: whoever looks at what was just counted finds them as they were written.
const AGE: TimeDelta = TimeDelta::minutes(5);
/// A span of documents that is merged, however few there are.
const SPAN: TimeDelta = TimeDelta::hours(1);
/// The most documents that become one.
const MOST: usize = 2_000;
/// The most bytes of them: what a merged document may have.
const BYTES: usize = 1 << 20;

impl Store {
    /// The next documents of a lane's journal, behind `from` and before its newest, that become one: as many as fit, or as
    /// were written in an hour. `None`: there are not enough yet.
    ///
    /// What is damaged is left as it is: whoever takes the lane next finds it, and so does `verify`.
    pub(in crate::store) async fn mergeable(
        &self,
        lane: &LaneId,
        from: JournalId,
        newest: JournalId,
        now: DateTime<Utc>,
    ) -> Result<Option<Merge>, FenceError> {
        let which = doc! {"_id": {"$gt": super::id(lane, from), "$lt": super::id(lane, newest)}};
        let journal = self.journal();
        let found = journal
            .find(which)
            .sort(doc! {"_id": 1})
            .limit(i64::try_from(MOST).unwrap_or(i64::MAX));
        let mut cursor = answer(found.into_future()).await?;
        let (mut documents, mut bytes, mut is_full) = (Vec::new(), 0, false);
        while answer(cursor.advance()).await? {
            let raw = cursor.current();
            let Ok(document) = read(raw) else {
                return Ok(None);
            };
            let is_old = document.commits.iter().all(|commit| commit.at + AGE <= now);
            bytes += raw.as_bytes().len();
            if !is_old || bytes > BYTES {
                is_full = is_old;
                if documents.is_empty() && is_full {
                    // It is large enough alone.
                    return Ok(Some(Merge::past(&document)));
                }
                break;
            }
            documents.push(document);
        }
        let (Some(first), Some(last)) = (documents.first(), documents.last()) else {
            return Ok(None);
        };
        let at = |document: &ingest::journal::Document| document.commits.first().map(|commit| commit.at);
        let is_long = at(first)
            .zip(at(last))
            .is_some_and(|(first, _)| now - first > SPAN + AGE);
        if !(is_full || is_long || documents.len() == MOST) {
            return Ok(None);
        }
        match merge(&documents) {
            Ok(Some(merged)) => Ok(Some(Merge::of(&documents, merged))),
            // They are not alike: they stay as they are.
            Ok(None) => Ok(Some(Merge::past(last))),
            Err(error) => Err(errors::damaged(format!("the journal of `{lane}`: {error}"))),
        }
    }
}
