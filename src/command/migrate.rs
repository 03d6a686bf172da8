//! `migrate`: the schema, created or completed.

use super::say;
use crate::config::{Database, Identity};
use crate::failure::Failure;
use crate::store::Store;
use crate::store::schema::{Change, VERSION};

pub(super) async fn migrate(database: Database, identity: Identity) -> Result<(), Failure> {
    let store = Store::open(&database).await?;
    store.prepare(&identity, Change::Create).await?;
    say(&format!(
        "the ledger in `{}` is at schema version {VERSION}",
        database.name
    ))
}
