//! What the demo stands on: MongoDB, Kafka if asked for, and the product.

use std::time::Duration;

use testkit::kafka::{self, Broker};
use testkit::mongodb::{self, Kind, Mongo};
use testkit::product::{self, Product, Settings};
use testkit::sink::Sink;
use testkit::{Result, net, process};

use crate::{Arguments, Source};

const COLLECTION: &str = "requestEvents";
const PARTITIONS: u16 = 4;
const READY: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(30);

/// Everything that runs. The product is declared first: it ends before what it needs.
pub(crate) struct Stand {
    pub(crate) product: Product,
    broker: Option<(Broker, String)>,
    mongo: Mongo,
    database: String,
}

impl Stand {
    /// Starts everything, and says what.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self> {
        let program = product::program()?;
        if process::orphan_guard().is_none() {
            println!(
                "note: no `setpriv` here; should this process be killed outright, its servers stay behind"
            );
        }
        println!("starting MongoDB …");
        let options = mongodb::Options {
            user_server: true,
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
        println!("starting usage-ledger …");
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
