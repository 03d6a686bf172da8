//! What all questions of the reader share: how long the server may work on them, and what their failure means.

use std::sync::Arc;
use std::time::Duration;

use api::reader::ReadError;
use ingest::server_error::is_of_snapshot;
use mongodb::error::Error as DriverError;

use crate::store::errors::{self, Told};

/// How long the server may work on a short read.
pub(super) const READ_TIME: Duration = Duration::from_secs(30);
/// How long the server may work on groups, all batches together: as long as it keeps a snapshot. Who waits no longer
/// closes the connection, which ends the work.
pub(super) const GROUPS_TIME: Duration = Duration::from_secs(300);
/// Groups that the server sends at once.
pub(super) const BATCH: u32 = 10_000;

/// Whatever the server says, the next question may be answered: nothing ends here, and callers learn no more than
/// that the ledger cannot be read now.
pub(super) fn failed(error: &DriverError) -> ReadError {
    let told = Arc::new(Told::from(error));
    match errors::code(error) {
        Some(code) if is_of_snapshot(code) => ReadError::Gone(told),
        _ => ReadError::Unavailable(told),
    }
}
