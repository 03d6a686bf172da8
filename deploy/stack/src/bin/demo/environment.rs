//! The ground of the demo: MongoDB, Kafka if asked for, and the product.

use std::env;
use std::time::Duration;

use ::mongodb::bson::Document;
use testkit::kafka::{self, Broker, records};
use testkit::mongodb::{self, Kind, Mongo};
use testkit::product::{self, Product, Settings};
use testkit::sink::Sink;
use testkit::{Error, Result, net, process};

use crate::{Arguments, Source, own};

const COLLECTION: &str = "requestEvents";
const PARTITIONS: u16 = 4;
const READY: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(30);
/// Requests per second where nobody says how many.
const RATE: u32 = 200;
/// The same for SecantusDB's build in Python, which fell behind at 200.
const SLOW_RATE: u32 = 20;

/// Everything that runs. The product is declared first: it ends before what it needs.
pub(crate) struct Environment {
    pub(crate) product: Product,
    broker: Option<(Broker, String)>,
    mongo: Mongo,
    database: String,
}

impl Environment {
    /// Starts everything, and says what.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self> {
        let program = product::program()?;
        if process::orphan_guard().is_none() {
            println!(
                "note: no `setpriv` here; should this process be killed outright, its servers stay behind"
            );
        }
        println!("starting MongoDB (a few seconds) …");
        let options = mongodb::Options {
            user_server: true,
            may_be_slow: true,
            ..mongodb::Options::default()
        };
        let mongo = Mongo::start(options).await?;
        println!("  {}", mongo.description());
        let stamp = testkit::now().format("%Y%m%d_%H%M%S");
        let database = match mongo.kind() {
            Kind::User => format!("usage_ledger_demo_{stamp}"),
            _ => "usage".to_owned(),
        };
        let broker = match arguments.source {
            Source::ChangeStream => None,
            Source::Kafka => Some(broker(&format!("usage-ledger-demo-{stamp}")).await?),
        };
        println!("starting usage-ledger (a second) …");
        let mut product = Product::start(settings(program, &mongo, &database, broker.as_ref())?)?;
        product.wait_ready(READY).await?;
        Ok(Self {
            product,
            broker,
            mongo,
            database,
        })
    }

    /// Where events go.
    pub(crate) async fn sink(&self) -> Result<Sink> {
        match &self.broker {
            Some((broker, topic)) => Ok(Sink::Topic(broker.producer(topic)?)),
            None => {
                let database = self.mongo.client().await?.database(&self.database);
                Ok(Sink::Collection(database.collection(COLLECTION)))
            }
        }
    }

    /// How many records were ever given to the source: also those that others sent.
    pub(crate) async fn arrived(&self) -> Result<u64> {
        match &self.broker {
            Some((broker, topic)) => records::written(broker.brokers(), topic, PARTITIONS.into()),
            None => {
                let database = self.mongo.client().await?.database(&self.database);
                let events = database.collection::<Document>(COLLECTION);
                Ok(events.count_documents(Document::new()).await?)
            }
        }
    }

    /// Requests per second: as many as wished for, else what the server keeps up with.
    pub(crate) fn rate(&self, wish: Option<u32>) -> u32 {
        wish.unwrap_or(if self.is_slow() { SLOW_RATE } else { RATE })
    }

    /// Whether the server is only good for a look.
    pub(crate) fn is_slow(&self) -> bool {
        self.mongo.kind() == Kind::SecantusPython
    }

    /// A line for a shell that sends an event of one's own.
    pub(crate) fn send_line(&self) -> Result<String> {
        let program =
            env::current_exe().map_err(|error| Error::Other(format!("find this program: {error}")))?;
        let event = own::example(
            if self.broker.is_some() { "eventId" } else { "_id" },
            testkit::now(),
        );
        let target = match &self.broker {
            Some((broker, topic)) => format!("--brokers {} --topic {topic}", broker.brokers()),
            // The user's own address may hold a password: whoever has the variable set needs no more.
            None if self.mongo.kind() == Kind::User => format!("--collection {}.{COLLECTION}", self.database),
            None => format!(
                "--uri '{}' --collection {}.{COLLECTION}",
                self.mongo.uri(),
                self.database
            ),
        };
        Ok(format!("{} send {target} '{event}'", program.display()))
    }

    /// What the events come through, in words.
    pub(crate) fn source(&self) -> String {
        match &self.broker {
            Some((_, topic)) => format!("Kafka topic {topic}"),
            None => format!("change stream of {}.{COLLECTION}", self.database),
        }
    }

    /// What keeps the ledger, in words.
    pub(crate) fn server(&self) -> &str {
        self.mongo.description()
    }

    /// Asks the product to finish its work and end.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        self.product.stop(DRAIN).await
    }

    /// Ends everything, and leaves the user's own servers as they were.
    pub(crate) async fn end(self) -> Result<()> {
        let Self {
            product,
            broker,
            mongo,
            database,
        } = self;
        drop(product);
        if mongo.kind() == Kind::User {
            mongo.client().await?.database(&database).drop().await?;
        }
        match broker {
            Some((broker, topic)) if broker.is_users() => broker.delete_topic(&topic).await,
            _ => Ok(()),
        }
    }
}

async fn broker(topic: &str) -> Result<(Broker, String)> {
    println!("starting Kafka (about 10 s) …");
    let options = kafka::Options {
        user_brokers: true,
        ..kafka::Options::default()
    };
    let broker = Broker::start(options).await?;
    broker.create_topic(topic, PARTITIONS, &[]).await?;
    println!("  {}", broker.description());
    Ok((broker, topic.to_owned()))
}

fn settings(
    program: std::path::PathBuf,
    mongo: &Mongo,
    database: &str,
    broker: Option<&(Broker, String)>,
) -> Result<Settings> {
    let mut variables = vec![
        ("MONGODB_URI", mongo.uri().to_owned()),
        ("MONGODB_DATABASE", database.to_owned()),
        ("EVENTS_COLLECTION", COLLECTION.to_owned()),
        ("AUTH", "off".to_owned()),
    ];
    if let Some((broker, topic)) = broker {
        variables.push(("SOURCE", "kafka".to_owned()));
        variables.push(("KAFKA_BROKERS", broker.brokers().to_owned()));
        variables.push(("KAFKA_TOPIC", topic.clone()));
        variables.push(("KAFKA_GROUP", topic.clone()));
    }
    Ok(Settings {
        program,
        arguments: vec!["run".to_owned()],
        variables: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        api_port: net::port_near(8080)?,
        admin_port: net::port_near(9464)?,
    })
}
