//! The ledger at one instant.

use std::sync::Arc;

use api::reader::Freshness;
use mongodb::Collection;
use mongodb::bson::RawDocumentBuf;

use super::instant::Instant;
use super::rows_read::RowsRead;
use crate::store::Store;

/// The ledger at one instant.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) store: Store,
    pub(super) instant: Instant,
    pub(super) freshness: Arc<Freshness>,
    pub(super) rows_read: RowsRead,
}

impl Store {
    /// A collection of rows, whose documents are read as they come.
    pub(super) fn rows(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }
}
