//! One commit, as the limit sees it.

use std::time::Duration;

/// What an applied commit cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Its statements.
    pub(crate) statements: usize,
    /// Its records.
    pub(crate) records: usize,
    /// The attempt that was applied.
    pub(crate) took: Duration,
    /// The same with the attempts before it that were not.
    pub(crate) in_all: Duration,
}

#[allow(clippy::cast_precision_loss, reason = "statements of one transaction")]
pub(super) fn count(statements: usize) -> f64 {
    statements as f64
}
