//! Changes of rows by jobs: writers that are no lanes.

use chrono::{DateTime, Utc};
use ingest::lease::Life;
use ingest::server_error::{Act, Fault};
use mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT;
use mongodb::options::{ReadConcern, WriteConcern};
use rollup::audit::repair::Step;
use rollup::fold::Delta;
use rollup::period::Calendar;

use super::repair::Repair;
use super::writing::{Author, RowChanges, Rows, WriteError};
use crate::store::reader::audit::Described;
use crate::store::writes::Writes;
use crate::store::{Error, META, Store, errors};

/// How often a commit is asked for again whose outcome is not known.
const COMMITS: usize = 5;

impl Store {
    /// How often a job has changed rows.
    ///
    /// # Errors
    /// When it cannot be read, or there is no ledger.
    pub async fn revision(&self) -> Result<i64, Error> {
        let meta = self.meta().await.map_err(errors::unusable)?;
        let revision = meta.map(|meta| meta.revision);
        revision.ok_or_else(|| Error::Unusable(format!("`{META}` does not describe a ledger")))
    }

    /// Adds to rows as a job does, in one transaction that moves the revision on from the one at which the job read.
    /// Whether it did: another job may have been faster, and then nothing is written.
    ///
    /// # Errors
    /// When it is not written, or nobody knows whether it was: the revision tells.
    pub async fn add_rows(
        &self,
        calendar: Calendar,
        revision: i64,
        delta: &Delta,
        at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let rows = Rows::new(self.clone(), calendar);
        let changes = RowChanges::from(delta);
        let author = Author::Job { revision };
        self.transaction(async |writes: &mut Writes<'_>| rows.add(writes, &changes, author, at).await)
            .await
    }

    /// One step of a repair, in the same way. `content` names it: [`Store::last_repair`] tells whether it was applied,
    /// where nobody knows.
    ///
    /// # Errors
    /// When it is not written, or nobody knows whether it was.
    pub async fn repair_rows(
        &self,
        ledger: &Described,
        step: &Step,
        content: i64,
        at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let repair = Repair {
            step,
            content,
            calendar: *ledger.grouping.calendar(),
            revision: ledger.revision,
            at,
        };
        self.transaction(async |writes: &mut Writes<'_>| repair.write(self, writes).await)
            .await
    }

    /// One transaction. Whether it was committed: it is not, where the revision moved.
    #[expect(clippy::disallowed_methods, reason = "the transaction of a job")]
    pub(in crate::store) async fn transaction(
        &self,
        write: impl AsyncFnOnce(&mut Writes<'_>) -> Result<(), WriteError>,
    ) -> Result<bool, Error> {
        let mut session = self.client.start_session().await.map_err(errors::unusable)?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .await
            .map_err(errors::unusable)?;
        let mut writes = Writes {
            database: &self.database,
            session: &mut session,
            life: &Life::begin(),
        };
        let failed = match write(&mut writes).await {
            Ok(()) => None,
            Err(WriteError::RevisionMoved) => Some(None),
            Err(WriteError::Failed(fault)) => Some(Some(job_error(fault))),
            Err(WriteError::RowExists) => Some(Some(Error::Passing("a row was written meanwhile".into()))),
        };
        if let Some(error) = failed {
            // What is not committed is not applied. Lanes need not wait until the server finds that out.
            if let Err(error) = session.abort_transaction().await {
                tracing::debug!(error = errors::message(&error), "a transaction was not ended");
            }
            return error.map_or(Ok(false), Err);
        }
        let mut commits = 1;
        loop {
            match session.commit_transaction().await {
                Ok(()) => return Ok(true),
                Err(error)
                    if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) && commits < COMMITS =>
                {
                    commits += 1;
                }
                Err(error) => return Err(errors::unusable(error)),
            }
        }
    }
}

/// What a failed statement means for a job: whether the same may be tried again.
fn job_error(fault: Fault) -> Error {
    match fault.act {
        Act::RetrySame | Act::RetryWhole | Act::Wait => Error::Passing(fault.why),
        _ => Error::Unusable(fault.why),
    }
}
