//! Where events go: a collection, or a topic.

use ::mongodb::Collection;
use bson::Document;

use crate::error::Result;
use crate::kafka::Producer;
use crate::traffic::Item;

/// The most documents per insert.
const BATCH: usize = 1_000;

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
