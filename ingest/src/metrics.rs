//! What Prometheus sees of the worker. Labels come from closed sets only: a name that an emitter chooses
//! never becomes one.

mod commits;
mod gaps;
mod lanes;
mod maker;
mod outcome;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Registry};
use rollup::clock::Clock;
use rollup::event::Reason;

use crate::batch::{Age, Gaps};
use crate::decode::Source;
use crate::dedupe::Windows;
use crate::health::Health;
use crate::ledger::{Commit, Outcome, ReplayResult};
use commits::CommitMetrics;
use gaps::GapCounters;
use lanes::LaneStates;
use windows::WindowMetrics;

pub use maker::Maker;
pub use outcome::CommitOutcome;

/// The worker's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    events: IntCounterVec,
    commits: CommitMetrics,
    windows: WindowMetrics,
    /// Lanes that this process owns.
    pub(crate) lanes: IntGauge,
    /// Records that are read and not yet committed.
    pub(crate) pending: IntGauge,
    /// Lanes lost to another process.
    pub(crate) lanes_lost: IntCounter,
    /// Lanes that the source took away.
    pub(crate) lanes_revoked: IntCounter,
    /// Lanes that the source gained since the process started.
    pub(crate) lanes_added: IntCounter,
    gaps: GapCounters,
    replays: IntCounterVec,
    dead_letters: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics. Every series of a closed label set is there from the start, at zero.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(
        registry: &Registry,
        health: Health,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(LaneStates::new(health.clone())?))?;
        registry.register(Box::new(Freshness::new(health, clock)?))?;
        let made = Maker::new(registry);
        let metrics = Self {
            events: made.counters(
                "events_total",
                "Records committed since the process started, by emitting service and result",
                &["source", "result"],
            )?,
            commits: CommitMetrics::new(&made)?,
            windows: WindowMetrics::new(&made)?,
            lanes: made.int_gauge("lanes", "Lanes that this process owns")?,
            pending: made.int_gauge("pending_events", "Records read and not yet committed")?,
            lanes_lost: made.counter("lanes_lost_total", "Lanes that another process took over")?,
            lanes_revoked: made.counter(
                "lanes_revoked_total",
                "Lanes that the source took away, mostly to give them to another process",
            )?,
            lanes_added: made.counter(
                "lanes_added_total",
                "Lanes that the source gained: ids of the keys that moved there are remembered in their former lanes",
            )?,
            gaps: GapCounters::new(&made)?,
            dead_letters: made.counters(
                "dead_letters_total",
                "Records rejected since the process started, by reason",
                &["reason"],
            )?,
            replays: made.counters(
                "dead_letters_replayed_total",
                "Dead letters judged again, by result; `dead_letter`: it stays one",
                &["result"],
            )?,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Makes every series of a closed label set.
    fn begin_at_zero(&self) {
        for source in Source::ALL {
            for outcome in Outcome::ALL {
                self.events.with_label_values(&[source.name(), outcome.name()]);
            }
        }
        for outcome in Outcome::ALL {
            self.replays.with_label_values(&[outcome.name()]);
        }
        for reason in Reason::ALL {
            self.dead_letters.with_label_values(&[reason.code()]);
        }
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        self.dead_letters.with_label_values(&[reason.code()]).inc();
    }

    pub(crate) fn replayed(&self, letters: impl Iterator<Item = ReplayResult>) {
        for letter in letters {
            let outcome = letter.result.unwrap_or(Outcome::DeadLetter);
            self.replays.with_label_values(&[outcome.name()]).inc();
        }
    }

    pub(crate) fn late(&self, ages: impl Iterator<Item = Age>) {
        self.windows.late(ages);
    }

    /// What a commit of so many records and statements wrote.
    pub(crate) fn wrote(&self, commit: &Commit, records: usize, statements: usize) {
        self.commits.wrote(commit, records, statements);
    }

    /// How many statements a transaction may have now.
    pub(crate) fn may_have(&self, statements: usize) {
        self.commits.limit.set(count(statements));
    }

    /// How the windows of all lanes are now; they should be so long.
    pub(crate) fn windows<'a>(&self, windows: impl Iterator<Item = &'a Windows> + Clone, length_ms: i64) {
        self.windows.observe(windows, length_ms);
    }

    pub(crate) fn gaps(&self, events: impl Iterator<Item = Gaps>) {
        self.gaps.add(events);
    }

    pub(crate) fn attempt(&self, outcome: CommitOutcome, took: Duration) {
        self.commits.attempt(outcome, took);
    }

    pub(crate) fn committed(&self, outcomes: impl Iterator<Item = (Source, Outcome)>) {
        let mut counts = [[0_u64; Outcome::ALL.len()]; Source::ALL.len()];
        for (source, outcome) in outcomes {
            counts[source as usize][outcome as usize] += 1;
        }
        for source in Source::ALL {
            for outcome in Outcome::ALL {
                let count = counts[source as usize][outcome as usize];
                if count > 0 {
                    self.events
                        .with_label_values(&[source.name(), outcome.name()])
                        .inc_by(count);
                }
            }
        }
    }
}

/// A number of things as a gauge shows it.
pub(crate) fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

/// How fresh the ledger is. It changes by itself as time goes by, so it is worked out when it is asked for.
struct Freshness {
    health: Health,
    clock: Arc<dyn Clock>,
    began: DateTime<Utc>,
    lag: Gauge,
    as_of: Gauge,
}

impl Freshness {
    fn new(health: Health, clock: Arc<dyn Clock>) -> Result<Self, prometheus::Error> {
        let lag = Gauge::new(
            "usage_ledger_source_lag_seconds",
            "Time since the instant up to which every event that reached the source is counted; while that is unknown, since \
             the process began; not given by a standby",
        )?;
        let as_of = Gauge::new(
            "usage_ledger_data_as_of_timestamp_seconds",
            "The instant up to which every event that reached the source is counted; 0 while unknown",
        )?;
        Ok(Self {
            health,
            began: clock.now(),
            clock,
            lag,
            as_of,
        })
    }
}

impl Collector for Freshness {
    fn desc(&self) -> Vec<&Desc> {
        [self.lag.desc(), self.as_of.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let as_of = self.health.data_as_of_ms();
        self.as_of.set(as_of.map_or(0.0, seconds));
        let mut families = self.as_of.collect();
        // Another process knows how fresh the lanes are that this one waits for.
        if as_of.is_some() || !self.health.is_standby() {
            let since = as_of.unwrap_or_else(|| self.began.timestamp_millis());
            let now_ms = self.clock.now().timestamp_millis();
            self.lag.set(seconds((now_ms - since).max(0)));
            families.extend(self.lag.collect());
        }
        families
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of this century are exact in a double"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::health::LaneHealth;
    use crate::lane::LaneId;

    /// Lesson C6: no label value comes from an event.
    #[test]
    fn c6_labels_come_from_closed_sets() {
        let registry = Registry::new();
        let clock: Arc<dyn Clock> = Arc::new(|| DateTime::<Utc>::UNIX_EPOCH);
        let metrics = Metrics::register(&registry, Health::default(), clock).expect("registers");
        metrics.committed(
            [
                (Source::Other, Outcome::Counted),
                (Source::Other, Outcome::Counted),
            ]
            .into_iter(),
        );
        let families = registry.gather();
        let events = families
            .iter()
            .find(|family| family.name() == "usage_ledger_events_total")
            .expect("there");
        assert_eq!(events.get_metric().len(), Source::ALL.len() * Outcome::ALL.len());
        let free_labels: Vec<_> = families
            .iter()
            .flat_map(|family| family.get_metric())
            .flat_map(|metric| metric.get_label())
            .map(|label| label.name())
            .filter(|name| !["source", "result", "outcome", "reason", "age", "kind", "state"].contains(name))
            .collect();
        assert_eq!(free_labels, Vec::<&str>::new());
        assert!(
            Source::ALL
                .iter()
                .enumerate()
                .all(|(at, source)| *source as usize == at)
        );
        assert!(
            Outcome::ALL
                .iter()
                .enumerate()
                .all(|(at, outcome)| *outcome as usize == at)
        );
    }

    /// While it was NaN no alert on it ever fired.
    #[test]
    fn a_lag_that_is_unknown_grows_from_the_begin_of_the_process() {
        let (registry, health) = (Registry::new(), Health::default());
        let now_ms = Arc::new(AtomicI64::new(1_000_000));
        let time = Arc::clone(&now_ms);
        let clock: Arc<dyn Clock> = Arc::new(move || {
            DateTime::from_timestamp_millis(time.load(Ordering::SeqCst)).expect("an instant")
        });
        Metrics::register(&registry, health.clone(), clock).expect("registers");
        let lag = |at_ms: i64| {
            now_ms.store(at_ms, Ordering::SeqCst);
            let families = registry.gather();
            let lag = families
                .iter()
                .find(|family| family.name() == "usage_ledger_source_lag_seconds")?;
            Some(lag.get_metric()[0].get_gauge().get_value())
        };
        assert_eq!(lag(1_000_000), Some(0.0));
        let lane = LaneId::change_stream("usage", "requestEvents");
        health.lane(&lane, LaneHealth::Acquiring);
        assert_eq!(lag(1_030_500), Some(30.5));
        health.lane(&lane, LaneHealth::Standby);
        assert_eq!(lag(1_040_000), None, "a standby has none");
        health.lane(&lane, LaneHealth::Running);
        health.watermark(&lane, Some(1_039_000));
        assert_eq!(lag(1_040_000), Some(1.0));
        health.watermark(&lane, None);
        assert_eq!(lag(1_040_000), Some(40.0), "unknown again");
    }
}
