//! Where events go: a collection, or a topic.

use std::path::Path;

use ::mongodb::{Client, Collection};
use bson::Document;

use crate::error::{Error, Result};
use crate::kafka::Producer;
use crate::traffic::Item;

/// The most documents per insert.
const BATCH: usize = 1_000;

/// Which collection or topic, as a command line names it.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The MongoDB to write to
    #[arg(
        long,
        env = "USAGE_LEDGER_MONGODB_URI",
        hide_env_values = true,
        default_value = "mongodb://127.0.0.1:27017"
    )]
    pub uri: String,
    /// The collection to insert into, as database.collection
    #[arg(long, default_value = "usage.requestEvents")]
    pub collection: String,
    /// Kafka brokers to send to, instead of MongoDB; needs Java and the jars of deploy/setup.sh kafka
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// The Kafka topic, which must be there
    #[arg(long, default_value = "request-events", requires = "brokers")]
    pub topic: String,
}

impl Target {
    /// Connects to it; `log` receives what Kafka's producer says.
    pub async fn open(&self, log: &Path) -> Result<Sink> {
        if let Some(brokers) = &self.brokers {
            return Ok(Sink::Topic(Producer::connect(brokers, &self.topic, log)?));
        }
        let (database, collection) = self
            .collection
            .split_once('.')
            .ok_or_else(|| Error::Other("--collection: expected database.collection".to_owned()))?;
        let client = Client::with_uri_str(&self.uri).await?;
        Ok(Sink::Collection(client.database(database).collection(collection)))
    }
}

/// Takes events.
#[derive(Debug)]
pub enum Sink {
    /// Each event becomes a document.
    Collection(Collection<Document>),
    /// Each event becomes a record, keyed by its organization.
    Topic(Producer),
}

impl Sink {
    /// Sends events, in order.
    pub async fn send(&mut self, items: &[Item]) -> Result<()> {
        match self {
            Sink::Collection(collection) => {
                for batch in items.chunks(BATCH) {
                    collection.insert_many(batch.iter().map(Item::document)).await?;
                }
                Ok(())
            }
            Sink::Topic(producer) => {
                producer
                    .send(items.iter().map(|item| (item.key(), item.json())))
                    .await
            }
        }
    }

    /// Waits until all has arrived.
    pub async fn close(self) -> Result<()> {
        match self {
            Sink::Collection(_) => Ok(()),
            Sink::Topic(producer) => producer.close().await,
        }
    }
}
