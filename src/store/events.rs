//! The events collection, as it is found at the start.

use mongodb::Collection;
use mongodb::bson::{Document, doc};

use super::connection::{hello, is_sharded};
use super::listing::{Listing, listing};
use super::{Error, Store, errors};

impl Store {
    /// Makes sure that the events collection is there, and can be followed exactly. A missing one is created in the
    /// ledger's own database; in another one somebody mistyped its name, or a service has yet to be set up.
    ///
    /// # Errors
    /// When it is missing in another database, is none that can be followed exactly, or the server cannot give a
    /// change stream of it.
    pub async fn ensure_events(&self, database: &str, collection: &str) -> Result<(), Error> {
        let hello = hello(&self.client).await.map_err(errors::unusable)?;
        if is_sharded(&hello) {
            return Err(Error::Unusable(
                "a change stream of a sharded cluster cannot tell when it has caught up; use `USAGE_LEDGER_SOURCE=kafka` \
                 there, or connect to the shard's replica set"
                    .into(),
            ));
        }
        let events = self.client.database(database);
        let listing = listing(&events, &[collection]).await;
        let Listing { collections, hidden } = listing.map_err(errors::unusable)?;
        if let Some(error) = hidden {
            tracing::warn!(
                database,
                collection,
                error,
                "whether the events collection has a collation cannot be told; with one, documents would be missed \
                 whose ids differ only in case"
            );
        }
        match collections.first() {
            Some(listed) => fit(database, listed).map_err(Error::Unusable)?,
            None if database != self.database.name() => {
                return Err(Error::Unusable(format!(
                    "there is no collection `{collection}` in the database `{database}` (USAGE_LEDGER_EVENTS_COLLECTION)"
                )));
            }
            None => match events.create_collection(collection).await {
                Err(error) if !errors::exists_already(&error) => return Err(errors::unusable(error)),
                _ => {}
            },
        }
        may_follow(&events.collection(collection)).await
    }
}

/// Whether a collection can be followed exactly, given how the server lists it; or why not.
fn fit(database: &str, listed: &Document) -> Result<(), String> {
    let name = listed.get_str("name").unwrap_or_default();
    let refused = |why: &str| {
        Err(format!(
            "`{database}.{name}` (USAGE_LEDGER_EVENTS_COLLECTION) {why}"
        ))
    };
    match listed.get_str("type") {
        Ok("view") => {
            return refused(
                "is a view, which has no changes to follow; name the collection that it is made of",
            );
        }
        Ok("timeseries") => {
            return refused(
                "is a time-series collection, which MongoDB gives no changes of; write events to a plain one",
            );
        }
        _ => {}
    }
    let options = listed.get_document("options");
    let collation = options.and_then(|options| options.get_document("collation"));
    match collation.map(|collation| collation.get_str("locale").unwrap_or_default()) {
        Ok(locale) if locale != "simple" => refused(&format!(
            "has the collation `{locale}`, which its `_id` index takes: ids that differ only in case or accents may be \
             one there, and their order is another; copy the events to a collection without one"
        )),
        _ => Ok(()),
    }
}

/// Reads a document of the events, and opens a stream of them: a right that is missing is to be said at the start.
async fn may_follow(events: &Collection<Document>) -> Result<(), Error> {
    let document = events.find_one(doc! {}).projection(doc! {"_id": 1});
    document.await.map_err(errors::unusable)?;
    events.watch().await.map(drop).map_err(errors::unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_followed_exactly_is_refused_by_name() {
        let collation = |locale: &str| doc! {"collation": {"locale": locale, "strength": 2}};
        for (kind, options, refused) in [
            ("collection", doc! {}, None),
            ("collection", doc! {"capped": true}, None),
            ("collection", collation("simple"), None),
            ("collection", collation("de"), Some("has the collation `de`")),
            ("view", doc! {"viewOn": "other"}, Some("is a view")),
            (
                "timeseries",
                doc! {"timeseries": {"timeField": "at"}},
                Some("is a time-series collection"),
            ),
        ] {
            let listed = doc! {"name": "requests", "type": kind, "options": options};
            let told = fit("events", &listed);
            match refused {
                None => assert_eq!(told, Ok(()), "{listed}"),
                Some(why) => {
                    let told = told.expect_err("refused");
                    assert!(
                        told.starts_with(&format!(
                            "`events.requests` (USAGE_LEDGER_EVENTS_COLLECTION) {why}"
                        )),
                        "{told}"
                    );
                }
            }
        }
        assert_eq!(
            fit("events", &doc! {"name": "requests", "type": "collection"}),
            Ok(()),
            "its options are not known"
        );
    }
}
