//! Rows: the one door for whoever writes them.
//!
//! What readers remember of an organization is valid for as long as the `version` is the same that the rollup of the
//! organization holds in each period. So whoever changes any row of an organization and period sets that version anew,
//! in the same transaction, and only this module writes rows:
//!
//! | who writes | what keeps it exact | what tells readers |
//! |---|---|---|
//! | a lane | its fence, which the same transaction moves | `version` of what is written |
//! | a job: whoever is not a lane | `revision` of the ledger, which the same transaction moves from what the job read | `version`, and `revision` |
//!
//! * [`statements`]: what a row is as a document, and as a change
//! * [`presence`]: which rows are there already
//! * [`writing`]: adds to rows in a transaction

//! * [`job`]: the same for whoever is not a lane

mod job;
mod presence;
mod statements;
mod writing;

pub(super) use writing::{Author, RowChanges, Rows, WriteError};
