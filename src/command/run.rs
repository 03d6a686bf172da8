//! `run`, `ingest` and `serve`: ports, worker, reader, and how they stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::TimeDelta;
use ingest::batch::Policy;
use ingest::change_stream;
use ingest::clock::Clock;
use ingest::health::Health;
use ingest::kafka;
use ingest::metrics::Metrics;
use ingest::pump::{self, Pump};
use ingest::source::Signal;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Failure, now, rules};
use crate::config::{Config, Problem, Source};
use crate::files::{self, Connections};
use crate::store::leases::{Lanes, Leases};
use crate::store::ledger::MongoLedger;
use crate::store::schema::Change;
use crate::store::{self, Store};
use crate::telemetry;

/// Signals between a source and the loop. With records of at most 256 KiB this bounds their memory.
const CHANNEL: usize = 64;
/// How long readiness waits for MongoDB.
const PING: Duration = Duration::from_secs(2);

/// What the process does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) ingests: bool,
    pub(super) serves: bool,
}

type Tasks = JoinSet<Result<(), Failure>>;

pub(super) async fn run(config: Config, parts: Parts) -> Result<(), Failure> {
    let mut terminate = Terminate::listen()?;
    // Ports first: a second program on them must not get as far as taking a lane.
    let admin = bind(config.admin_addr, "USAGE_LEDGER_ADMIN_ADDR")?;
    let api = match parts.serves {
        true => Some(bind(config.api_addr, "USAGE_LEDGER_API_ADDR")?),
        false => None,
    };
    let stop = CancellationToken::new();
    let started = tokio::select! {
        started = start(&config, parts, admin, api, &stop) => started?,
        () = terminate.wait() => return Ok(()),
    };
    let mut tasks = started;
    let ended = tokio::select! {
        ended = tasks.join_next() => Some(ended),
        () = terminate.wait() => None,
    };
    stop.cancel();
    tracing::info!(timeout = ?config.drain_timeout, "stopping: committing what was read");
    let drained = tokio::select! {
        drained = tokio::time::timeout(config.drain_timeout, drain(&mut tasks)) => drained,
        () = terminate.wait() => return Err(Failure::Failed("stopped at once, on a second signal".into())),
    };
    if let Some(ended) = ended {
        // Nothing ends by itself without a reason; where the part that ended has none, another one has.
        let reason = failure(ended).or_else(|| drained.ok().and_then(Result::err));
        return Err(reason.unwrap_or_else(|| Failure::Failed("a part of the program ended".into())));
    }
    match drained {
        Ok(result) => result.inspect(|()| tracing::info!("stopped")),
        Err(_) => Err(Failure::Failed(format!(
            "the drain took longer than {:?} (USAGE_LEDGER_DRAIN_TIMEOUT); nothing is lost: what was not committed \
             will be read again",
            config.drain_timeout
        ))),
    }
}

async fn drain(tasks: &mut Tasks) -> Result<(), Failure> {
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        if let Some(why) = failure(Some(ended)) {
            result = Err(why);
        }
    }
    result
}

fn failure(ended: Option<Result<Result<(), Failure>, tokio::task::JoinError>>) -> Option<Failure> {
    match ended? {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(panic) => Some(Failure::Failed(format!("a task failed: {panic}"))),
    }
}

async fn start(
    config: &Config,
    parts: Parts,
    admin: TcpListener,
    api: Option<TcpListener>,
    stop: &CancellationToken,
) -> Result<Tasks, Failure> {
    let store = when_it_passed(|| Store::open(config)).await?;
    let change = if parts.ingests {
        Change::CreateIfEmpty
    } else {
        Change::Check
    };
    when_it_passed(|| store.prepare(config, change)).await?;
    let connections = files::allow(Connections {
        api: if parts.serves {
            config.api_max_connections
        } else {
            0
        },
        admin: config.admin_max_connections,
    });
    let registry = Registry::new();
    telemetry::build_info(&registry).map_err(metrics)?;
    let health = parts.ingests.then(Health::default);
    let mut tasks = Tasks::new();
    if let Some(health) = &health {
        worker(config, &store, health.clone(), &registry, &mut tasks, stop).await?;
    }
    if let Some(listener) = api {
        let reader = when_it_passed(|| store.reader(api::QUESTIONS_AT_ONCE)).await?;
        let router = api::router(reader_settings(config), reader, Arc::new(now), &registry)
            .map_err(|error| reader_failure(&error))?;
        tracing::info!(address = %address(&listener), "the reader listens");
        serve(&mut tasks, listener, router, connections.api, stop);
    }
    let store = store.for_readiness()?;
    let readiness = move || {
        let (store, health) = (store.clone(), health.clone());
        async move { reasons(&store, health.as_ref()).await }
    };
    tracing::info!(address = %address(&admin), "metrics and health listen");
    let router = api::admin::router(registry, readiness);
    serve(&mut tasks, admin, router, connections.admin, stop);
    Ok(tasks)
}

/// Asks the store until what passes by itself has passed: an election, a server with too much to do.
async fn when_it_passed<T, F>(mut ask: impl FnMut() -> F) -> Result<T, store::Error>
where
    F: Future<Output = Result<T, store::Error>>,
{
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        match (ask().await, pauses.next()) {
            (Err(store::Error::Passing(why)), Some(pause)) => {
                tracing::warn!(error = why, "the ledger cannot be opened yet; it is tried again");
                tokio::time::sleep(pause).await;
            }
            (answer, _) => return answer,
        }
    }
}

fn reader_settings(config: &Config) -> api::Settings {
    let grouping = &config.identity.grouping;
    let access = config
        .access
        .clone()
        .expect("checked for every command that serves");
    api::Settings {
        granularities: grouping.granularities().to_vec(),
        excluded_organizations: config.excluded_organizations.clone(),
        ..api::Settings::new(*grouping.calendar(), config.identity.currency.clone(), access)
    }
}

fn reader_failure(error: &api::SettingsError) -> Failure {
    let variable = match error {
        api::SettingsError::Key(_) => "USAGE_LEDGER_JWT_SECRET, _JWT_PUBLIC_KEY or _JWT_JWKS_URL",
        api::SettingsError::Currency(_) => "USAGE_LEDGER_CURRENCY",
        api::SettingsError::Metrics(_) | api::SettingsError::Description(_) => {
            return Failure::Failed(error.to_string());
        }
    };
    Failure::Settings(vec![Problem {
        variable: variable.into(),
        message: error.to_string(),
    }])
}

fn serve(
    tasks: &mut Tasks,
    listener: TcpListener,
    router: api::Router,
    max_connections: usize,
    stop: &CancellationToken,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        api::serve(listener, router, max_connections, stop.cancelled_owned()).await;
        Ok(())
    });
}

/// The reasons of the worker, and why the ledger cannot be read.
async fn reasons(store: &Store, health: Option<&Health>) -> Vec<String> {
    let mut reasons = health.map(|health| health.reasons(now())).unwrap_or_default();
    reasons.extend(store.trouble_within(PING).await);
    reasons.into_iter().map(str::to_owned).collect()
}

async fn worker(
    config: &Config,
    store: &Store,
    health: Health,
    registry: &Registry,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let clock = Arc::new(now);
    let ingest_metrics = Metrics::register(registry, health.clone(), Arc::new(now)).map_err(metrics)?;
    let (signals, heard) = mpsc::channel(CHANNEL);
    let lanes = source(config, store, Arc::clone(&clock), signals, tasks).await?;
    let leases = Leases::open(store, config.lease, lanes)?;
    let settings = pump::Settings {
        limits: config.limits,
        policy: Policy {
            grouping: config.identity.grouping.clone(),
            rules: rules(config),
            max_age: config
                .max_age
                .map(|age| TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX)),
            window: config.dedupe.window,
            scope: config.dedupe.scope,
        },
        max_ids: config.dedupe.max_ids,
        letter_keep: config.letter_keep,
    };
    let calendar = *config.identity.grouping.calendar();
    let ledger = MongoLedger::open(store.clone(), calendar, leases.clone())?;
    let pump = Pump::new(Arc::new(ledger), clock, settings, ingest_metrics, health);
    let stop = stop.clone();
    tasks.spawn(async move {
        // Ends with the loop.
        let mut keeper = JoinSet::new();
        keeper.spawn(leases.keep());
        pump.run(heard, stop)
            .await
            .map_err(|error| Failure::Failed(error.to_string()))
    });
    Ok(())
}

/// Starts the source. How its lanes come to workers.
async fn source<C: Clock>(
    config: &Config,
    store: &Store,
    clock: Arc<C>,
    signals: mpsc::Sender<Signal>,
    tasks: &mut Tasks,
) -> Result<Lanes, Failure> {
    match &config.source {
        Source::ChangeStream { database, collection } => {
            when_it_passed(|| store.ensure_events(database, collection)).await?;
            let events = change_stream::Events {
                client: store.client().clone(),
                database: database.clone(),
                collection: collection.clone(),
            };
            let lane = events.lane();
            when_it_passed(|| store.enter_source(config, "mongodb", Some(&lane))).await?;
            tracing::info!(lane = %events.lane(), "reading");
            tasks.spawn(async move {
                change_stream::run(events, clock, signals).await;
                Ok(())
            });
            Ok(Lanes::Led)
        }
        Source::Kafka(topic) => {
            when_it_passed(|| store.enter_source(config, "kafka", None)).await?;
            tracing::info!(topic = topic.topic(), "reading");
            let topic = topic.clone();
            tasks.spawn(async move {
                kafka::run(topic, clock, signals).await;
                Ok(())
            });
            Ok(Lanes::Assigned)
        }
    }
}

fn bind(address: SocketAddr, variable: &str) -> Result<TcpListener, Failure> {
    api::listen(address).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
            _ => error.to_string(),
        };
        Failure::Failed(format!("cannot listen on {address} ({variable}): {why}"))
    })
}

fn address(listener: &TcpListener) -> String {
    listener
        .local_addr()
        .map_or_else(|error| error.to_string(), |address| format!("http://{address}"))
}

fn metrics(error: prometheus::Error) -> Failure {
    Failure::Failed(format!("the metrics cannot be registered: {error}"))
}

/// SIGTERM or Ctrl-C.
struct Terminate {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Terminate {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Failed(format!("signals cannot be listened to: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
