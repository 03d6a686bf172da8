//! `usageDedupe`: the ids of a lane's windows, a document for each commit that adds some.

use ingest::dedupe::{Generation, Remember};
use ingest::identity::{CountedId, Quantities};
use ingest::lane::LaneId;
use ingest::ledger::LaneCommit;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use serde::Deserialize;

/// The windows of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum WindowName {
    Events,
    Scanned,
    Deleted,
}

impl WindowName {
    const fn name(self) -> &'static str {
        match self {
            WindowName::Events => "events",
            WindowName::Scanned => "scanned",
            WindowName::Deleted => "deleted",
        }
    }
}

/// What one commit added to a window.
#[derive(Debug, Deserialize)]
pub(super) struct StoredIds {
    pub(super) window: WindowName,
    newest: DateTime,
    ids: Binary,
    /// The version of their quantities.
    quantities: i32,
}

impl StoredIds {
    /// The ids as the window takes them; `None`: they are damaged.
    pub(super) fn generation(&self) -> Option<Generation> {
        Some(Generation {
            newest_ms: self.newest.timestamp_millis(),
            ids: CountedId::unpack(&self.ids.bytes, self.quantities)?,
        })
    }
}

/// The windows of a lane and what a commit does to each.
pub(super) fn changes(lane: &LaneCommit) -> [(WindowName, &Remember); 3] {
    [
        (WindowName::Events, &lane.events),
        (WindowName::Scanned, &lane.scanned),
        (WindowName::Deleted, &lane.deleted),
    ]
}

/// The ids that a commit adds to a window; `None`: it adds none.
pub(super) fn added(lane: &LaneCommit, window: WindowName, remember: &Remember) -> Option<Document> {
    if remember.ids.ids.is_empty() {
        return None;
    }
    let (id, seq) = (&lane.fence.lane, lane.fence.seq);
    Some(doc! {
        "_id": format!("{id}/{}/{seq}", window.name()),
        "lane": id.as_str(),
        "window": window.name(),
        "seq": seq,
        "newest": DateTime::from_millis(remember.ids.newest_ms),
        "ids": Binary { subtype: BinarySubtype::Generic, bytes: CountedId::pack(&remember.ids.ids) },
        "quantities": Quantities::VERSION,
    })
}

/// What leaves a window; `None`: nothing does.
pub(super) fn forgotten(lane: &LaneId, window: WindowName, remember: &Remember) -> Option<Document> {
    let before = DateTime::from_millis(remember.forget_before_ms?);
    Some(doc! {"lane": lane.as_str(), "window": window.name(), "newest": {"$lt": before}})
}

/// The windows of a lane, and in which order they were added to.
pub(super) fn of_lane(lane: &LaneId) -> (Document, Document) {
    (doc! {"lane": lane.as_str()}, doc! {"seq": 1})
}
