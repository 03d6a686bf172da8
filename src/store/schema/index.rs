//! An index, as it is wanted, as a server tells it and as the driver creates it.

use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;

/// The options that decide what an index holds, refuses and deletes, and whether a query may use it.
const OPTIONS: [&str; 6] = [
    "unique",
    "sparse",
    "hidden",
    "partialFilterExpression",
    "expireAfterSeconds",
    "collation",
];

/// An index: its keys, and those of its options that matter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Index {
    /// The fields, each with its direction.
    pub(super) keys: Document,
    /// Of [`OPTIONS`] those that are set.
    pub(super) options: Document,
}

impl Index {
    /// An index of all documents.
    pub(super) fn of_all(keys: Document) -> Self {
        Self {
            keys,
            options: Document::new(),
        }
    }

    /// An index of the documents that fit a filter.
    pub(super) fn of_some(keys: Document, filter: Document) -> Self {
        Self {
            keys,
            options: doc! {"partialFilterExpression": filter},
        }
    }

    /// As a server tells it.
    pub(super) fn stored(stored: &Document) -> Self {
        let set = |name: &&str| {
            let value = stored.get(*name)?;
            (*value != Bson::Boolean(false)).then(|| ((*name).to_owned(), value.clone()))
        };
        Self {
            keys: stored.get_document("key").cloned().unwrap_or_default(),
            options: OPTIONS.iter().filter_map(set).collect(),
        }
    }

    /// As the driver creates it.
    pub(super) fn model(&self) -> IndexModel {
        let filter = self.options.get_document("partialFilterExpression").ok();
        let options = IndexOptions::builder()
            .partial_filter_expression(filter.cloned())
            .build();
        IndexModel::builder()
            .keys(self.keys.clone())
            .options(options)
            .build()
    }

    /// Whether the other one holds the same fields in the same order and directions.
    pub(super) fn has_same_keys(&self, other: &Self) -> bool {
        let directions = |index: &Self| -> Vec<_> {
            let of = |(name, direction): (&String, &Bson)| (name.clone(), plain(direction));
            index.keys.iter().map(of).collect()
        };
        directions(self) == directions(other)
    }
}

/// Servers answer with a direction in whatever number type it was given.
fn plain(direction: &Bson) -> Bson {
    #[expect(clippy::cast_possible_truncation, reason = "a direction is 1 or -1")]
    match direction {
        Bson::Int64(number) => Bson::Int32(*number as i32),
        Bson::Double(number) => Bson::Int32(*number as i32),
        other => other.clone(),
    }
}
