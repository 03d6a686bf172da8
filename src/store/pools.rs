//! How long operations wait for a connection, as the driver tells of its pools.

use ingest::metrics::Maker;
use mongodb::event::EventHandler;
use mongodb::event::cmap::{CmapEvent, ConnectionCheckoutFailedReason};
use prometheus::core::Collector;
use prometheus::{HistogramVec, IntCounterVec, Registry};

/// A pool of connections: who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// The change stream, and all that has none of its own.
    Main,
    /// The one transaction.
    Commits,
    /// Leases, and what ends a transaction that was given up.
    Leases,
    /// The reader's questions.
    Reader,
    /// Readiness.
    Readiness,
}

impl Pool {
    const ALL: [Pool; 5] = [
        Pool::Main,
        Pool::Commits,
        Pool::Leases,
        Pool::Reader,
        Pool::Readiness,
    ];

    const fn name(self) -> &'static str {
        match self {
            Pool::Main => "main",
            Pool::Commits => "commits",
            Pool::Leases => "leases",
            Pool::Reader => "reader",
            Pool::Readiness => "readiness",
        }
    }
}

/// Why an operation got no connection, as the metrics' label has it.
const TIMEOUT: &str = "timeout";
const CONNECTION_ERROR: &str = "connection_error";

/// The waits for connections of all pools. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct PoolWaits {
    seconds: HistogramVec,
    failures: IntCounterVec,
}

impl PoolWaits {
    /// Nothing is shown of them before they are registered: not every command has a port for it.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let hidden = Registry::new();
        let made = Maker::new(&hidden);
        let waits = Self {
            seconds: made.histograms(
                "mongodb_pool_wait_seconds",
                "Time that an operation on MongoDB waited for a connection, by who uses the pool",
                &["pool"],
                prometheus::exponential_buckets(0.000_1, 10.0, 6)?,
            )?,
            failures: made.counters(
                "mongodb_pool_failures_total",
                "Operations on MongoDB that got no connection, by who uses the pool and why",
                &["pool", "reason"],
            )?,
        };
        for pool in Pool::ALL {
            waits.seconds.with_label_values(&[pool.name()]);
            for reason in [TIMEOUT, CONNECTION_ERROR] {
                waits.failures.with_label_values(&[pool.name(), reason]);
            }
        }
        Ok(waits)
    }

    /// Shows them.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 2] = [Box::new(self.seconds.clone()), Box::new(self.failures.clone())];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }

    /// Listens to the driver on behalf of a pool.
    pub(super) fn listener(&self, pool: Pool) -> EventHandler<CmapEvent> {
        let seconds = self.seconds.with_label_values(&[pool.name()]);
        let failures = |reason| self.failures.with_label_values(&[pool.name(), reason]);
        let (timeouts, errors) = (failures(TIMEOUT), failures(CONNECTION_ERROR));
        EventHandler::callback(move |event| match event {
            CmapEvent::ConnectionCheckedOut(out) => seconds.observe(out.duration.as_secs_f64()),
            CmapEvent::ConnectionCheckoutFailed(failed) => match failed.reason {
                ConnectionCheckoutFailedReason::Timeout => timeouts.inc(),
                _ => errors.inc(),
            },
            _ => {}
        })
    }
}
