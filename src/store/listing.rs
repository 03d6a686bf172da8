//! Collections, as a server lists them to this user.

use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::Result as DriverResult;

use super::errors;

/// Those of some collections that are there.
pub(super) struct Listing {
    /// Each as it is listed: without its options where these may not be known.
    pub(super) collections: Vec<Document>,
    /// Why their options may not be known.
    pub(super) hidden: Option<String>,
}

/// Looks collections up by their names. Whoever may read one may know its name and kind; to know its options takes a right
/// of its own.
pub(super) async fn listing(database: &Database, names: &[&str]) -> DriverResult<Listing> {
    let question = doc! {"listCollections": 1, "filter": {"name": {"$in": names}}};
    let (answer, hidden) = match database.run_command(question.clone()).await {
        Err(error) if errors::is_right_missing(&error) => {
            let mut names = question;
            names.extend(doc! {"nameOnly": true, "authorizedCollections": true});
            let answer = database.run_command(names).await?;
            (answer, Some(errors::message(&error)))
        }
        answer => (answer?, None),
    };
    // So few are in the first batch.
    let listed = answer.get_document("cursor")?.get_array("firstBatch")?;
    let collections = listed.iter().filter_map(|listed| listed.as_document());
    Ok(Listing {
        collections: collections.cloned().collect(),
        hidden,
    })
}
