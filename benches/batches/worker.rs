//! The worker, in this process.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest::batch::Policy;
use ingest::health::Health;
use ingest::kafka;
use ingest::metrics::Metrics;
use ingest::pump::{self, Pump};
use prometheus::{Encoder as _, Registry, TextEncoder};
use rollup::clock::Clock;
use testkit::{Error, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use usage_ledger::config::{self, Process, Source, Worker};
use usage_ledger::store::Store;
use usage_ledger::store::leases::{Lanes, Leases};
use usage_ledger::store::ledger::{CommitMetrics, MongoLedger};
use usage_ledger::store::schema::Change;

use crate::environment::Environment;

/// What is measured.
const MEASURED: Duration = Duration::from_secs(14);
/// How often the counter is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long nothing may be committed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run came to.
pub(crate) struct Ran {
    /// Events a second, from one commit to another.
    pub(crate) rate: f64,
    /// Statements that a transaction might have in the end.
    pub(crate) limit: f64,
}

/// A worker with transactions of this size, or of one that it learns, into an empty database.
pub(crate) async fn run(environment: &Environment, size: Option<usize>) -> Result<Ran> {
    let name = format!(
        "batches-{}",
        size.map_or("learned".into(), |size| size.to_string())
    );
    let database = environment
        .mongo
        .client()
        .await?
        .database(&format!("{}-{name}", environment.topic));
    let (process, worker) = settings(environment, database.name())?;
    let (registry, stop) = (Registry::new(), CancellationToken::new());
    let mut tasks = start(&process, &worker, size, &registry, &stop).await?;
    let ran = measure(&registry, &mut tasks, environment).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    database.drop().await?;
    ran
}

fn settings(environment: &Environment, database: &str) -> Result<(Process, Worker)> {
    let given = [
        ("MONGODB_URI", environment.mongo.uri()),
        ("MONGODB_DATABASE", database),
        ("SOURCE", "kafka"),
        ("KAFKA_BROKERS", environment.broker.brokers()),
        ("KAFKA_TOPIC", &environment.topic),
        ("KAFKA_GROUP", database),
        ("DEDUPE_SCOPE", environment.scope),
        // Statements alone say when a batch is full.
        ("BATCH_MAX_EVENTS", "100000"),
        ("BATCH_MAX_BYTES", "64MiB"),
    ];
    let given = given.map(|(name, value)| (name, value.to_owned()));
    config::parse(&given.into()).map_err(|problems| {
        failed(
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        )
    })
}

async fn start(
    process: &Process,
    worker: &Worker,
    size: Option<usize>,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<JoinSet<()>> {
    let Source::Kafka(topic) = worker.source.clone() else {
        return Err(failed("the source is Kafka"));
    };
    let store = Store::open(&process.database).await.map_err(failed)?;
    store
        .prepare(&process.identity, Some(&worker.source), Change::CreateIfEmpty)
        .await
        .map_err(failed)?;
    let leases = Leases::open(&store, worker.lease, Lanes::Assigned).map_err(failed)?;
    let calendar = *process.identity.grouping.calendar();
    let commits = CommitMetrics::register(registry).map_err(failed)?;
    let ledger = MongoLedger::open(store, calendar, leases.clone(), commits).map_err(failed)?;
    let settings = pump::Settings {
        letter_keep: None,
        journal_keep: Duration::MAX,
        limits: worker.limits,
        policy: Policy {
            rules: worker.rules.event.clone(),
            max_age: worker.rules.max_age,
            window: worker.dedupe.window,
            scope: worker.dedupe.scope,
        },
        max_ids: worker.dedupe.max_ids,
    };
    let (clock, health) = (Arc::new(testkit::now), Health::default());
    let for_metrics: Arc<dyn Clock> = Arc::new(testkit::now);
    let metrics = Metrics::register(registry, health.clone(), for_metrics).map_err(failed)?;
    let pump = Pump::new(Arc::new(ledger), Arc::clone(&clock), settings, metrics, health);
    let pump = match size {
        Some(size) => pump.with_fixed_size(size),
        None => pump,
    };
    let (voice, heard) = ingest::source::channel(64);
    let (mut tasks, ended) = (JoinSet::new(), stop.clone());
    tasks.spawn(kafka::run(topic, clock, voice));
    tasks.spawn(async move {
        // Ends with the loop.
        let mut keeper = JoinSet::new();
        keeper.spawn(leases.keep());
        if let Err(error) = pump.run(heard, ended).await {
            eprintln!("the loop ended: {error}");
        }
    });
    Ok(tasks)
}

/// From the commit that ends what is not measured to the last within the time, or of all events.
async fn measure(registry: &Registry, tasks: &mut JoinSet<()>, environment: &Environment) -> Result<Ran> {
    let (first, all) = (f64::from(environment.first), f64::from(environment.events));
    let (mut from, mut last) = (None, (Instant::now(), 0.0));
    loop {
        let counted = number(registry, "usage_ledger_events_total{")?;
        let now = Instant::now();
        if counted > last.1 {
            last = (now, counted);
            if counted >= first {
                let (at, before) = *from.get_or_insert(last);
                if now - at >= MEASURED || (counted >= all && counted > before) {
                    return Ok(Ran {
                        rate: (counted - before) / (now - at).as_secs_f64(),
                        limit: number(registry, "usage_ledger_batch_rows_limit ")?,
                    });
                }
            }
        }
        if tasks.try_join_next().is_some() {
            return Err(failed("the worker ended"));
        }
        if last.0.elapsed() > PATIENCE {
            return Err(failed(
                "nothing is committed any more: perhaps the topic has too few events for this server",
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The sum of the metrics whose lines begin so.
fn number(registry: &Registry, name: &str) -> Result<f64> {
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .map_err(failed)?;
    let text = String::from_utf8(text).map_err(failed)?;
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(values.sum())
}

fn failed(error: impl Display) -> Error {
    Error::Other(error.to_string())
}
