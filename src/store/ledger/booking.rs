//! Adds what a commit counted to the rows.

use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mongodb::ClientSession;
use mongodb::bson::{DateTime as BsonTime, RawArrayBuf, doc, rawdoc};
use rollup::fold::{Delta, LedgerRow, RollupRow};
use rollup::key;

use super::known::{Ask, Presence, Rows};
use super::rows::{Row, Writer};
use super::transaction::{AttemptError, CHUNK};
use super::{Commit, LEDGER, MongoLedger, ROLLUPS, failure};
use ingest::server_error::DUPLICATE_KEY;

/// How long one commit may ask which rows are there.
const ASK_TIME: Duration = Duration::from_secs(1);

/// A commit, with its rows as they are written.
pub(super) struct Work<'a> {
    pub(super) commit: &'a Commit,
    pub(super) ledger: Vec<(&'a str, &'a LedgerRow)>,
    pub(super) rollups: Vec<(&'a str, &'a RollupRow)>,
}

impl<'a> Work<'a> {
    pub(super) fn of(commit: &'a Commit) -> Self {
        let Delta { ledger, rollups } = &commit.delta;
        Self {
            commit,
            ledger: ledger.iter().map(|(id, row)| (&**id, row)).collect(),
            rollups: rollups.iter().map(|(id, row)| (&**id, row)).collect(),
        }
    }
}

impl MongoLedger {
    /// Asks which rows are there, where that is worth it. What is not answered, or not in time, is not known: the
    /// transaction does not depend on it.
    pub(super) async fn probe_rows(&self, work: &Work<'_>) {
        let (ledger, rollups) = {
            let known = self.known();
            (known.unasked(&work.ledger), known.unasked(&work.rollups))
        };
        let asked = async {
            self.ask(LEDGER, ledger).await?;
            self.ask(ROLLUPS, rollups).await
        };
        match tokio::time::timeout(ASK_TIME, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = failure::message(&error);
                tracing::debug!(error, "which rows are there is not known");
            }
            Err(_) => tracing::debug!("which rows are there is not known in time: the next commit asks on"),
        }
    }

    /// Adds to all rows of a commit, in its transaction.
    pub(super) async fn book(
        &self,
        session: &mut ClientSession,
        work: &Work<'_>,
    ) -> Result<(), AttemptError> {
        // What everybody adds to comes before what is a lot of work: a conflict shows there.
        let at = work.commit.at;
        self.write_rows(session, ROLLUPS, &work.rollups, at).await?;
        self.write_rows(session, LEDGER, &work.ledger, at).await
    }

    /// Asks which rows of these groups are there.
    async fn ask(&self, collection: &str, groups: Vec<Ask>) -> Result<(), mongodb::error::Error> {
        for group in groups {
            let Range { start, end } = match group.marginal {
                None => key::span(&group.organization, group.period, group.period),
                Some(marginal) => key::of_marginal(&group.organization, group.period, marginal),
            };
            let limit = i64::try_from(group.most + 1).unwrap_or(i64::MAX);
            let mut cursor = self
                .store
                .collection(collection)
                .find(doc! {"_id": {"$gte": start, "$lt": end}})
                .projection(doc! {"_id": 1})
                .limit(limit)
                .await?;
            let mut ids = Vec::new();
            while cursor.advance().await? {
                let id = cursor.current().get_str("_id").unwrap_or_default();
                ids.push(id.to_owned());
            }
            self.known().learn(group, &ids);
        }
        Ok(())
    }

    /// Adds to rows: inserts where they are known to be absent, updates where they are known to be there, upserts of
    /// all others.
    async fn write_rows<R: Row>(
        &self,
        session: &mut ClientSession,
        collection: &str,
        rows: &Rows<'_, R>,
        at: DateTime<Utc>,
    ) -> Result<(), AttemptError> {
        let writer = Writer {
            calendar: &self.calendar,
            at: BsonTime::from_chrono(at),
        };
        let presence = self.known().presence(rows);
        let rows = rows.iter().zip(presence);
        let (new, others): (Vec<_>, Vec<_>) = rows.partition(|(_, known)| *known == Presence::Absent);
        for rows in new.chunks(CHUNK) {
            let documents = rows.iter().map(|((id, row), _)| writer.insert(id, *row));
            let documents = documents.collect::<Result<RawArrayBuf, _>>()?;
            let command = rawdoc! {"insert": collection, "documents": documents, "ordered": true};
            match self.write_command(session, command).await? {
                Err(refused) if refused.code == DUPLICATE_KEY => return Err(AttemptError::RowExists),
                answer => answer?,
            };
        }
        for rows in others.chunks(CHUNK) {
            let statements = rows.iter().map(|((id, row), known)| match known {
                Presence::There => writer.add(id, *row),
                Presence::Unknown | Presence::Absent => writer.upsert(id, *row),
            });
            let statements = statements.collect::<Result<RawArrayBuf, _>>()?;
            let command = rawdoc! {"update": collection, "updates": statements, "ordered": true};
            // A row that is not there any more would swallow what is added to it.
            if self.write_command(session, command).await?? != rows.len() {
                return Err(AttemptError::RowExists);
            }
        }
        Ok(())
    }
}
