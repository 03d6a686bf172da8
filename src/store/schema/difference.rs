//! Differences between a database and the schema that the program wants: values in, a list of steps out.

use std::fmt;

use mongodb::bson::Document;

use super::index::Index;
use super::wanted::{View, Wanted};

/// What is known of the validator of a collection.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Validator {
    /// It has this one, or none.
    Is(Option<Document>),
    /// It was not looked at.
    Unknown,
}

/// A collection as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Present {
    /// Its validator.
    pub(super) validator: Validator,
    /// Its indexes, as a server tells them.
    pub(super) indexes: Vec<Document>,
    /// Whether it is a view.
    pub(super) is_view: bool,
}

/// How something becomes as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Make the collection with its validator, or the view.
    Collection {
        collection: String,
        validator: Option<Document>,
        view: Option<View>,
    },
    /// Give it another validator.
    Validator { collection: String, validator: Document },
    /// Make an index.
    Index { collection: String, index: Index },
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Difference {
    /// What a step mends.
    Step(Step),
    /// There is a collection in the place of a view. What is in it may be somebody's.
    NoView { collection: String },
    /// There is an index of the same keys that is another one. It may be somebody's: only a person may drop it.
    Options {
        collection: String,
        name: String,
        present: Index,
        wanted: Index,
    },
}

/// All differences of a collection, in the order in which they are mended.
pub(super) fn differences(wanted: &Wanted, present: Option<&Present>) -> Vec<Difference> {
    let collection = wanted.name.clone();
    let (first, stored) = match present {
        None => {
            let missing = Step::Collection {
                collection,
                validator: wanted.validator.clone(),
                view: wanted.view.clone(),
            };
            (Some(missing), [].as_slice())
        }
        Some(present) if wanted.view.is_some() && !present.is_view => {
            return vec![Difference::NoView { collection }];
        }
        Some(present) => (
            other_validator(wanted, &present.validator),
            present.indexes.as_slice(),
        ),
    };
    let indexes = wanted.indexes.iter();
    first
        .into_iter()
        .map(Difference::Step)
        .chain(indexes.filter_map(|index| other_index(&wanted.name, index, stored)))
        .collect()
}

fn other_validator(wanted: &Wanted, present: &Validator) -> Option<Step> {
    let (Some(validator), Validator::Is(is)) = (&wanted.validator, present) else {
        return None;
    };
    (is.as_ref() != Some(validator)).then(|| Step::Validator {
        collection: wanted.name.clone(),
        validator: validator.clone(),
    })
}

fn other_index(collection: &str, wanted: &Index, stored: &[Document]) -> Option<Difference> {
    let same_keys = |stored: &Document| {
        let index = Index::stored(stored);
        let name = stored.get_str("name").unwrap_or_default().to_owned();
        index.has_same_keys(wanted).then_some((name, index))
    };
    let same_keys: Vec<(String, Index)> = stored.iter().filter_map(same_keys).collect();
    if same_keys.iter().any(|(_, index)| index.options == wanted.options) {
        return None;
    }
    let (collection, wanted) = (collection.to_owned(), wanted.clone());
    Some(match same_keys.into_iter().next() {
        None => Difference::Step(Step::Index {
            collection,
            index: wanted,
        }),
        Some((name, present)) => Difference::Options {
            collection,
            name,
            present,
            wanted,
        },
    })
}

impl Difference {
    /// What is wrong, and what to do.
    pub(super) fn message(&self) -> String {
        match self {
            Difference::Step(Step::Collection { collection, .. }) => {
                format!("the collection `{collection}` is missing; run `usage-ledger migrate`")
            }
            Difference::Step(Step::Validator { collection, .. }) => {
                format!("`{collection}` has another validator; run `usage-ledger migrate`")
            }
            Difference::Step(Step::Index { collection, index }) => format!(
                "the index {} of `{collection}` is missing; run `usage-ledger migrate`",
                index.keys
            ),
            Difference::NoView { collection } => format!(
                "`{collection}` is a collection and has to be a view; drop it, with `db.{collection}.drop()` in the \
                 database of the ledger, and run `usage-ledger migrate`"
            ),
            Difference::Options {
                collection,
                name,
                present,
                wanted,
            } => format!(
                "the index `{name}` of `{collection}` has the options {}, and needs {}; drop it, with \
                 `db.{collection}.dropIndex(\"{name}\")` in the database of the ledger, and run `usage-ledger migrate`",
                present.options, wanted.options
            ),
        }
    }
}

/// What is about to be done, and the right that it takes.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Collection { collection, .. } => write!(f, "create `{collection}` (`createCollection`)"),
            Step::Validator { collection, .. } => {
                write!(f, "change the validator of `{collection}` (`collMod`)")
            }
            Step::Index { collection, index } => {
                let keys = &index.keys;
                write!(f, "create the index {keys} of `{collection}` (`createIndex`)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, doc};

    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            name: "rows".into(),
            validator: Some(doc! {"$jsonSchema": {"required": ["a", "b"]}}),
            indexes: vec![
                Index::of_all(doc! {"a": 1, "b": -1}),
                Index::of_some(doc! {"c": 1}, doc! {"open": {"$exists": true}}),
            ],
            view: None,
        }
    }

    /// As wanted, but told as a server tells it.
    fn present() -> Present {
        Present {
            validator: Validator::Is(wanted().validator),
            indexes: vec![
                doc! {"v": 2, "key": {"_id": 1}, "name": "_id_"},
                doc! {"v": 2, "key": {"a": 1.0, "b": -1_i64}, "name": "a_1_b_-1", "unique": false},
                doc! {"v": 2, "key": {"c": 1}, "name": "c", "partialFilterExpression": {"open": {"$exists": true}}},
            ],
            is_view: false,
        }
    }

    fn messages(present: &Present) -> Vec<String> {
        let differences = differences(&wanted(), Some(present));
        differences.iter().map(Difference::message).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_no_difference() {
        assert_eq!(differences(&wanted(), Some(&present())), []);
        let more = Present {
            indexes: [
                vec![doc! {"key": {"a": 1, "b": -1}, "name": "another", "unique": true}],
                present().indexes,
                vec![doc! {"key": {"z": 1}, "name": "somebody's", "expireAfterSeconds": 60}],
            ]
            .concat(),
            ..present()
        };
        assert_eq!(
            differences(&wanted(), Some(&more)),
            [],
            "what others added is theirs"
        );
    }

    #[test]
    fn a_missing_collection_is_created_with_all_that_it_needs() {
        let steps: Vec<Step> = differences(&wanted(), None)
            .into_iter()
            .map(|difference| match difference {
                Difference::Step(step) => step,
                other => panic!("no step: {other:?}"),
            })
            .collect();
        let told: Vec<String> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "create `rows` (`createCollection`)",
                r#"create the index { "a": 1, "b": -1 } of `rows` (`createIndex`)"#,
                r#"create the index { "c": 1 } of `rows` (`createIndex`)"#,
            ]
        );
        let first = Step::Collection {
            collection: "rows".into(),
            validator: wanted().validator,
            view: None,
        };
        assert_eq!(steps[0], first);
    }

    #[test]
    fn a_view_is_made_where_nothing_is_in_its_place() {
        let view = View {
            on: "letters",
            pipeline: vec![doc! {"$match": {}}],
        };
        let wanted = Wanted {
            name: "some".into(),
            validator: None,
            indexes: Vec::new(),
            view: Some(view.clone()),
        };
        let made = Step::Collection {
            collection: "some".into(),
            validator: None,
            view: Some(view),
        };
        assert_eq!(differences(&wanted, None), [Difference::Step(made)]);
        let mut present = Present {
            validator: Validator::Unknown,
            indexes: Vec::new(),
            is_view: true,
        };
        assert_eq!(differences(&wanted, Some(&present)), []);
        present.is_view = false;
        let found = differences(&wanted, Some(&present));
        assert!(
            found[0]
                .message()
                .contains("`some` is a collection and has to be a view")
        );
    }

    #[test]
    fn a_validator_is_changed_only_where_it_is_known_to_be_another() {
        let with = |validator| Present {
            validator,
            ..present()
        };
        let other = Some(doc! {"$jsonSchema": {"required": ["a"]}});
        for validator in [Validator::Is(None), Validator::Is(other)] {
            assert_eq!(
                messages(&with(validator)),
                ["`rows` has another validator; run `usage-ledger migrate`"]
            );
        }
        assert_eq!(messages(&with(Validator::Unknown)), [""; 0]);
    }

    #[test]
    fn an_index_is_its_keys_in_their_order_and_directions() {
        for keys in [
            doc! {"a": 1},
            doc! {"b": -1, "a": 1},
            doc! {"a": 1, "b": 1},
            doc! {"a": 1, "b": "hashed"},
        ] {
            let mut present = present();
            present.indexes[1] = doc! {"key": keys, "name": "other"};
            assert_eq!(
                messages(&present),
                [r#"the index { "a": 1, "b": -1 } of `rows` is missing; run `usage-ledger migrate`"#]
            );
        }
    }

    #[test]
    fn an_index_with_other_options_is_named_with_what_to_do() {
        for (option, value) in [
            ("unique", Bson::Boolean(true)),
            ("sparse", Bson::Boolean(true)),
            ("hidden", Bson::Boolean(true)),
            ("expireAfterSeconds", Bson::Int32(60)),
            ("partialFilterExpression", Bson::Document(doc! {"a": 1})),
            ("collation", Bson::Document(doc! {"locale": "de"})),
        ] {
            let mut present = present();
            present.indexes[1].insert(option, value.clone());
            let expected = format!(
                "the index `a_1_b_-1` of `rows` has the options {}, and needs {{}}; drop it, with \
                 `db.rows.dropIndex(\"a_1_b_-1\")` in the database of the ledger, and run `usage-ledger migrate`",
                doc! {option: value}
            );
            assert_eq!(messages(&present), [expected]);
            let found = differences(&wanted(), Some(&present));
            assert!(
                matches!(found.as_slice(), [Difference::Options { .. }]),
                "a person's to mend"
            );
        }
        let mut present = present();
        present.indexes[2].remove("partialFilterExpression");
        assert!(
            messages(&present)[0].contains("has the options {}, and needs { \"partialFilterExpression\"")
        );
    }
}
