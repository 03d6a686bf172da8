//! Changes that are larger than the server can deliver.
//!
//! An event of a change stream may have 16 MB, and carries the document, its image before the change, its `_id`, and a
//! token in which that `_id` is written at twice its length, or more. A larger one ends the stream with an error, every
//! time it is read. So the stream is opened again with less and less in its events:
//!
//! | how much | what is in an event | what that takes |
//! |---|---|---|
//! | `Whole` | everything | |
//! | `Lean` | of images above the limit of a record only their length: they are rejected as `too_large` either way | `_id`s of up to 3 MiB, or more |
//! | `Past` | the same, and events of documents with an `_id` above 3 MiB are passed over | everything |
//!
//! What is passed over is one letter, `too_large`: nobody can say more of it than where it was, not even whether it was
//! one change or several of such documents directly one after the other. No other change is passed over. Either way the
//! events are asked for one by one, and after the large one the stream is whole again.

use bson::{Document, doc};
use rollup::event::MAX_RECORD_BYTES;

/// The largest `_id` whose events can be delivered without images whatever is in it: a token takes four bytes for each
/// byte of it, at most.
const MAX_KEY_BYTES: i32 = 3 << 20;
/// Holds, in an event, the length of what was left out of it.
pub(super) const LEFT_OUT: &str = "leftOutBytes";

/// How much of the changes is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ask {
    #[default]
    Whole,
    Lean,
    Past,
}

impl Ask {
    /// What to ask for when an event was too large; `None`: there is nothing less.
    pub(super) const fn less(self) -> Option<Self> {
        match self {
            Ask::Whole => Some(Ask::Lean),
            Ask::Lean => Some(Ask::Past),
            Ask::Past => None,
        }
    }

    /// How many events are asked for at once; `None`: as many as the server likes.
    pub(super) const fn batch(self) -> Option<u32> {
        match self {
            Ask::Whole => None,
            Ask::Lean | Ask::Past => Some(1),
        }
    }

    /// The stages that the stream has.
    pub(super) fn pipeline(self) -> Vec<Document> {
        let mut stages = vec![doc! {"$match": {"operationType": {"$in": [
            "insert", "update", "replace", "delete", "drop", "rename", "dropDatabase", "invalidate",
        ]}}}];
        if self == Ask::Past {
            stages.push(doc! {"$match": {"$expr": {"$lte": [{"$bsonSize": "$documentKey"}, MAX_KEY_BYTES]}}});
        }
        let mut fields = doc! {
            "_id": 1, "operationType": 1, "clusterTime": 1, "documentKey": 1, "fullDocument": 1,
            "fullDocumentBeforeChange": 1,
        };
        if self != Ask::Whole {
            let images = ["$fullDocument", "$fullDocumentBeforeChange"];
            let limit = i32::try_from(MAX_RECORD_BYTES).unwrap_or(i32::MAX);
            let is_large = |of: Document| doc! {"$gt": [of, limit]};
            for image in images {
                let kept = doc! {"$cond": [is_large(doc! {"$bsonSize": image}), "$$REMOVE", image]};
                fields.insert(&image[1..], kept);
            }
            let largest = doc! {"$max": images.map(|image| doc! {"$bsonSize": image}).to_vec()};
            let length = doc! {"$cond": [is_large(largest.clone()), largest, "$$REMOVE"]};
            fields.insert(LEFT_OUT, length);
        }
        stages.push(doc! {"$project": fields});
        stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_asked_for_until_nothing_is_too_large() {
        let asks: Vec<Ask> = std::iter::successors(Some(Ask::Whole), |ask| ask.less()).collect();
        assert_eq!(asks, [Ask::Whole, Ask::Lean, Ask::Past]);
        assert_eq!(
            asks.iter().map(|ask| ask.pipeline().len()).collect::<Vec<_>>(),
            [2, 2, 3]
        );
        for ask in asks {
            let project = ask.pipeline().pop().expect("a stage");
            let project = project.get_document("$project").expect("a projection");
            for name in ["_id", "operationType", "clusterTime", "documentKey"] {
                assert_eq!(project.get_i32(name).ok(), Some(1), "{ask:?} {name}");
            }
            assert_eq!(project.contains_key(LEFT_OUT), ask != Ask::Whole);
        }
    }
}
