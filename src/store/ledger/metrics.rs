//! Commits as the store sees them: where their time goes, and why attempts break off.

use ingest::metrics::Maker;
use ingest::server_error::Act;
use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::phases::{Phase, Stopwatch};
use super::transaction::AttemptError;

/// The metrics of transactions. Clones share them.
#[derive(Debug, Clone)]
pub struct CommitMetrics {
    phases: HistogramVec,
    aborts: IntCounterVec,
}

/// Why attempts break off, as the metrics' label has it.
const REASONS: [&str; 12] = [
    "fenced",
    "outdated",
    "duplicate_ids",
    "row_exists",
    "conflict",
    "ended",
    "too_much",
    "bad_record",
    "overflow",
    "away",
    "lane_lost",
    "refused",
];

/// The one of [`REASONS`].
const fn reason(broken: &AttemptError) -> &'static str {
    match broken {
        AttemptError::Fenced => "fenced",
        AttemptError::Outdated(_) => "outdated",
        AttemptError::DuplicateIds => "duplicate_ids",
        AttemptError::RowExists => "row_exists",
        AttemptError::Failed(fault) => match fault.act {
            Act::RetrySame => "conflict",
            Act::RetryWhole => "ended",
            Act::TakeLess => "too_much",
            Act::BadRecord => "bad_record",
            Act::Overflow => "overflow",
            Act::Wait => "away",
            Act::LaneLost => "lane_lost",
            Act::Person(_) => "refused",
        },
    }
}

impl CommitMetrics {
    /// Registers them, every series at zero.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let made = Maker::new(registry);
        let metrics = Self {
            phases: made.histograms(
                "commit_phase_seconds",
                "Time of an attempt to commit a batch, by what was done; all phases together take as long as \
                 `usage_ledger_commit_duration_seconds`",
                &["phase"],
                prometheus::exponential_buckets(0.001, 4.0, 8)?,
            )?,
            aborts: made.counters(
                "commit_aborts_total",
                "Transactions that broke off, or whose outcome did not come back, by reason; most are tried again at once, \
                 within the same attempt of `usage_ledger_commits_total`",
                &["reason"],
            )?,
        };
        for phase in Phase::ALL {
            metrics.phases.with_label_values(&[phase.name()]);
        }
        for reason in REASONS {
            metrics.aborts.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// An attempt at a commit begins.
    pub(super) fn begin(&self) -> Timed {
        Timed {
            watch: Stopwatch::start(Phase::Prepare),
            phases: self.phases.clone(),
        }
    }

    pub(super) fn aborted(&self, broken: &AttemptError) {
        self.aborts.with_label_values(&[reason(broken)]).inc();
    }
}

/// An attempt that is timed until this is dropped, also where nobody waits for it any more.
pub(super) struct Timed {
    pub(super) watch: Stopwatch,
    phases: HistogramVec,
}

impl Drop for Timed {
    fn drop(&mut self) {
        for (phase, time) in Phase::ALL.into_iter().zip(self.watch.times()) {
            if !time.is_zero() {
                self.phases
                    .with_label_values(&[phase.name()])
                    .observe(time.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ingest::lane::LaneId;
    use ingest::ledger::Refusal;
    use ingest::server_error::Fault;

    use super::*;

    #[test]
    fn every_reason_is_one_of_the_list_and_the_list_has_no_other() {
        let failed = |act| {
            AttemptError::Failed(Fault {
                act,
                ..Fault::wait("")
            })
        };
        let all = [
            AttemptError::Fenced,
            AttemptError::Outdated(LaneId::kafka("t", 0)),
            AttemptError::DuplicateIds,
            AttemptError::RowExists,
            failed(Act::RetrySame),
            failed(Act::RetryWhole),
            failed(Act::TakeLess),
            failed(Act::BadRecord),
            failed(Act::Overflow),
            failed(Act::Wait),
            failed(Act::LaneLost),
            failed(Act::Person(Refusal::NotAuthorized)),
        ];
        assert_eq!(all.each_ref().map(reason), REASONS);
    }
}
