//! Documents of the journal: what one commit counted of a lane, or several that were merged.
//!
//! | | a document of one commit | a merged one |
//! |---|---|---|
//! | id | that of the commit | that of its last commit |
//! | previous | the content before its first commit | |
//! | commits | one | each of them, in order |
//! | position, last record, tally | after its last commit | |
//!
//! Merging changes neither what was counted nor which ids are known, only how many documents hold it.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::event::Dimensions;
use rollup::journal::{Damaged, Entry, Journal, Packed, Packer, Row, RowRef};
use rollup::period::{Granularity, Period};

use crate::dedupe::Generation;
use crate::identity::{CountedId, Quantities};
use crate::lane::{ContentId, JournalHead, JournalId, LastRecord, Position};
use crate::ledger::{LaneCommit, Tally};

/// How far the clock of an emitter may be ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// How many windows of ids there are: of events, of scanned and of deleted documents, in stored order.
pub const WINDOWS: usize = 3;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its last commit.
    pub id: JournalId,
    /// How often it was changed since it was written.
    pub edit: i64,
    /// The content before its first commit; `None`: it begins the journal.
    pub previous: Option<ContentId>,
    /// What is in it, commit by commit.
    pub commits: Vec<Boundary>,
    /// Where reading went on after it, where that moved.
    pub position: Option<Position>,
    /// The last record before that.
    pub last: Option<LastRecord>,
    /// What had become of all records of the lane.
    pub tally: Tally,
    /// What was counted.
    pub entries: Packed,
    /// The ids of each window, one commit after the other.
    pub ids: [Vec<CountedId>; WINDOWS],
    /// The version of the quantities beside them.
    pub quantities: i32,
}

/// The part of one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// Which.
    pub seq: i64,
    /// Its content.
    pub content: ContentId,
    /// The clock when it was built.
    pub at: DateTime<Utc>,
    /// How many entries it has.
    pub entries: usize,
    /// How many ids of each window.
    pub ids: [usize; WINDOWS],
    /// The newest source time (ms) of these; `None`: it has none.
    pub newest_ms: [Option<i64>; WINDOWS],
}

impl Document {
    /// That of a commit and lane; `None`: it judged nothing.
    #[must_use]
    pub fn of(lane: &LaneCommit, content: ContentId, at: DateTime<Utc>) -> Option<Self> {
        let journal = lane.journal.as_ref()?;
        let windows = [&lane.events, &lane.scanned, &lane.deleted].map(|window| &window.ids);
        let boundary = Boundary {
            seq: journal.id.seq,
            content,
            at,
            entries: journal.entries.entries,
            ids: windows.map(|window| window.ids.len()),
            newest_ms: windows.map(|window| (!window.ids.is_empty()).then_some(window.newest_ms)),
        };
        Some(Self {
            id: journal.id,
            edit: 0,
            previous: journal.previous.map(|head| head.content),
            commits: vec![boundary],
            position: lane.position.clone(),
            last: lane.last,
            tally: journal.tally,
            entries: journal.entries.clone(),
            ids: windows.map(|window| window.ids.clone()),
            quantities: Quantities::VERSION,
        })
    }

    /// What the next one, or the fence, calls it; `None`: it has no commit, and is damaged.
    #[must_use]
    pub fn head(&self) -> Option<JournalHead> {
        let last = self.commits.last()?;
        Some(JournalHead {
            id: self.id,
            content: last.content,
        })
    }

    /// From when on it is kept: the later of the clock and the greatest completion less five minutes. However wrong a
    /// clock was, a document is there for as long as its entries are asked for.
    #[must_use]
    pub fn kept_from(&self) -> DateTime<Utc> {
        let greatest = self.entries.completed_ms.and_then(|(_, greatest)| {
            DateTime::from_timestamp_millis(greatest.saturating_sub(AHEAD.num_milliseconds()))
        });
        let clock = self.commits.iter().map(|commit| commit.at);
        clock.chain(greatest).max().unwrap_or_default()
    }

    /// The ids of a window, commit by commit; `None`: they are not those of its commits.
    #[must_use]
    pub fn generations(&self, window: usize) -> Option<Vec<Generation>> {
        let mut ids = self.ids[window].as_slice();
        let mut generations = Vec::new();
        for commit in &self.commits {
            let (own, rest) = ids.split_at_checked(commit.ids[window])?;
            ids = rest;
            if !own.is_empty() {
                generations.push(Generation {
                    newest_ms: commit.newest_ms[window]?,
                    written: JournalId {
                        seq: commit.seq,
                        ..self.id
                    },
                    ids: own.to_vec(),
                });
            }
        }
        ids.is_empty().then_some(generations)
    }
}

/// What a commit of a lane does to the documents that it finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// The last document that is done: what lies before it is not looked at again.
    pub up_to: JournalId,
    /// Documents that go, and how often each was edited: each must be as it was read.
    pub replaced: Vec<(JournalId, i64)>,
    /// The one that takes their place.
    pub merged: Option<Document>,
}

impl Merge {
    /// These become that one.
    #[must_use]
    pub fn of(documents: &[Document], merged: Document) -> Self {
        Self {
            up_to: merged.id,
            replaced: documents
                .iter()
                .map(|document| (document.id, document.edit))
                .collect(),
            merged: Some(merged),
        }
    }

    /// Everything up to this one stays as it is.
    #[must_use]
    pub fn past(document: &Document) -> Self {
        Self {
            up_to: document.id,
            replaced: Vec::new(),
            merged: None,
        }
    }
}

/// One document that says what these say; `None`: they do not fit into one, since another version of the program wrote
/// some of them, a lane began again between them, or what was between two of them is missing: that must not be hidden.
///
/// # Errors
/// When the entries of one are damaged.
pub fn merge(documents: &[Document]) -> Result<Option<Document>, Damaged> {
    let (Some(first), Some(last)) = (documents.first(), documents.last()) else {
        return Ok(None);
    };
    let is_alike = |document: &Document| {
        (document.quantities, document.id.generation) == (first.quantities, first.id.generation)
    };
    let follows = |pair: &[Document]| {
        let content = pair[0].head().map(|head| head.content);
        content.is_some() && pair[1].previous == content
    };
    if !documents.iter().all(is_alike) || !documents.windows(2).all(follows) {
        return Ok(None);
    }
    let mut merged = Merged::default();
    let mut commits = 0;
    for document in documents {
        if !merged.add(&document.entries, commits)? {
            return Ok(None);
        }
        commits += u32::try_from(document.commits.len()).unwrap_or(u32::MAX);
    }
    let positions = documents.iter().rev();
    let ids = |window: usize| documents.iter().flat_map(move |document| &document.ids[window]);
    Ok(Some(Document {
        id: last.id,
        edit: 0,
        previous: first.previous,
        commits: documents
            .iter()
            .flat_map(|document| document.commits.clone())
            .collect(),
        position: positions.clone().find_map(|document| document.position.clone()),
        last: positions.clone().find_map(|document| document.last),
        tally: last.tally,
        entries: merged.pack(),
        ids: std::array::from_fn(|window| ids(window).copied().collect()),
        quantities: first.quantities,
    }))
}

/// The entries of several documents, with each row once.
#[derive(Default)]
struct Merged {
    granularity: Option<Granularity>,
    packer: Packer,
    rows: Vec<Row>,
    index: HashMap<(Period, Dimensions<Box<str>>), usize>,
}

impl Merged {
    /// Takes in the entries of the next document, which come behind so many commits. Whether they are of the same
    /// granularity as the others.
    fn add(&mut self, packed: &Packed, commits: u32) -> Result<bool, Damaged> {
        if packed.entries == 0 {
            return Ok(true);
        }
        let journal = Journal::open(&packed.bytes)?;
        if *self.granularity.get_or_insert(journal.granularity()) != journal.granularity() {
            return Ok(false);
        }
        for (organization, _) in journal.organizations() {
            let (rows, entries) = journal.of(organization)?;
            let rows: Vec<usize> = rows.into_iter().map(|row| self.row(row)).collect();
            for entry in entries {
                self.packer.push(&Entry {
                    commit: commits + entry.commit,
                    row: rows[entry.row],
                    ..entry
                });
            }
        }
        Ok(true)
    }

    fn row(&mut self, row: Row) -> usize {
        let next = self.rows.len();
        let at = *self
            .index
            .entry((row.period, row.dimensions.clone()))
            .or_insert(next);
        if at == next {
            self.rows.push(row);
        }
        at
    }

    fn pack(&self) -> Packed {
        let rows: Vec<RowRef<'_>> = self
            .rows
            .iter()
            .map(|row| (row.period, &row.dimensions))
            .collect();
        self.packer
            .pack(self.granularity.unwrap_or(Granularity::Daily), &rows)
    }
}

#[cfg(test)]
mod tests;
