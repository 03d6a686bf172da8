//! The real source and the real loop, in the settings that the program has by default.

use std::sync::Arc;
use std::time::Duration;

use ingest::batch::{Limits, Policy};
use ingest::dedupe::Scope;
use ingest::fake::FakeLedger;
use ingest::health::Health;
use ingest::kafka::{self, Settings};
use ingest::metrics::Metrics;
use ingest::pump::{self, Pump};
use prometheus::Registry;
use rollup::clock::Clock;
use rollup::event::Rules;
use testkit::{Error, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::run::{Done, Since, failed};
use crate::topic::Topic;

/// How often the ledger is looked at.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) async fn run(topic: &Topic, run: usize) -> Result<Done> {
    let group = format!("{}-{run}", topic.name);
    let source = Settings::new(&topic.brokers, &topic.name, &group, Vec::new())
        .map_err(|problems| failed(&problems[0].message))?;
    let ledger = FakeLedger::new(Arc::new(testkit::now), "bench");
    let health = Health::default();
    let for_metrics: Arc<dyn Clock> = Arc::new(testkit::now);
    let metrics = Metrics::register(&Registry::new(), health.clone(), for_metrics).map_err(failed)?;
    let (voice, heard) = ingest::source::channel(64);
    let stop = CancellationToken::new();
    let pump = Pump::new(
        Arc::new(ledger.clone()),
        Arc::new(testkit::now),
        settings()?,
        metrics,
        health,
    );
    let mut tasks = JoinSet::new();
    let since = Since::now()?;
    tasks.spawn(kafka::run(source, Arc::new(testkit::now), voice));
    let ended = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = pump.run(heard, ended).await {
            eprintln!("the loop ended: {error}");
        }
    });
    let events = i64::try_from(topic.events).unwrap_or(i64::MAX);
    while ledger.read(|stored| stored.tally().counted) < events {
        if tasks.try_join_next().is_some() {
            return Err(Error::Other("the worker ended".into()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let done = since.done();
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    done
}

fn settings() -> Result<pump::Settings> {
    let policy = Policy {
        rules: Rules {
            currency: "USD".into(),
            start_at_ms: None,
        },
        max_age: None,
        window: Duration::from_secs(86_400),
        scope: Scope::Lane,
    };
    Ok(pump::Settings {
        limits: Limits {
            max_events: 10_000,
            max_age: Duration::from_millis(250),
            max_bytes: 8 << 20,
            commit_target: Duration::from_secs(1),
            max_rows: 20_000,
        },
        policy,
        max_ids: 50_000_000,
        letter_keep: None,
        journal_keep: Duration::MAX,
    })
}
