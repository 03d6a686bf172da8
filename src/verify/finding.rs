//! What is found: anything that is not what it must be.

use ingest::lane::{JournalId, LaneId};
use rollup::audit::compare::{Difference, Value};
use rollup::audit::key::{Row, Table};

use crate::store::{DEAD_LETTERS, FENCES, JOURNAL, LEDGER, ROLLUPS};

/// One thing that is not what it must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The collection.
    pub collection: &'static str,
    /// The document.
    pub id: String,
    /// Whose it is, where it is anybody's.
    pub organization: Option<String>,
    /// Its period, where it has one.
    pub period: Option<String>,
    /// The counter or field.
    pub counter: String,
    /// As it is.
    pub stored: Value,
    /// As it must be.
    pub expected: Value,
}

impl Finding {
    /// Everything that is wrong with a row.
    pub fn of_row(difference: &Difference) -> impl Iterator<Item = Self> {
        let collection = match difference.key.table {
            Table::Ledger => LEDGER,
            Table::Rollups => ROLLUPS,
        };
        let row = difference.row.clone();
        let id = difference.key.id.to_string();
        difference.faults().into_iter().map(move |fault| Self {
            collection,
            id: id.clone(),
            organization: row.as_ref().map(|row| row.organization().to_owned()),
            period: row.as_ref().map(Row::period).map(|period| period.to_string()),
            counter: fault.name.to_owned(),
            stored: fault.stored,
            expected: fault.expected,
        })
    }

    /// Something of a document of the journal.
    #[must_use]
    pub fn of_document(lane: &LaneId, id: JournalId, what: &str, stored: Value, expected: Value) -> Self {
        let JournalId { generation, seq } = id;
        Self::of(
            JOURNAL,
            format!("{lane}/{generation}/{seq}"),
            what,
            stored,
            expected,
        )
    }

    /// Something of a fence.
    #[must_use]
    pub fn of_fence(lane: &LaneId, what: &str, stored: Value, expected: Value) -> Self {
        Self::of(FENCES, lane.to_string(), what, stored, expected)
    }

    /// The number of letters of a lane.
    #[must_use]
    pub fn of_letters(lane: &LaneId, stored: i64, expected: i64) -> Self {
        let [stored, expected] = [stored, expected].map(|number| Value::Number(number.into()));
        Self::of(DEAD_LETTERS, lane.to_string(), "letters", stored, expected)
    }

    fn of(collection: &'static str, id: String, what: &str, stored: Value, expected: Value) -> Self {
        Self {
            collection,
            id,
            organization: None,
            period: None,
            counter: what.to_owned(),
            stored,
            expected,
        }
    }
}
