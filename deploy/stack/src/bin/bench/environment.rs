//! The ground of the measurements: MongoDB, Kafka, and topics full of events.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use mongodb::Client;
use testkit::kafka::{self, Broker};
use testkit::mongodb::{self as server, Mongo};
use testkit::product::{self, Product, Settings};
use testkit::workload::{Keys, Workload};
use testkit::{Result, net};

pub(crate) const PARTITIONS: u16 = 8;
/// Events that are made before they are sent.
const BATCH: usize = 5_000;

pub(crate) struct Environment {
    program: PathBuf,
    mongo: Mongo,
    broker: Broker,
    client: Client,
    /// Begins the name of everything that is made.
    name: String,
    made: AtomicU32,
}

/// A topic, and what is in it.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) keys: Keys,
    pub(crate) events: u32,
}

impl Environment {
    pub(crate) async fn start() -> Result<Self> {
        let program = product::program()?;
        let mongo = Mongo::start(server::Options {
            user_server: true,
            ..server::Options::default()
        })
        .await?;
        eprintln!("{}", mongo.description());
        let broker = Broker::start(kafka::Options {
            user_brokers: true,
            ..kafka::Options::default()
        })
        .await?;
        eprintln!("{}", broker.description());
        let client = mongo.client().await?;
        Ok(Self {
            program,
            mongo,
            broker,
            client,
            name: format!("usage-ledger-bench-{}", testkit::now().format("%Y%m%d-%H%M%S")),
            made: AtomicU32::new(0),
        })
    }

    /// Makes a topic with this many events of a workload.
    pub(crate) async fn fill(&self, keys: Keys, events: u32) -> Result<Topic> {
        let name = self.fresh();
        self.broker.create_topic(&name, PARTITIONS, &[]).await?;
        let started = Instant::now();
        let mut workload =
            Workload::new(keys, testkit::now()).take(usize::try_from(events).unwrap_or(usize::MAX));
        let mut producer = self.broker.producer(&name)?;
        loop {
            let batch: Vec<_> = workload.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let records = batch.iter().map(|event| (event.key(), event.json()));
            producer.send(records).await?;
        }
        producer.close().await?;
        eprintln!(
            "{events} {} events are in the topic after {:.1?}",
            keys.name,
            started.elapsed()
        );
        Ok(Topic { name, keys, events })
    }

    /// A name that nothing has yet.
    pub(crate) fn fresh(&self) -> String {
        format!("{}-{}", self.name, self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// A database of its own, to be dropped.
    pub(crate) fn database(&self) -> mongodb::Database {
        self.client.database(&self.fresh())
    }

    /// The program, reading this topic into this database.
    pub(crate) fn program(&self, topic: &str, database: &str, scope: &str) -> Result<Product> {
        self.program_on(self.mongo.uri(), topic, database, scope)
    }

    /// The same with a database of another server.
    pub(crate) fn program_on(&self, uri: &str, topic: &str, database: &str, scope: &str) -> Result<Product> {
        self.start_program(&self.program, uri, (topic, database, scope), "", "ingest")
    }

    /// Another command of the program, on this database.
    pub(crate) fn command(&self, command: &str, database: &str) -> Result<Product> {
        self.start_program(&self.program, self.mongo.uri(), ("", database, ""), "", command)
    }

    /// Another version of the program, with so many events a commit at most.
    pub(crate) fn version(
        &self,
        topic: &str,
        database: &str,
        scope: &str,
        most: Option<u32>,
        version: Option<&Path>,
    ) -> Result<Product> {
        let most = most.map_or(String::new(), |most| most.to_string());
        let program = version.unwrap_or(&self.program);
        self.start_program(
            program,
            self.mongo.uri(),
            (topic, database, scope),
            &most,
            "ingest",
        )
    }

    fn start_program(
        &self,
        program: &Path,
        uri: &str,
        (topic, database, scope): (&str, &str, &str),
        most: &str,
        command: &str,
    ) -> Result<Product> {
        let mut variables = vec![
            ("MONGODB_URI", uri),
            ("MONGODB_DATABASE", database),
            ("SOURCE", "kafka"),
            ("KAFKA_BROKERS", self.broker.brokers()),
            ("KAFKA_TOPIC", topic),
            ("KAFKA_GROUP", database),
            ("DEDUPE_SCOPE", scope),
            ("BATCH_MAX_EVENTS", most),
        ];
        variables.retain(|(_, value)| !value.is_empty());
        Product::start(Settings {
            program: program.to_owned(),
            arguments: vec![command.to_owned()],
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            api_port: net::free_port()?,
            admin_port: net::free_port()?,
        })
    }

    /// Whether MongoDB is the user's own.
    pub(crate) fn is_users(&self) -> bool {
        self.mongo.kind() == server::Kind::User
    }

    pub(crate) fn uri(&self) -> &str {
        self.mongo.uri()
    }

    pub(crate) fn brokers(&self) -> &str {
        self.broker.brokers()
    }

    pub(crate) async fn empty_topic(&self) -> Result<String> {
        let name = self.fresh();
        self.broker.create_topic(&name, PARTITIONS, &[]).await?;
        Ok(name)
    }

    /// Ends what was started, and leaves the user's own servers as they were.
    pub(crate) async fn end(self) -> Result<()> {
        if self.broker.is_users() {
            let topics = self
                .broker
                .tool("org.apache.kafka.tools.TopicCommand", &["--list"])
                .await?;
            for topic in topics.lines().filter(|topic| topic.starts_with(&self.name)) {
                self.broker.delete_topic(topic).await?;
            }
        }
        Ok(())
    }
}
