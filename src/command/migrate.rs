//! `migrate`: the schema, created or completed.

use super::running::say;
use crate::config::{Database, Identity, Source};
use crate::failure::Failure;
use crate::store::schema::Change;
use crate::store::{Store, VERSION};

pub(super) async fn migrate(database: Database, identity: Identity, source: Source) -> Result<(), Failure> {
    let store = Store::open(&database).await?;
    store.prepare(&identity, Some(&source), Change::Create).await?;
    say(&format!(
        "the ledger in `{}` is at schema version {VERSION}",
        database.name
    ))
}
