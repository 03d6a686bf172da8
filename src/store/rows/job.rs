//! Changes of rows by jobs: writers that are no lanes.

use chrono::{DateTime, Utc};
use ingest::lease::Life;
use mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT;
use mongodb::options::{ReadConcern, WriteConcern};
use rollup::fold::Delta;
use rollup::period::Calendar;

use super::writing::{Author, RowChanges, Rows, WriteError};
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
    #[expect(clippy::disallowed_methods, reason = "the transaction of a job")]
    pub async fn add_rows(
        &self,
        calendar: Calendar,
        revision: i64,
        delta: &Delta,
        at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let rows = Rows::new(self.clone(), calendar);
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
        let author = Author::Job { revision };
        match rows.add(&mut writes, &RowChanges::from(delta), author, at).await {
            Ok(()) => {}
            // What is not committed is not applied: the session ends here.
            Err(WriteError::RevisionMoved) => return Ok(false),
            Err(WriteError::Failed(fault)) => return Err(Error::Passing(fault.why)),
            Err(WriteError::RowExists) => return Err(Error::Passing("a row was written meanwhile".into())),
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
