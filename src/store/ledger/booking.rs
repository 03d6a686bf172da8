//! Adds what a commit counted to the rows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mongodb::ClientSession;
use mongodb::bson::{DateTime as BsonTime, RawArrayBuf, doc, rawdoc};
use rollup::fold::{Delta, LedgerRow, RollupRow};

use super::known::{Ask, Rows};
use super::rows::{Row, Writer};
use super::{Broken, CHUNK, Commit, DUPLICATE_KEY, LEDGER, MongoLedger, ROLLUPS, failure};

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
    pub(super) async fn explore(&self, work: &Work<'_>) {
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
    pub(super) async fn book(&self, session: &mut ClientSession, work: &Work<'_>) -> Result<(), Broken> {
        let at = work.commit.at;
        self.write_rows(session, LEDGER, &work.ledger, at).await?;
        self.write_rows(session, ROLLUPS, &work.rollups, at).await
    }

    /// Asks which rows of these groups are there.
    async fn ask(&self, collection: &str, groups: Vec<Ask>) -> Result<(), mongodb::error::Error> {
        for group in groups {
            let mut which = doc! {
                "organizationId": &*group.organization, "granularity": group.period.granularity().name(),
                "periodKey": group.period.to_string(),
            };
            if let Some(set) = group.set {
                which.insert("set", set.name());
            }
            let limit = i64::try_from(group.most + 1).unwrap_or(i64::MAX);
            let mut cursor = self
                .store
                .collection(collection)
                .find(which)
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

    /// Adds to rows: inserts where they are known to be absent, upserts of all others.
    async fn write_rows<R: Row>(
        &self,
        session: &mut ClientSession,
        collection: &str,
        rows: &Rows<'_, R>,
        at: DateTime<Utc>,
    ) -> Result<(), Broken> {
        let writer = Writer {
            calendar: &self.calendar,
            at: BsonTime::from_chrono(at),
        };
        let (mut new, mut others) = (Vec::new(), Vec::new());
        let absent = self.known().absent(rows);
        for (row, absent) in rows.iter().zip(absent) {
            let rows = if absent { &mut new } else { &mut others };
            rows.push(*row);
        }
        for rows in new.chunks(CHUNK) {
            let documents = rows.iter().map(|(id, row)| writer.insert(id, *row));
            let documents = documents.collect::<Result<RawArrayBuf, _>>()?;
            let command = rawdoc! {"insert": collection, "documents": documents, "ordered": true};
            match self.write_command(session, command).await? {
                Err(refused) if refused.code == DUPLICATE_KEY => return Err(Broken::Mistaken),
                answer => answer?,
            };
        }
        for rows in others.chunks(CHUNK) {
            let statements = rows.iter().map(|(id, row)| writer.upsert(id, *row));
            let statements = statements.collect::<Result<RawArrayBuf, _>>()?;
            let command = rawdoc! {"update": collection, "updates": statements, "ordered": true};
            self.write_command(session, command).await??;
        }
        Ok(())
    }
}
