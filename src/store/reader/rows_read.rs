//! How many stored rows answers are read from.

use ingest::metrics::Maker;
use prometheus::{IntCounter, IntCounterVec, Registry};

/// The rows of which a reader's questions were answered. Clones share them.
#[derive(Debug, Clone)]
pub struct RowsRead(IntCounterVec);

/// Which rows were read, as the metrics' label has it.
const LEDGER: &str = "ledger";
const ROLLUP: &str = "rollup";

impl RowsRead {
    /// Registers them, every series at zero.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let rows = Maker::new(registry).counters(
            "reader_rows_read_total",
            "Stored rows that answers were read from: rows of the ledger, and rollups; those that MongoDB summed among \
             them. What is remembered is not read again",
            &["kind"],
        )?;
        for kind in [LEDGER, ROLLUP] {
            rows.with_label_values(&[kind]);
        }
        Ok(Self(rows))
    }

    /// Those of one question to the ledger's rows.
    pub(super) fn of_ledger(&self) -> Counting {
        self.of(LEDGER)
    }

    /// Those of one question to rollups.
    pub(super) fn of_rollups(&self) -> Counting {
        self.of(ROLLUP)
    }

    fn of(&self, kind: &str) -> Counting {
        Counting {
            total: self.0.with_label_values(&[kind]),
            rows: 0,
        }
    }
}

/// The rows of one question, told all at once when this is dropped: also by a question that is given up.
pub(super) struct Counting {
    total: IntCounter,
    rows: u64,
}

impl Counting {
    pub(super) const fn add(&mut self, rows: u64) {
        self.rows += rows;
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.total.inc_by(self.rows);
    }
}
