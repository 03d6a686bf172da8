//! Lanes: the ordered streams that a source is made of, and the position in each.

mod document_key;

use std::fmt;

use bson::{Document, Timestamp};

use crate::outcome::Tally;

pub use document_key::{DocumentKey, raw_id};
pub(crate) use document_key::{document_id, of_document_id, single};

/// The name of a lane: `kafka/<topic>/<partition>` or `mongodb/<database>.<collection>`. It names the
/// stream itself, never a consumer group or a server, so that changing those cannot count anything twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(String);

impl LaneId {
    /// The lane of one Kafka partition.
    #[must_use]
    pub fn kafka(topic: &str, partition: i32) -> Self {
        Self(format!("kafka/{topic}/{partition}"))
    }

    /// The lane of the change stream of one collection.
    #[must_use]
    pub fn change_stream(database: &str, collection: &str) -> Self {
        Self(format!("mongodb/{database}.{collection}"))
    }

    /// A lane by its stored name.
    #[must_use]
    pub fn from_stored(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The stored name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of source that the lane belongs to: `kafka` or `mongodb`.
    #[must_use]
    pub fn source(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far the documents that were there before the stream have been taken in.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Backfill {
    /// Not begun: no document is counted yet.
    #[default]
    Pending,
    /// Every document with an `_id` up to and including this one is counted; those above are left to the
    /// scan, live inserts too.
    UpTo(DocumentKey),
    /// All documents are taken in: the stream alone counts.
    Done,
}

/// The position in a lane: where reading goes on. It is stored in the transaction that counts what lies
/// before it, and nowhere else.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// A place in a Kafka partition.
    Offset {
        /// The offset of the first record that is not done whole.
        next: i64,
        /// How many of its events are done: none, unless it holds several.
        index: u32,
    },
    /// The resume token of a change stream, and how far the scan of the history is.
    Stream {
        /// Opaque to us, stored as the server gave it.
        token: Document,
        /// What follows the token directly is larger than the server can deliver, and has its letter already: reading
        /// goes on behind it.
        is_past: bool,
        /// How far the history is taken in.
        backfill: Backfill,
    },
}

impl Position {
    /// Before all events of the record at this offset.
    #[must_use]
    pub const fn offset(next: i64) -> Self {
        Position::Offset { next, index: 0 }
    }
}

/// Names a document of a lane's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct JournalId {
    /// Of the lane: raised whenever it begins again below its position, or elsewhere.
    pub generation: i64,
    /// The commit that wrote it, the last of those that are in it.
    pub seq: i64,
}

/// The newest document of a lane's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalHead {
    /// Which.
    pub id: JournalId,
    /// The content of its last commit.
    pub content: ContentId,
}

/// The fence of a lane as it was acquired: who may write, and from where.
#[derive(Debug, Clone, PartialEq)]
pub struct Fence {
    /// Counts owners. A commit under an older epoch matches nothing.
    pub epoch: i64,
    /// Counts commits. A commit moves it from exactly `seq` to `seq + 1`.
    pub seq: i64,
    /// Where to go on, or `None` before the first commit.
    pub position: Option<Position>,
    /// The last record that was done (Kafka): to tell a topic that was recreated.
    pub last: Option<LastRecord>,
    /// Raised whenever the lane begins again below its position, or elsewhere.
    pub generation: i64,
    /// The newest document of its journal; `None`: there is none.
    pub journal: Option<JournalHead>,
    /// Up to where its documents are merged.
    pub merged_up_to: JournalId,
    /// What became of all its records.
    pub tally: Tally,
    /// The collection may have ended, however often, up to this time (change stream): a person said so.
    pub ends_accepted_until: Option<Timestamp>,
}

/// What identifies the last record done in a Kafka partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds.
    pub timestamp_ms: i64,
    /// A hash of its key and value.
    pub hash: i64,
}

/// Names one content that is committed: random, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentId(pub i64);

/// Where a stored fence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Counts owners.
    pub epoch: i64,
    /// Counts commits.
    pub seq: i64,
    /// The content that was committed last; `None` before the first.
    pub content: Option<ContentId>,
}

/// What a commit would write is written if its fence still is at (`epoch`, `seq`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceMove {
    /// The lane.
    pub lane: LaneId,
    /// Our epoch.
    pub epoch: i64,
    /// The sequence number before the commit.
    pub seq: i64,
}

/// What the stored fences say about a commit whose outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It was applied, for every lane in it.
    Applied,
    /// It was not applied (or not yet): the same content may be tried again.
    NotApplied,
    /// These lanes belong to somebody else by now; it was not applied for the others.
    Lost(Vec<LaneId>),
}

/// Reads the outcome of a commit off the stored fences, by majority.
///
/// | stored epoch | stored seq | stored content | meaning |
/// |---|---|---|---|
/// | ours | `seq + 1` | this | applied, for every lane of the transaction |
/// | ours | `seq` | any | not applied |
/// | another, or no fence | any | any | the lane is lost; what the other lanes say decides for them |
/// | ours | anything else, or `seq + 1` with another content | | somebody wrote under our epoch: the lane is lost |
#[must_use]
pub fn resolve(
    moves: &[FenceMove],
    content: ContentId,
    stored: impl Fn(&LaneId) -> Option<Standing>,
) -> Resolution {
    let mut lost = Vec::new();
    for expected in moves {
        let standing = stored(&expected.lane).filter(|standing| standing.epoch == expected.epoch);
        match standing {
            Some(standing) if standing.seq == expected.seq + 1 && standing.content == Some(content) => {
                return Resolution::Applied;
            }
            Some(standing) if standing.seq == expected.seq => {}
            _ => lost.push(expected.lane.clone()),
        }
    }
    if lost.is_empty() {
        Resolution::NotApplied
    } else {
        Resolution::Lost(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves() -> Vec<FenceMove> {
        ["a", "b"]
            .map(|lane| FenceMove {
                lane: LaneId::from_stored(lane),
                epoch: 3,
                seq: 7,
            })
            .into()
    }

    const CONTENT: ContentId = ContentId(42);

    fn resolved(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Resolution {
        resolved_with(Some(CONTENT), a, b)
    }

    fn resolved_with(content: Option<ContentId>, a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Resolution {
        resolve(&moves(), CONTENT, |lane| {
            let (epoch, seq) = if lane.as_str() == "a" { a } else { b }?;
            Some(Standing { epoch, seq, content })
        })
    }

    #[test]
    fn one_test_per_row_of_the_truth_table() {
        let lost =
            |names: &[&str]| Resolution::Lost(names.iter().map(|name| LaneId::from_stored(*name)).collect());
        assert_eq!(resolved(Some((3, 8)), Some((3, 8))), Resolution::Applied);
        assert_eq!(resolved(Some((3, 7)), Some((3, 7))), Resolution::NotApplied);
        assert_eq!(resolved(Some((4, 7)), Some((3, 7))), lost(&["a"]));
        // A lane taken over after the commit was applied: the other lane proves that it was.
        assert_eq!(resolved(Some((4, 9)), Some((3, 8))), Resolution::Applied);
        assert_eq!(resolved(Some((4, 8)), None), lost(&["a", "b"]));
        assert_eq!(resolved(Some((3, 9)), Some((3, 7))), lost(&["a"]));
        assert_eq!(resolved(Some((3, 6)), Some((3, 7))), lost(&["a"]));
        // Another content under our epoch.
        let other = Some(ContentId(7));
        assert_eq!(resolved_with(other, Some((3, 8)), Some((3, 7))), lost(&["a"]));
        assert_eq!(
            resolved_with(other, Some((3, 7)), Some((3, 7))),
            Resolution::NotApplied
        );
        assert_eq!(resolved_with(None, Some((3, 8)), Some((3, 8))), lost(&["a", "b"]));
    }
}
