//! What metrics tell of the comparisons that are made beside a worker.

use ingest::metrics::Maker;
use prometheus::core::{AtomicF64, AtomicI64};
use prometheus::{Histogram, IntCounterVec, Registry};

use crate::known::Known;
use crate::store::Verified;

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every row is what its entries say.
    Clean,
    /// Something is not.
    Drift,
    /// It did not come to its end.
    Failed,
}

impl Outcome {
    const ALL: [Outcome; 3] = [Outcome::Clean, Outcome::Drift, Outcome::Failed];

    const fn name(self) -> &'static str {
        match self {
            Outcome::Clean => "clean",
            Outcome::Drift => "drift",
            Outcome::Failed => "failed",
        }
    }
}

/// The metrics. Every worker shows the same gauges.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    drift: Known<AtomicI64>,
    last_success: Known<AtomicF64>,
    runs: IntCounterVec,
    seconds: Histogram,
}

impl Gauges {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let made = Maker::new(registry);
        let runs = made.counters(
            "verify_runs_total",
            "Comparisons of rows with their entries that this worker made by `USAGE_LEDGER_VERIFY_EVERY`: `clean`, `drift` \
             (something is not what it must be), or `failed` (tried again)",
            &["outcome"],
        )?;
        for outcome in Outcome::ALL {
            runs.with_label_values(&[outcome.name()]);
        }
        Ok(Self {
            drift: Known::register(
                registry,
                "usage_ledger_verify_drift_rows",
                "Rows, and documents of journal, fences and letters, that were not what they must be at the last comparison \
                 that came to its end. Every worker gives the same number, and none before there was one",
            )?,
            last_success: Known::register(
                registry,
                "usage_ledger_verify_last_success_timestamp_seconds",
                "When the last comparison ended that found every row to be the sum of its entries. Every worker gives the \
                 same time, and none before there was one",
            )?,
            runs,
            seconds: made.histogram(
                "verify_duration_seconds",
                "How long comparisons took that came to their end, with their rests",
                prometheus::exponential_buckets(1.0, 4.0, 8)?,
            )?,
        })
    }

    /// What is known now.
    pub(crate) fn show(&self, verified: Option<&Verified>) {
        let drift = verified.map(|verified| i64::try_from(verified.differences).unwrap_or(i64::MAX));
        self.drift.set(drift);
        let clean_at = verified.and_then(|verified| verified.clean_at);
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 are exact in 53 bits"
        )]
        self.last_success
            .set(clean_at.map(|at| at.timestamp_millis() as f64 / 1_000.0));
    }

    /// A comparison ended like this.
    pub(crate) fn ended(&self, outcome: Outcome) {
        self.runs.with_label_values(&[outcome.name()]).inc();
    }

    /// One came to its end, and took so long.
    pub(crate) fn took(&self, time: std::time::Duration) {
        self.seconds.observe(time.as_secs_f64());
    }
}
