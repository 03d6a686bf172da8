//! What every test stands on: a broker for all of them, a topic for each, producers, and workers in this process.

use std::sync::Arc;
use std::time::Duration;

use ingest::batch::{Limits, Policy};
use ingest::dedupe::Scope;
use ingest::fake::{FakeLedger, StoredFence};
use ingest::health::Health;
use ingest::kafka::{self, Settings};
use ingest::lane::{LaneId, Position};
use ingest::ledger::Tally;
use ingest::metrics::Metrics;
use ingest::pump::{self, Pump};
use ingest::source::{self, StopReason, Voice};
use prometheus::Registry;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rollup::clock::Clock;
use rollup::counters::Counter;
use rollup::event::Rules;
use rollup::fold::Marginal;
use rollup::period::Granularity;
use testkit::kafka::Broker;
use testkit::{PATIENCE, eventually, now};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The organization of numbered events.
const ORGANIZATION: &str = "acme";

/// A topic, and the ledger that its events are counted in.
pub(crate) struct World {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) ledger: FakeLedger,
    admin: AdminClient<DefaultClientContext>,
}

impl World {
    /// A topic of this many partitions.
    pub(crate) async fn new(broker: &Broker, topic: &str, partitions: i32) -> Self {
        let world = Self::without_topic(broker, topic);
        world.create(partitions).await;
        world
    }

    pub(crate) fn without_topic(broker: &Broker, topic: &str) -> Self {
        let brokers = broker.brokers().to_owned();
        let admin = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()
            .expect("a client");
        Self {
            brokers,
            topic: topic.to_owned(),
            ledger: FakeLedger::new(Arc::new(now), "a worker"),
            admin,
        }
    }

    pub(crate) async fn create(&self, partitions: i32) {
        assert!(self.try_create(partitions).await, "the topic is there already");
    }

    pub(crate) async fn try_create(&self, partitions: i32) -> bool {
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        let made = self
            .admin
            .create_topics([&topic], &AdminOptions::new())
            .await
            .expect("an answer");
        made.iter().all(Result::is_ok)
    }

    pub(crate) async fn delete(&self) {
        let gone = self
            .admin
            .delete_topics(&[&self.topic], &AdminOptions::new())
            .await
            .expect("an answer");
        gone.into_iter().for_each(|topic| drop(topic.expect("no topic")));
    }

    pub(crate) async fn grow(&self, partitions: usize) {
        let more = NewPartitions::new(&self.topic, partitions);
        let grown = self
            .admin
            .create_partitions([&more], &AdminOptions::new())
            .await
            .expect("an answer");
        grown
            .into_iter()
            .for_each(|topic| drop(topic.expect("more partitions")));
    }

    /// Deletes the records below an offset.
    pub(crate) async fn trim(&self, partition: i32, before: i64) {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, rdkafka::Offset::Offset(before))
            .expect("an offset");
        self.admin
            .delete_records(&list, &AdminOptions::new())
            .await
            .expect("trims");
    }

    pub(crate) fn lane(&self, partition: i32) -> LaneId {
        LaneId::kafka(&self.topic, partition)
    }

    fn fence(&self, partition: i32) -> Option<StoredFence> {
        let lane = self.lane(partition);
        self.ledger.read(|stored| stored.fences.get(&lane).cloned())
    }

    /// How many owners the lane of a partition has had.
    pub(crate) fn epoch(&self, partition: i32) -> i64 {
        self.fence(partition).map_or(0, |fence| fence.epoch)
    }

    /// Where reading of a partition goes on.
    pub(crate) fn next(&self, partition: i32) -> Option<i64> {
        match self.fence(partition)?.position? {
            Position::Offset { next, .. } => Some(next),
            Position::Stream { .. } => panic!("not a position in Kafka"),
        }
    }

    /// Everything that reached a partition up to this instant is counted.
    pub(crate) fn watermark_ms(&self, partition: i32) -> Option<i64> {
        self.fence(partition)?.watermark_ms
    }

    /// Why the lane of a partition stopped, and in which words.
    pub(crate) fn stopped(&self, partition: i32) -> Option<(StopReason, String)> {
        let stop = self.fence(partition)?.stopped?;
        Some((stop.reason, stop.detail))
    }

    /// What became of the records of a partition.
    pub(crate) fn tally_of(&self, partition: i32) -> Tally {
        self.fence(partition)
            .unwrap_or_else(|| panic!("partition {partition} was read"))
            .tally
    }

    /// What became of all records.
    pub(crate) fn tally(&self) -> Tally {
        self.ledger.read(|stored| stored.tally())
    }

    /// A counter over all days of the organization of [`Producer::send_events`].
    pub(crate) fn sum(&self, counter: Counter) -> i128 {
        self.ledger.read(|stored| {
            let rows = stored.rows.rollups.values().filter(|row| {
                row.marginal == Marginal::Organization
                    && row.period.granularity() == Granularity::Daily
                    && &*row.organization == ORGANIZATION
            });
            rows.map(|row| row.booked.sums[counter]).sum()
        })
    }

    /// Requests of that organization.
    pub(crate) fn requests(&self) -> i128 {
        self.sum(Counter::Requests)
    }

    /// The lanes of the source.
    pub(crate) fn topology(&self) -> usize {
        self.ledger.read(|stored| stored.topology.len())
    }

    /// The least watermark over the lanes of the source; `None` while one has none.
    pub(crate) fn data_as_of_ms(&self) -> Option<i64> {
        self.ledger.read(|stored| {
            let watermark = |lane| {
                stored
                    .fences
                    .get(lane)
                    .and_then(|fence: &StoredFence| fence.watermark_ms)
            };
            stored.topology.iter().map(watermark).min().flatten()
        })
    }

    pub(crate) fn producer(&self, more: &[(&str, &str)]) -> Producer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("linger.ms", "5");
        for (name, value) in more {
            config.set(*name, *value);
        }
        Producer {
            producer: config.create().expect("a producer"),
            topic: self.topic.clone(),
        }
    }

    /// A worker in the group of the topic.
    pub(crate) fn worker(&self, more: &[(&str, &str)]) -> Worker {
        let properties = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings =
            Settings::new(&self.brokers, &self.topic, &self.topic, properties.collect()).expect("settings");
        Worker::start(settings, self.ledger.clone(), limits())
    }

    /// Waits until this many records were read.
    pub(crate) async fn wait_read(&self, records: i64) {
        eventually(&format!("{records} records are read"), || async {
            let read = self.tally().read();
            assert!(read <= records, "{read} records read of {records}");
            read == records
        })
        .await;
    }

    /// Waits until the loop has gone round this often: each time it would have stored what an idle lane has moved.
    pub(crate) async fn wait_rounds(&self, rounds: u64) {
        let looks = || self.ledger.read(|stored| stored.looked_for_letters);
        let enough = looks() + rounds;
        eventually("the loop goes round", || async { looks() > enough }).await;
    }

    /// Waits until everything that reached the topic before this moment is counted.
    pub(crate) async fn wait_fresh(&self) {
        let now_ms = now().timestamp_millis();
        eventually("everything is counted", || async {
            self.data_as_of_ms().is_some_and(|as_of| as_of >= now_ms)
        })
        .await;
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        max_events: 1_000,
        max_age: Duration::from_millis(50),
        max_bytes: 8 << 20,
        max_rows: 20_000,
        commit_target: Duration::from_secs(1),
    }
}

/// Sends records to a topic.
pub(crate) struct Producer {
    producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    topic: String,
}

impl Producer {
    pub(crate) fn send(&self, partition: i32, key: &str, value: &str) {
        self.send_record(
            BaseRecord::to(&self.topic)
                .partition(partition)
                .key(key)
                .payload(value),
        );
    }

    pub(crate) fn send_record(&self, record: BaseRecord<'_, str, str>) {
        self.send_any(record);
    }

    pub(crate) fn send_bytes(&self, record: BaseRecord<'_, str, [u8]>) {
        self.send_any(record);
    }

    fn send_any<V: rdkafka::message::ToBytes + ?Sized>(&self, record: BaseRecord<'_, str, V>) {
        let mut record = record;
        while let Err((_, back)) = self.producer.send(record) {
            // Its queue is full.
            record = back;
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Events of one organization, numbered; each has 10 input tokens.
    pub(crate) fn send_events(&self, partition: i32, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.send(
                partition,
                ORGANIZATION,
                &event(&format!("e-{number}"), ORGANIZATION),
            );
        }
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(PATIENCE).expect("everything arrives");
    }

    pub(crate) fn inner(&self) -> &ThreadedProducer<rdkafka::producer::DefaultProducerContext> {
        &self.producer
    }
}

pub(crate) fn event(id: &str, organization: &str) -> String {
    format!(
        r#"{{"eventId":"{id}","completedAt":1767607200000,"source":"chat","organizationId":"{organization}","inputTokens":10}}"#
    )
}

/// A worker: the source and the loop.
pub(crate) struct Worker {
    health: Health,
    registry: Registry,
    /// What is on its way from the source to the loop.
    voice: Voice,
    stop: CancellationToken,
    source: JoinHandle<()>,
    pump: JoinHandle<Result<(), pump::Error>>,
}

impl Worker {
    #[expect(
        clippy::disallowed_methods,
        reason = "the tasks belong to the worker, which waits for them"
    )]
    pub(crate) fn start(settings: Settings, ledger: FakeLedger, limits: Limits) -> Self {
        let clock = Arc::new(now);
        let health = Health::default();
        let for_metrics: Arc<dyn Clock> = Arc::new(now);
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, health.clone(), for_metrics).expect("registers");
        let rules = Rules {
            currency: "USD".into(),
            start_at_ms: None,
        };
        let pump_settings = pump::Settings {
            limits,
            policy: Policy {
                rules,
                max_age: None,
                window: Duration::from_secs(86_400),
                scope: Scope::Lane,
            },
            max_ids: 1_000_000,
            letter_keep: None,
            journal_keep: Duration::MAX,
        };
        let (voice, heard) = source::channel(64);
        let stop = CancellationToken::new();
        let pump = Pump::new(
            Arc::new(ledger),
            Arc::clone(&clock),
            pump_settings,
            metrics,
            health.clone(),
        );
        Self {
            health,
            registry,
            voice: voice.clone(),
            stop: stop.clone(),
            source: tokio::spawn(kafka::run(settings, clock, voice)),
            pump: tokio::spawn(pump.run(heard, stop)),
        }
    }

    /// Why the worker is not ready.
    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        self.health.reasons(now()).into_iter().collect()
    }

    pub(crate) async fn wait_reason(&self, reason: &str) {
        eventually(reason, || async { self.reasons().contains(&reason) }).await;
    }

    pub(crate) async fn wait_ready(&self) {
        eventually("ready", || async { self.reasons().is_empty() }).await;
    }

    /// Waits until the loop takes no more, and the source has to keep what it reads.
    pub(crate) async fn wait_full(&self) {
        eventually("the loop takes no more", || async { self.voice.room() == 0 }).await;
    }

    /// A counter of the worker without labels.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect(name);
        family.get_metric()[0].get_counter().get_value()
    }

    /// Drains and leaves.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = async {
            self.pump.await.expect("no panic").expect("drains");
            self.source.await.expect("no panic");
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("ends");
    }
}
