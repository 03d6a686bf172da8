//! A question to the server, and what it costs.

use std::collections::BTreeSet;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};

/// A question may examine so many keys and documents for each that it returns or names, …
const FACTOR: i64 = 3;
/// … and so many besides.
const BESIDES: i64 = 20;

/// What cannot be asked in less, with the reason.
pub(super) fn is_inherent(question: &Question) -> bool {
    let names = |name: &str| question.shape.contains(name);
    match question.collection.as_str() {
        // Filters of the ledger without an index of their own: the rows of one organization in the span are read, as
        // they are for its totals. Agents and users have ranges.
        "usageLedger" => {
            let filters = ["teamId", "apiKeyId", "kind", "provider", "model", "source"];
            question.is_about_one_organization() && filters.iter().any(|name| names(name))
        }
        // What was cut is counted when all else that was open has been marked.
        "usageDeadLetters" => names("format: String"),
        // SecantusDB plans no bounds for `$type`, which MongoDB does; these types end every scan once.
        "requestEvents" => names("$type"),
        _ => false,
    }
}

/// A question to the server that reads: what a `find` of it would be.
#[derive(Debug, Clone)]
pub(super) struct Question {
    collection: String,
    find: Document,
    /// Everything but the values.
    pub(super) shape: String,
}

impl Question {
    fn of(collection: &str, mut find: Document) -> Self {
        // MongoDB asks the collection of a view for what is asked of the view; SecantusDB makes the whole view first.
        let collection = match (collection, find.get_document_mut("filter")) {
            ("usageRejected", Ok(filter)) => {
                filter.insert("open", doc! {"$gt": ""});
                find.insert("find", "usageDeadLetters");
                "usageDeadLetters"
            }
            _ => collection,
        };
        let mut shape = format!("{collection} ");
        for (name, value) in &find {
            if name != "find" && name != "limit" && name != "batchSize" {
                shape.push_str(&format!("{name}: {} ", shape_of(value)));
            }
        }
        find.remove("batchSize");
        Self {
            collection: collection.to_owned(),
            find,
            shape,
        }
    }

    /// What a command reads: nothing for one that does not, and for change streams. `None`: that is not known.
    pub(super) fn all(command: &Document) -> Option<Vec<Self>> {
        let Some((name, Bson::String(collection))) = command.iter().next() else {
            return Some(Vec::new());
        };
        let of = |filter: &Document, only_one: bool| {
            let mut find = doc! {"find": collection, "filter": filter.clone()};
            if only_one {
                find.insert("limit", 1);
            }
            Self::of(collection, find)
        };
        let statements = |list: &str| -> Vec<Document> {
            let list = command.get_array(list).map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Bson::as_document).cloned().collect()
        };
        match name.as_str() {
            "find" => {
                let own = [
                    "find",
                    "filter",
                    "sort",
                    "hint",
                    "limit",
                    "min",
                    "max",
                    "projection",
                ];
                let find = command.iter().filter(|(name, _)| own.contains(&name.as_str()));
                let find = find.map(|(name, value)| (name.clone(), value.clone()));
                Some(vec![Self::of(collection, find.collect())])
            }
            "aggregate" => {
                let first = command.get_array("pipeline").ok()?.first()?.as_document()?;
                if first.contains_key("$changeStream") {
                    return Some(Vec::new());
                }
                let mut find = doc! {"find": collection, "filter": first.get_document("$match").ok()?};
                find.extend(command.get("hint").map(|hint| ("hint".to_owned(), hint.clone())));
                Some(vec![Self::of(collection, find)])
            }
            "update" => {
                let updates = statements("updates");
                let of = |update: &Document| {
                    let is_one = !update.get_bool("multi").unwrap_or(false);
                    Some(of(update.get_document("q").ok()?, is_one))
                };
                updates.iter().map(of).collect()
            }
            "delete" => {
                let deletes = statements("deletes");
                let of = |delete: &Document| Some(of(delete.get_document("q").ok()?, false));
                deletes.iter().map(of).collect()
            }
            "findAndModify" => Some(vec![of(command.get_document("query").ok()?, true)]),
            "insert" | "create" | "createIndexes" | "collMod" | "listIndexes" | "killCursors" => {
                Some(Vec::new())
            }
            _ => None,
        }
    }

    /// How many values it names.
    fn names(&self) -> i64 {
        fn count(value: &Bson) -> i64 {
            match value {
                Bson::Document(document) => document.values().map(count).sum(),
                Bson::Array(values) => values.iter().map(count).sum(),
                _ => 1,
            }
        }
        self.find.get("filter").map_or(0, count)
    }

    /// Whether it reads rows of the ledger of one organization's span only.
    fn is_about_one_organization(&self) -> bool {
        let filter = self.find.get_document("filter").expect("a filter");
        let is_range = |filter: &Document| filter.get_document("_id").is_ok_and(|id| id.contains_key("$gte"));
        match filter.get_array("$or") {
            Ok(all) => all.iter().filter_map(Bson::as_document).all(is_range),
            Err(_) => is_range(filter),
        }
    }

    /// What is wrong with what the server reads for it.
    pub(super) async fn fault(&self, client: &Client, database: &str) -> Option<String> {
        let explain = doc! {"explain": self.find.clone(), "verbosity": "executionStats"};
        let told = client.database(database).run_command(explain).await;
        let told = told.unwrap_or_else(|error| panic!("{error}: {}", self.find));
        let stats = told.get_document("executionStats").expect("counts");
        let number = |name: &str| match stats.get(name) {
            Some(Bson::Int32(number)) => i64::from(*number),
            Some(Bson::Int64(number)) => *number,
            other => panic!("{name}: {other:?}"),
        };
        let (returned, keys, documents) = (
            number("nReturned"),
            number("totalKeysExamined"),
            number("totalDocsExamined"),
        );
        let limit = FACTOR * (returned + self.names()) + BESIDES;
        (keys > limit || documents > limit).then(|| {
            format!(
                "{keys} keys and {documents} documents for {returned}: {} {}",
                self.shape, self.find
            )
        })
    }
}

/// The structure of a value: names, operators and types.
fn shape_of(value: &Bson) -> String {
    match value {
        Bson::Document(document) => {
            let fields = document
                .iter()
                .map(|(name, value)| format!("{name}: {}", shape_of(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Bson::Array(values) => {
            let shapes: BTreeSet<String> = values.iter().map(shape_of).collect();
            format!("{shapes:?}")
        }
        other => format!("{:?}", other.element_type()),
    }
}
