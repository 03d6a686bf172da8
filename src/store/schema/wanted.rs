//! The collections of a ledger, as this version of the program wants them.

use mongodb::bson::{Bson, Document, doc};
use rollup::counters::Counter;
use rollup::fold::Marginal;

use super::index::Index;
use crate::config::Source;
use crate::store::{
    DEAD_LETTERS, EVENT_IDS, FENCES, JOURNAL, LEASES, LEDGER, META, REJECTED, REPAIRS, ROLLUPS,
};

const COLLECTIONS: [&str; 10] = [
    LEDGER,
    ROLLUPS,
    FENCES,
    LEASES,
    JOURNAL,
    EVENT_IDS,
    DEAD_LETTERS,
    REJECTED,
    REPAIRS,
    META,
];

/// A collection as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// Its name.
    pub(super) name: String,
    /// What every document of it must be.
    pub(super) validator: Option<Document>,
    /// Its indexes besides `_id`.
    pub(super) indexes: Vec<Index>,
    /// What it is made of, where it is a view.
    pub(super) view: Option<View>,
}

/// What a view shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The collection that it is of.
    pub(super) on: &'static str,
    pub(super) pipeline: Vec<Document>,
}

/// The collections of every ledger.
pub(super) fn ledger() -> Vec<Wanted> {
    let wanted = |name: &&str| Wanted {
        name: (*name).to_owned(),
        validator: validator(name),
        indexes: indexes(name),
        view: view(name),
    };
    COLLECTIONS.iter().map(wanted).collect()
}

/// The same, and the events where they are in the ledger's own database: whoever only works there need not have the
/// right to create a collection.
pub(super) fn database(own: &str, source: Option<&Source>) -> Vec<Wanted> {
    let mut all = ledger();
    if let Some(Source::ChangeStream { database, collection }) = source
        && database == own
    {
        all.push(Wanted {
            name: collection.clone(),
            validator: None,
            indexes: Vec::new(),
            view: None,
        });
    }
    all
}

/// The indexes of a collection besides `_id`. Those of rows and ids hold only fields that never change once a document is
/// written, so that adding to a counter touches no index. Those of dead letters also hold the letter's state, its reason,
/// and `open`, which is there only while it waits: a person, an event or its age moves a letter a few times, and counting
/// never. A closed letter is in no index of those that wait.
///
/// The rows of the ledger of an organization and a span of periods are neighbours by their `_id`. Rollups are not:
/// the marginal (`set`) stands behind the period there.
fn indexes(collection: &str) -> Vec<Index> {
    let all = Index::of_all;
    let waiting = |keys| Index::of_some(keys, doc! {"open": {"$exists": true}});
    match collection {
        // One person's own usage must not cost a scan of the organization's.
        LEDGER => vec![all(
            doc! {"organizationId": 1, "granularity": 1, "userId": 1, "periodKey": 1},
        )],
        ROLLUPS => vec![
            all(doc! {"organizationId": 1, "granularity": 1, "set": 1, "periodKey": 1}),
            // Of all organizations: everything, and what fits a filter.
            all(doc! {"granularity": 1, "set": 1, "periodKey": 1, "value": 1}),
            // Of models by their provider: no other marginal has one.
            Index::of_some(
                doc! {"granularity": 1, "provider": 1, "periodKey": 1},
                doc! {"set": Marginal::Model.name()},
            ),
        ],
        // The requests of an organization, day by day.
        JOURNAL => vec![all(doc! {"days": 1, "greatest": -1})],
        // As they are listed: those of a state, the newest first.
        DEAD_LETTERS => vec![
            all(doc! {"state": 1, "rejectedAt": -1, "_id": 1}),
            all(doc! {"state": 1, "reason": 1, "rejectedAt": -1, "_id": 1}),
            all(doc! {"lane": 1, "state": 1, "rejectedAt": -1, "_id": 1}),
            all(doc! {"identity": 1, "state": 1, "rejectedAt": -1, "_id": 1}),
            all(doc! {"eventId": 1, "state": 1, "rejectedAt": -1, "_id": 1}),
            all(doc! {"documentId": 1, "state": 1, "rejectedAt": -1, "_id": 1}),
            // Those that wait, as they are counted: of an organization, of nobody, and of all.
            waiting(doc! {"organizationId": 1, "day": 1, "reason": 1, "open": 1}),
            waiting(doc! {"day": 1, "organizationId": 1, "reason": 1, "open": 1}),
        ],
        _ => vec![],
    }
}

/// What a view shows. Letters hold whatever an emitter sent, and answers only tell how many there are: who reads for
/// answers need not have the right to read letters. A comparison, and not `$exists`: that an index answers alone.
fn view(name: &str) -> Option<View> {
    let pipeline = vec![
        doc! {"$match": {"open": {"$gt": ""}}},
        doc! {"$project": {"_id": 0, "organizationId": 1, "day": 1, "reason": 1}},
    ];
    (name == REJECTED).then_some(View {
        on: DEAD_LETTERS,
        pipeline,
    })
}

/// The validator of a collection: nothing that is not a whole row gets in, whoever writes it.
fn validator(collection: &str) -> Option<Document> {
    let dimensions: &[&str] = match collection {
        LEDGER => &[
            "organizationId",
            "granularity",
            "periodKey",
            "agentSlug",
            "provider",
            "model",
            "userId",
            "teamId",
            "apiKeyId",
            "source",
            "kind",
        ],
        ROLLUPS => &["organizationId", "granularity", "periodKey", "set", "value"],
        _ => return None,
    };
    let mut properties = doc! {"_id": {"bsonType": "string"}, "periodStart": {"bsonType": "date"}};
    let mut required = vec![Bson::from("_id"), Bson::from("periodStart")];
    for name in dimensions {
        properties.insert(*name, doc! {"bsonType": "string"});
        required.push((*name).into());
    }
    for counter in Counter::ALL {
        properties.insert(counter.name(), doc! {"bsonType": "long"});
        required.push(counter.name().into());
    }
    if collection == ROLLUPS {
        // Only the rollup of the organization has one.
        properties.insert("version", doc! {"bsonType": "long"});
    }
    Some(doc! {"$jsonSchema": {"bsonType": "object", "required": required, "properties": properties}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The fields of a collection that stay as they were written.
    fn lasting(collection: &str) -> &'static [&'static str] {
        match collection {
            LEDGER | ROLLUPS => &[
                "_id",
                "organizationId",
                "granularity",
                "periodKey",
                "agentSlug",
                "provider",
                "model",
                "userId",
                "teamId",
                "apiKeyId",
                "source",
                "kind",
                "set",
                "value",
            ],
            // Of all that edits a document nothing moves an entry to another day.
            JOURNAL => &["_id", "days", "greatest"],
            DEAD_LETTERS => &[
                "_id",
                "lane",
                "identity",
                "eventId",
                "documentId",
                "organizationId",
                "day",
                "rejectedAt",
            ],
            _ => &["_id"],
        }
    }

    /// The fields that an index depends on: its keys, and those of its filter.
    fn fields(index: &Index) -> impl Iterator<Item = String> {
        let filter = index
            .model()
            .options
            .and_then(|options| options.partial_filter_expression);
        let keys = index.keys.clone();
        keys.into_iter()
            .chain(filter.into_iter().flatten())
            .map(|(field, _)| field)
    }

    #[test]
    fn of_what_is_indexed_only_the_state_of_letters_changes() {
        for collection in COLLECTIONS {
            let indexes = indexes(collection);
            let mut changing: BTreeSet<String> = indexes.iter().flat_map(fields).collect();
            changing.retain(|field| !lasting(collection).contains(&field.as_str()));
            let expected: &[&str] = match collection {
                DEAD_LETTERS => &["open", "reason", "state"],
                _ => &[],
            };
            assert!(changing.iter().eq(expected), "{collection}: {changing:?}");
        }
    }

    #[test]
    fn letters_that_wait_have_indexes_of_their_own() {
        let (waiting, all): (Vec<_>, Vec<_>) = indexes(DEAD_LETTERS)
            .into_iter()
            .partition(|index| fields(index).any(|field| field == "open"));
        assert_eq!(waiting.len(), 2);
        for index in waiting {
            let filter = doc! {"open": {"$exists": true}};
            assert_eq!(
                index,
                Index::of_some(index.keys.clone(), filter),
                "a closed letter leaves it"
            );
        }
        assert!(
            all.iter()
                .all(|index| *index == Index::of_all(index.keys.clone()))
        );
    }
}
