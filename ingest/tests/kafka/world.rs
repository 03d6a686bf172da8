//! What every test stands on: a broker for all of them, a topic for each, producers, and workers in this process.

use std::sync::Arc;
use std::time::Duration;

use ingest::batch::{Limits, Policy};
use ingest::clock::Clock;
use ingest::dedupe::Scope;
use ingest::health::Health;
use ingest::kafka::{self, Settings};
use ingest::lane::LaneId;
use ingest::metrics::Metrics;
use ingest::pump::{self, Pump};
use prometheus::Registry;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rollup::event::Rules;
use rollup::fold::Grouping;
use rollup::period::{Calendar, Granularity};
use testkit::kafka::Broker;
use testkit::{PATIENCE, eventually, now};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::FakeLedger;

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
            ledger: FakeLedger::default(),
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
            let read = self.ledger.tally().read();
            assert!(read <= records, "{read} records read of {records}");
            read == records
        })
        .await;
    }

    /// Waits until everything that reached the topic before this moment is counted.
    pub(crate) async fn wait_fresh(&self) {
        let now_ms = now().timestamp_millis();
        eventually("everything is counted", || async {
            self.ledger.data_as_of_ms().is_some_and(|as_of| as_of >= now_ms)
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
            self.send(partition, "acme", &event(&format!("e-{number}"), "acme"));
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
    pub(crate) health: Health,
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
        let metrics = Metrics::register(&Registry::new(), health.clone(), for_metrics).expect("registers");
        let grouping = Grouping::new(Calendar::UTC, &[Granularity::Daily]).expect("a grouping");
        let rules = Rules {
            currency: "USD".into(),
            start_at_ms: None,
        };
        let pump_settings = pump::Settings {
            limits,
            policy: Policy {
                grouping,
                rules,
                max_age: None,
                window: Duration::from_secs(86_400),
                scope: Scope::Lane,
            },
            max_ids: 1_000_000,
        };
        let (signals, heard) = mpsc::channel(64);
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
            stop: stop.clone(),
            source: tokio::spawn(kafka::run(settings, clock, signals)),
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
