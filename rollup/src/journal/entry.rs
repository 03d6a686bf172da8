//! What an entry says.

use crate::counters::Counters;
use crate::event::{Dimensions, Identity};
use crate::period::Period;

/// Why an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// A request was counted.
    Completed,
    /// A correction of one was.
    Corrected,
    /// The document of one was changed.
    Changed,
    /// The document of one was deleted, and its usage taken back.
    Voided,
    /// The balance of a row that was there before the journal.
    Opening,
}

impl Change {
    /// Every kind, in stored order.
    pub const ALL: [Change; 5] = [
        Change::Completed,
        Change::Corrected,
        Change::Changed,
        Change::Voided,
        Change::Opening,
    ];
}

/// Where an event was in its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The offset (Kafka); the cluster time, seconds in the upper 32 bits (change stream). Negative: it has none.
    pub offset: i64,
    /// Which event of its record it was.
    pub index: u32,
}

/// The row of the finest granularity that an entry was booked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The finest period.
    pub period: Period,
    /// Who used what.
    pub dimensions: Dimensions<Box<str>>,
}

/// What one event changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// Which commit counted it, of those that are packed together: from 0.
    pub commit: u32,
    /// Why.
    pub change: Change,
    /// Where it was in its lane.
    pub place: Place,
    /// When its request completed, in milliseconds.
    pub completed_at_ms: i64,
    /// Its row, an index of those beside it.
    pub row: usize,
    /// What was added to the row.
    pub counters: Counters,
    /// What it is known by.
    pub id: Identity<'a>,
}
