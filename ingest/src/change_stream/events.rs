//! The collection whose changes are read.

use bson::RawDocumentBuf;
use mongodb::{Client, Collection};

use crate::lane::LaneId;

/// The collection whose changes are read.
#[derive(Debug, Clone)]
pub struct Events {
    /// A client that reads from the primary.
    pub client: Client,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
}

impl Events {
    /// The lane of this collection.
    #[must_use]
    pub fn lane(&self) -> LaneId {
        LaneId::change_stream(&self.database, &self.collection)
    }

    pub(super) fn collection(&self) -> Collection<RawDocumentBuf> {
        self.client.database(&self.database).collection(&self.collection)
    }
}
