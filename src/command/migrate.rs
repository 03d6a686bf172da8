//! `migrate`: the schema, created or completed.

use super::Failure;
use crate::config::Config;
use crate::store::Store;
use crate::store::schema::{Change, VERSION};

pub(super) async fn migrate(config: Config) -> Result<(), Failure> {
    let store = Store::open(&config).await?;
    store.prepare(&config, Change::Create).await?;
    println!(
        "the ledger in `{}` is at schema version {VERSION}",
        config.database
    );
    Ok(())
}
