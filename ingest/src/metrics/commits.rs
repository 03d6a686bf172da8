//! What commits are, cost and write.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGauge};

use super::maker::Maker;
use super::outcome::CommitOutcome;
use crate::dedupe::Scope;
use crate::ledger::{Commit, LaneCommit};

/// The kinds of what a commit writes, as the metrics' label has them.
const KINDS: [&str; 4] = ["ledger", "rollup", "dead_letter", "event_id"];

/// The metrics of commits.
#[derive(Debug, Clone)]
pub(super) struct CommitMetrics {
    attempts: IntCounterVec,
    duration: Histogram,
    events: Histogram,
    statements: Histogram,
    rows_written: IntCounterVec,
    /// Statements that a transaction may have.
    pub(super) limit: IntGauge,
}

impl CommitMetrics {
    pub(super) fn new(made: &Maker<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            attempts: made.counters(
                "commits_total",
                "Attempts to commit a batch, by outcome",
                &["outcome"],
            )?,
            duration: made.histogram(
                "commit_duration_seconds",
                "Time of an attempt to commit a batch",
                prometheus::exponential_buckets(0.002, 2.0, 15)?,
            )?,
            events: made.histogram(
                "commit_events",
                "Records in a committed batch, and dead letters that were judged again",
                prometheus::exponential_buckets(1.0, 4.0, 9)?,
            )?,
            statements: made.histogram(
                "commit_statements",
                "Statements of a committed batch, at most: the sum of `usage_ledger_commit_events` over its sum says how \
                 well events fold, and `usage_ledger_batch_rows_limit` how many there may be",
                prometheus::exponential_buckets(1.0, 4.0, 9)?,
            )?,
            rows_written: made.counters(
                "rows_written_total",
                "Documents that commits wrote: rows of the ledger, rollups, dead letters, and ids that are unique in the \
                 whole ledger; one that several commits add to is written by each",
                &["kind"],
            )?,
            limit: made.int_gauge(
                "batch_rows_limit",
                "Statements that a transaction may have, as learned from what commits cost",
            )?,
        };
        for outcome in CommitOutcome::ALL {
            metrics.attempts.with_label_values(&[outcome.name()]);
        }
        for kind in KINDS {
            metrics.rows_written.with_label_values(&[kind]);
        }
        Ok(metrics)
    }

    pub(super) fn attempt(&self, outcome: CommitOutcome, took: Duration) {
        self.attempts.with_label_values(&[outcome.name()]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// What a commit wrote, of so many records, and whose statements were counted as so many. One that only moves
    /// positions is none of a batch.
    pub(super) fn wrote(&self, commit: &Commit, records: usize, statements: usize) {
        for (kind, count) in KINDS.iter().zip(written(commit)) {
            if count > 0 {
                self.rows_written.with_label_values(&[*kind]).inc_by(count);
            }
        }
        if records > 0 {
            let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            self.events.observe(number(records));
            self.statements.observe(number(statements));
        }
    }
}

/// How many of each of [`KINDS`] a commit writes.
fn written(commit: &Commit) -> [u64; KINDS.len()] {
    let lanes = |count: fn(&LaneCommit) -> usize| commit.lanes.iter().map(count).sum::<usize>();
    let event_ids = match commit.scope {
        // They are remembered in whole generations, and are no documents.
        Scope::Lane => 0,
        Scope::Ledger => lanes(|lane| lane.events.ids.ids.len()),
    };
    [
        commit.delta.ledger.len(),
        commit.delta.rollups.len(),
        lanes(|lane| lane.letters.len()),
        event_ids,
    ]
    .map(|count| count as u64)
}
