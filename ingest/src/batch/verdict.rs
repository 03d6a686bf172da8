//! What was judged, and the verdict on it.

use rollup::counters::Counter;
use rollup::event::{Event, Reject, UNATTRIBUTED};

use super::age::Age;
use crate::decode::{Keep, Name, Payload, Source};
use crate::dedupe::{RejectedIdState, Scope, Windows};
use crate::identity::{CountedId, Identity, IdentityHash, Quantities};
use crate::lane::Position;
use crate::ledger::ShownIds;
use crate::outcome::Outcome;
use crate::source::Record;
use rollup::journal::Place;

/// What is not known of an event that was counted, or not as exactly as it was stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gaps {
    /// Nobody knows what it cost.
    pub is_unpriced: bool,
    /// Nobody knows how much was used.
    pub is_unmetered: bool,
    /// No agent is named.
    pub is_unattributed: bool,
    /// Its cost had more decimals than are kept.
    pub is_rounded: bool,
}

impl Gaps {
    pub(super) fn of(event: &Event<'_>) -> Self {
        Self {
            is_unpriced: event.counters[Counter::UnpricedRequests] > 0,
            is_unmetered: event.counters[Counter::UnmeteredRequests] > 0,
            is_unattributed: event.dimensions.agent == UNATTRIBUTED,
            is_rounded: event.is_cost_rounded,
        }
    }
}

/// The verdict on a record, with what a commit needs of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Counted {
        identity: Identity,
        quantities: Quantities,
        /// Dead letters are open under the identity.
        closes: bool,
        /// How old it was, where it completed before the window began.
        late: Option<Age>,
        /// What is not known of it.
        gaps: Gaps,
    },
    Duplicate,
    Skipped,
    DeadLetter {
        reject: Reject,
        identity: Option<Identity>,
        /// The document, whatever its event is known by.
        document: Option<IdentityHash>,
        /// The ids as people know them.
        names: ShownIds,
        /// What is known of the identity.
        known: RejectedIdState,
        /// How the record is kept.
        keep: Keep,
    },
}

impl Verdict {
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Verdict::Counted { .. } => Outcome::Counted,
            Verdict::Duplicate => Outcome::Duplicate,
            Verdict::Skipped => Outcome::Skipped,
            Verdict::DeadLetter { .. } => Outcome::DeadLetter,
        }
    }
}

/// Where what was judged comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// It was read.
    Record(Record),
    /// A person wants a dead letter judged again: the lane's position does not move.
    DeadLetter {
        place: String,
        payload: Payload,
        /// When it was judged again, in milliseconds.
        at_ms: i64,
    },
}

impl Origin {
    pub(super) const fn payload(&self) -> &Payload {
        match self {
            Origin::Record(record) => &record.payload,
            Origin::DeadLetter { payload, .. } => payload,
        }
    }

    pub(super) const fn record(&self) -> Option<&Record> {
        match self {
            Origin::Record(record) => Some(record),
            Origin::DeadLetter { .. } => None,
        }
    }

    /// The same for the journal.
    pub(super) fn place_in_journal(&self) -> Place {
        match self {
            Origin::Record(record) => place_in_journal(record),
            Origin::DeadLetter { place, .. } => place_of_letter(place),
        }
    }

    /// The time by which an id is remembered: that of the source. A letter's is long past.
    pub(super) const fn remembered_ms(&self) -> i64 {
        match self {
            Origin::Record(record) => record.source_time_ms,
            Origin::DeadLetter { at_ms, .. } => *at_ms,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) origin: Origin,
    pub(super) source: Source,
    pub(super) verdict: Verdict,
    /// The document, where the history scan found it.
    pub(super) scanned: Option<IdentityHash>,
    /// The document, where it was deleted after it was counted.
    pub(super) deleted: Option<CountedId>,
}

impl Entry {
    /// Statements that a commit has for it, beside those of its rows.
    pub(super) fn statements(&self, scope: Scope) -> usize {
        let replayed = usize::from(self.origin.record().is_none());
        let own = match &self.verdict {
            Verdict::Counted { identity, closes, .. } => {
                let is_unique = scope == Scope::Ledger && matches!(identity, Identity::Event(_));
                usize::from(is_unique) + usize::from(*closes)
            }
            Verdict::DeadLetter { .. } => 1,
            Verdict::Duplicate | Verdict::Skipped => 0,
        };
        own.max(replayed)
    }
}

/// A record is rejected: what is known of its id is noted.
pub(super) fn reject_as(
    reject: Reject,
    payload: &Payload,
    name: &Name<'_>,
    windows: &mut Windows,
) -> Verdict {
    let (identity, document) = (name.identity(), name.document());
    Verdict::DeadLetter {
        reject,
        known: windows.reject(identity, document),
        identity,
        document,
        names: ShownIds::of(name),
        keep: Keep::of(payload),
    }
}

/// A place that is none.
const NOWHERE: Place = Place { offset: -1, index: 0 };

/// Where a record was in its lane, as a number.
pub(super) fn place_in_journal(record: &Record) -> Place {
    match &record.next {
        Position::Offset { next, index } => Place {
            offset: next - i64::from(*index == 0),
            index: record.index.unwrap_or(0),
        },
        Position::Stream { .. } => record.payload.cluster_time().map_or(NOWHERE, |time| Place {
            offset: i64::from(time.time) << 32 | i64::from(time.increment),
            index: 0,
        }),
    }
}

/// Where a dead letter was in its lane, as a number.
pub(super) fn place_of_letter(place: &str) -> Place {
    let (offset, index) = place.split_once('.').unwrap_or((place, "0"));
    match (offset.parse(), index.parse()) {
        (Ok(offset), Ok(index)) => Place { offset, index },
        _ => NOWHERE,
    }
}

/// Where a record was in its lane.
pub(super) fn place(record: &Record) -> String {
    match &record.next {
        Position::Offset { next, index } => {
            let offset = next - i64::from(*index == 0);
            record
                .index
                .map_or(offset.to_string(), |index| format!("{offset}.{index}"))
        }
        Position::Stream { .. } => record.payload.place(),
    }
}
