//! `run`, `ingest` and `serve`: from settings to worker and reader, and how they stop.

use std::sync::Arc;
use std::time::Duration;

use api::tls::Tls;
use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, Utc};
use ingest::batch::Policy;
use ingest::change_stream;
use ingest::health::Health;
use ingest::kafka;
use ingest::lane::LaneId;
use ingest::metrics::Metrics;
use ingest::pump::{self, Pump};
use ingest::source::{self, Voice};
use prometheus::Registry;
use rollup::clock::Clock;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certificate::{self, Renewal};
use crate::config::{Certificate, Identity, Listen, Process, Reader, Source, Worker};
use crate::failure::Failure;
use crate::files::{self, Connections};
use crate::open_letters::{self, OpenLetters};
use crate::oplog::{OplogGauges, OplogWatch};
use crate::store::leases::{Lanes, Leases};
use crate::store::ledger::{CommitMetrics, MongoLedger};
use crate::store::reader::RowsRead;
use crate::store::schema::Change;
use crate::store::{self, Store};
use crate::telemetry;
use crate::verify::gauges::Gauges;
use crate::verify::schedule::Schedule;

/// Signals between a source and the loop. With records of at most 256 KiB this bounds their memory.
const CHANNEL: usize = 64;
/// How long readiness waits for MongoDB.
const PING: Duration = Duration::from_secs(2);

type Tasks = JoinSet<Result<(), Failure>>;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the machine what time it is"
)]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A process, and what it is told.
struct App {
    process: Process,
    worker: Option<Worker>,
    reader: Option<Reader>,
}

/// The ports, bound.
struct Ports {
    admin: TcpListener,
    api: Option<TcpListener>,
}

/// Ingests, serves, or does both, until somebody says stop.
pub(crate) async fn run(
    process: Process,
    worker: Option<Worker>,
    reader: Option<Reader>,
) -> Result<(), Failure> {
    let drain_timeout = process.drain_timeout;
    let app = App {
        process,
        worker,
        reader,
    };
    let mut terminate = Terminate::listen()?;
    // Ports first: a second program on them must not get as far as taking a lane.
    let ports = app.bind()?;
    let stop = CancellationToken::new();
    let started = tokio::select! {
        started = app.start(ports, &stop) => started?,
        () = terminate.wait() => return Ok(()),
    };
    let mut tasks = started;
    let ended = tokio::select! {
        ended = tasks.join_next() => Some(ended),
        () = terminate.wait() => None,
    };
    stop.cancel();
    tracing::info!(timeout = ?drain_timeout, "stopping: committing what was read");
    let drained = tokio::select! {
        drained = tokio::time::timeout(drain_timeout, drain(&mut tasks)) => drained,
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
            "the drain took longer than {drain_timeout:?} (USAGE_LEDGER_DRAIN_TIMEOUT); nothing is lost: what was not \
             committed will be read again"
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

impl App {
    fn bind(&self) -> Result<Ports, Failure> {
        let admin = bind(self.process.admin, "USAGE_LEDGER_ADMIN_ADDR")?;
        let api = self.reader.as_ref();
        let api = api.map(|reader| bind(reader.listen, "USAGE_LEDGER_API_ADDR"));
        Ok(Ports {
            admin,
            api: api.transpose()?,
        })
    }

    /// Starts the parts. They run until `stop`.
    async fn start(&self, ports: Ports, stop: &CancellationToken) -> Result<Tasks, Failure> {
        let Process {
            database,
            identity,
            admin,
            ..
        } = &self.process;
        let store = when_it_passed(|| Store::open(database)).await?;
        let source = self.worker.as_ref().map(|worker| &worker.source);
        let change = match source {
            Some(_) => Change::CreateIfEmpty,
            None => Change::Check,
        };
        when_it_passed(|| store.prepare(identity, source, change)).await?;
        let connections = files::allow(Connections {
            api: self
                .reader
                .as_ref()
                .map_or(0, |reader| reader.listen.max_connections),
            admin: admin.max_connections,
        });
        let registry = Registry::new();
        telemetry::build_info(&registry).map_err(metrics)?;
        store.waits().register(&registry).map_err(metrics)?;
        let mut tasks = Tasks::new();
        let mut health = None;
        if let Some(worker) = &self.worker {
            let health = health.insert(Health::default()).clone();
            start_worker(worker, identity, &store, health, &registry, &mut tasks, stop).await?;
        }
        if let (Some(reader), Some(listener)) = (&self.reader, ports.api) {
            let settings = reader_settings(reader, identity);
            let rows_read = RowsRead::register(&registry).map_err(metrics)?;
            let questions =
                when_it_passed(|| store.reader(api::QUESTIONS_AT_ONCE, rows_read.clone())).await?;
            let router = api::router(settings, questions, Arc::new(now), &registry)
                .map_err(|error| reader_failure(&error))?;
            let certificate = reader.certificate.as_ref();
            let tls = certificate.map(|certificate| secure(certificate, &registry, &mut tasks, stop));
            let tls = tls.transpose().map_err(metrics)?;
            tracing::info!(address = %address(&listener, tls.is_some()), "the reader listens");
            serve(&mut tasks, (listener, tls), router, connections.api, stop);
        }
        let store = store.for_readiness()?;
        let readiness = move || {
            let (store, health) = (store.clone(), health.clone());
            async move { reasons(&store, health.as_ref()).await }
        };
        tracing::info!(address = %address(&ports.admin, false), "metrics and health listen");
        let router = api::admin::router(registry, readiness);
        serve(&mut tasks, (ports.admin, None), router, connections.admin, stop);
        Ok(tasks)
    }
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

fn reader_settings(reader: &Reader, identity: &Identity) -> api::Settings {
    let Identity { grouping, currency } = identity;
    api::Settings {
        granularities: grouping.granularities().to_vec(),
        excluded_organizations: reader.excluded_organizations.clone(),
        ..api::Settings::new(*grouping.calendar(), currency.clone(), reader.access.clone())
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
    Failure::argument(variable, error.to_string())
}

/// Looks after the certificate of the reader until `stop`.
fn secure(
    certificate: &Certificate,
    registry: &Registry,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> prometheus::Result<Tls> {
    let renewal = Renewal::new(certificate, certificate::gauge(registry)?, now);
    let (tls, stop) = (renewal.tls(), stop.clone());
    tasks.spawn(async move {
        renewal.keep(stop).await;
        Ok(())
    });
    Ok(tls)
}

fn serve(
    tasks: &mut Tasks,
    (listener, tls): (TcpListener, Option<Tls>),
    router: api::Router,
    max_connections: usize,
    stop: &CancellationToken,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        api::serve(listener, tls, router, max_connections, stop.cancelled_owned()).await;
        Ok(())
    });
}

/// The reasons of the worker, and why the ledger cannot be read.
async fn reasons(store: &Store, health: Option<&Health>) -> Vec<String> {
    let mut reasons = health.map(|health| health.reasons(now())).unwrap_or_default();
    reasons.extend(store.trouble_within(PING).await);
    reasons.into_iter().map(str::to_owned).collect()
}

async fn start_worker(
    worker: &Worker,
    identity: &Identity,
    store: &Store,
    health: Health,
    registry: &Registry,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let clock = Arc::new(now);
    let ingest_metrics = Metrics::register(registry, health.clone(), Arc::new(now)).map_err(metrics)?;
    let (signals, heard) = source::channel(CHANNEL);
    let lanes = start_source(worker, store, Arc::clone(&clock), signals, tasks).await?;
    let leases = Leases::open(store, worker.lease, lanes)?;
    let settings = pump::Settings {
        limits: worker.limits,
        policy: Policy {
            rules: worker.rules.event.clone(),
            max_age: worker.rules.max_age,
            window: worker.dedupe.window,
            scope: worker.dedupe.scope,
        },
        max_ids: worker.dedupe.max_ids,
        letter_keep: worker.letter_keep,
        journal_keep: worker.journal_keep,
    };
    let calendar = *identity.grouping.calendar();
    let commits = CommitMetrics::register(registry).map_err(metrics)?;
    let ledger = MongoLedger::open(store.clone(), calendar, leases.clone(), commits)?;
    if let Some(schedule) = worker.verify {
        let of_all = (store.clone(), leases.clone());
        let gauges = Gauges::register(registry).map_err(metrics)?;
        let schedule = Schedule::new(of_all, schedule, calendar, Arc::clone(&clock), gauges);
        let stop = stop.clone();
        tasks.spawn(async move {
            schedule.keep(stop).await;
            Ok(())
        });
    }
    watch(&worker.source, store, registry, tasks, stop).map_err(metrics)?;
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

/// Starts what looks at the ledger and its server for metrics alone.
fn watch(
    source: &Source,
    store: &Store,
    registry: &Registry,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> prometheus::Result<()> {
    let (letters, letters_stop) = (
        OpenLetters::new(store.clone(), open_letters::gauge(registry)?),
        stop.clone(),
    );
    tasks.spawn(async move {
        letters.keep(letters_stop).await;
        Ok(())
    });
    if let Source::ChangeStream { database, collection } = source {
        let lane = LaneId::change_stream(database, collection).to_string();
        let oplog = OplogWatch::new(store.clone(), lane, OplogGauges::register(registry)?);
        let stop = stop.clone();
        tasks.spawn(async move {
            oplog.keep(stop).await;
            Ok(())
        });
    }
    Ok(())
}

/// Starts the source. How its lanes come to workers.
async fn start_source<C: Clock>(
    worker: &Worker,
    store: &Store,
    clock: Arc<C>,
    signals: Voice,
    tasks: &mut Tasks,
) -> Result<Lanes, Failure> {
    let starts_at = worker.rules.event.start_at_ms;
    match &worker.source {
        Source::ChangeStream { database, collection } => {
            when_it_passed(|| store.ensure_events(database, collection)).await?;
            let events = change_stream::Events {
                client: store.client().clone(),
                database: database.clone(),
                collection: collection.clone(),
            };
            let lane = events.lane();
            when_it_passed(|| store.enter_source(starts_at, "mongodb", Some(&lane))).await?;
            tracing::info!(lane = %events.lane(), "reading");
            tasks.spawn(async move {
                change_stream::run(events, clock, signals).await;
                Ok(())
            });
            Ok(Lanes::Led)
        }
        Source::Kafka(topic) => {
            when_it_passed(|| store.enter_source(starts_at, "kafka", None)).await?;
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

fn bind(listen: Listen, variable: &str) -> Result<TcpListener, Failure> {
    let address = listen.address;
    api::listen(address).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
            _ => error.to_string(),
        };
        Failure::Failed(format!("cannot listen on {address} ({variable}): {why}"))
    })
}

fn address(listener: &TcpListener, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    listener.local_addr().map_or_else(
        |error| error.to_string(),
        |address| format!("{scheme}://{address}"),
    )
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
