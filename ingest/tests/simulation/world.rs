//! Time, settings, and one process of the product around the loop.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::batch::{Limits, Policy};
use ingest::dedupe::Scope;
use ingest::fake::FakeLedger;
use ingest::health::Health;
use ingest::metrics::Metrics;
use ingest::pump::{Error, Pump, Settings};
use ingest::source::{self, Voice};
use prometheus::Registry;
use rollup::clock::Clock;
use rollup::event::Rules;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// 2026-03-02T12:00:00Z: a Monday, the second day of a month.
pub(crate) const START_MS: i64 = 1_772_452_800_000;

/// Virtual time, as the runtime has it.
#[derive(Debug)]
pub(crate) struct VirtualClock(Instant);

impl VirtualClock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        let start = DateTime::from_timestamp_millis(START_MS).expect("an instant");
        start + TimeDelta::from_std(self.0.elapsed()).expect("a short test")
    }
}

/// Runs a test in virtual time: no real time passes, and everything happens in one order.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    fastrand::seed(7);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(test)
}

pub(crate) fn settings() -> Settings {
    Settings {
        limits: Limits {
            max_events: 10_000,
            max_age: Duration::from_millis(250),
            max_bytes: 8 << 20,
            max_rows: 20_000,
            commit_target: Duration::from_secs(1),
        },
        policy: Policy {
            rules: Rules {
                currency: "USD".into(),
                start_at_ms: None,
            },
            max_age: None,
            window: Duration::from_secs(10),
            scope: Scope::Lane,
        },
        max_ids: 100_000,
        letter_keep: None,
        journal_keep: Duration::MAX,
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to stop, and did.
    Drained,
    /// It was killed.
    Killed,
}

/// A process: the loop in a task of its own.
pub(crate) struct Process {
    pub(crate) voice: Voice,
    pub(crate) registry: Registry,
    pub(crate) health: Health,
    stop: CancellationToken,
    polls_left: Arc<AtomicI64>,
    frozen: Frozen,
    task: JoinSet<Ended>,
}

/// Whether a process is frozen, and how it is woken up.
#[derive(Debug, Clone, Default)]
struct Frozen(Arc<Mutex<Freezer>>);

#[derive(Debug, Default)]
struct Freezer {
    is_frozen: bool,
    waker: Option<Waker>,
}

impl Process {
    pub(crate) fn start(
        ledger: FakeLedger,
        clock: &Arc<VirtualClock>,
        settings: Settings,
        channel: usize,
    ) -> Self {
        let (voice, listening) = source::channel(channel);
        let (registry, health) = (Registry::new(), Health::default());
        let shared: Arc<dyn Clock> = Arc::<VirtualClock>::clone(clock);
        let metrics = Metrics::register(&registry, health.clone(), shared).expect("registers");
        let leases = ledger.clone();
        let pump = Pump::new(
            Arc::new(ledger),
            Arc::clone(clock),
            settings,
            metrics,
            health.clone(),
        );
        let (stop, polls_left) = (CancellationToken::new(), Arc::new(AtomicI64::new(i64::MAX)));
        let loop_ends = stop.clone();
        let work = async move {
            tokio::select! {
                ended = pump.run(listening, loop_ends) => ended,
                () = leases.keep_leases() => unreachable!("never ends"),
            }
        };
        let frozen = Frozen::default();
        let mortal = Mortal {
            work: Box::pin(work),
            polls_left: Arc::clone(&polls_left),
            frozen: frozen.clone(),
        };
        let mut task = JoinSet::new();
        task.spawn(mortal);
        Self {
            voice,
            registry,
            health,
            stop,
            polls_left,
            frozen,
            task,
        }
    }

    /// Freezes the process wherever it is, as SIGSTOP would: nothing of it goes on, its leases neither.
    pub(crate) fn freeze(&self) {
        self.frozen.0.lock().expect("no panic").is_frozen = true;
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        let mut frozen = self.frozen.0.lock().expect("no panic");
        frozen.is_frozen = false;
        if let Some(waker) = frozen.waker.take() {
            waker.wake();
        }
    }

    /// Kills the process after so many steps more, wherever it is then.
    pub(crate) async fn kill_after(&mut self, polls: u32) -> Ended {
        self.polls_left.store(polls.into(), Ordering::Relaxed);
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(5), self.task.join_next()).await {
            return ended.expect("it runs").expect("no panic");
        }
        // Nothing happens in it.
        self.task.shutdown().await;
        Ended::Killed
    }

    /// Tells the process to stop, as a signal would.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn drain(&mut self) -> Ended {
        self.stop();
        self.ended().await
    }

    async fn ended(&mut self) -> Ended {
        let ended = tokio::time::timeout(Duration::from_secs(600), self.task.join_next()).await;
        ended.expect("it ends").expect("it runs").expect("no panic")
    }

    /// The value of a metric, summed over its labels where they match.
    pub(crate) fn metric(&self, name: &str, label: Option<&str>) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .expect("a metric");
        let matches = |metric: &&prometheus::proto::Metric| {
            label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
        };
        let value = |metric: &prometheus::proto::Metric| {
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        family.get_metric().iter().filter(matches).map(value).sum()
    }
}

/// A future that is dropped after a number of polls.
struct Mortal<F> {
    work: Pin<Box<F>>,
    polls_left: Arc<AtomicI64>,
    frozen: Frozen,
}

impl<F: Future<Output = Result<(), Error>>> Future for Mortal<F> {
    type Output = Ended;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        {
            let mut frozen = self.frozen.0.lock().expect("no panic");
            if frozen.is_frozen {
                frozen.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        if self.polls_left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Poll::Ready(Ended::Killed);
        }
        self.work.as_mut().poll(context).map(|ended| match ended {
            Ok(()) => Ended::Drained,
            Err(error) => panic!("the loop gave up: {error}"),
        })
    }
}

/// Everything that an in-memory ledger of one test is.
pub(crate) fn ledger(clock: &Arc<VirtualClock>) -> FakeLedger {
    FakeLedger::new(Arc::<VirtualClock>::clone(clock), "us")
}
