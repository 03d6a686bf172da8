//! Rows, and the one door for all who write them.
//!
//! The memory of readers is valid for as long as the `version` is the same that the rollup of the organization holds in
//! each period. So every change of a row of an organization and period sets that version anew, in the same transaction,
//! and only this module writes rows:
//!
//! | author | kept exact by | told to readers by |
//! |---|---|---|
//! | a lane | its fence, which the same transaction moves | `version` of the rows written |
//! | a job: a writer that is no lane | `revision` of the ledger, which the same transaction moves from the one that the job read | `version`, and `revision` |
//!
//! * [`statements`]: a row as a document, and as a change
//! * [`presence`]: the rows that are there already
//! * [`writing`]: additions to rows in a transaction
//! * [`repair`]: rows that become what their entries say
//! * [`job`]: the transactions of jobs

mod job;
mod presence;
mod repair;
mod statements;
mod writing;

pub(super) use writing::{Author, RowChanges, Rows, WriteError};
