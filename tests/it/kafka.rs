//! Kafka as the source of the real program.

mod connectors;
mod contract;
mod garbage;
mod group;
mod identity;
mod lease;
mod newer;
mod payloads;
mod pressure;
mod proof;
mod refused;
mod scope;
mod security;
mod stopped;
mod takeover;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use testkit::kafka::Broker;
use testkit::kafka::records::Sender;
use testkit::product::Product;

use testkit::eventually;
use testkit::world::World;

/// How long a worker may take to leave.
const LEAVE: Duration = Duration::from_secs(40);

/// A topic, and the database that its events are counted in.
struct Topic {
    world: World,
    brokers: String,
    name: String,
    _shared: Option<Arc<Broker>>,
}

impl Topic {
    /// A topic on the shared broker, counted in a database on the shared server.
    async fn new(name: &str, partitions: u16) -> Self {
        let broker = testkit::shared::broker().await;
        let world = World::new(&format!("kafka_{name}")).await;
        let topic = Self::on(&broker, world, name, partitions).await;
        Self {
            _shared: Some(broker),
            ..topic
        }
    }

    /// A topic on this broker, counted in this database.
    async fn on(broker: &Broker, world: World, name: &str, partitions: u16) -> Self {
        broker.create_topic(name, partitions, &[]).await.expect("a topic");
        Self {
            world,
            brokers: broker.brokers().to_owned(),
            name: name.to_owned(),
            _shared: None,
        }
    }

    fn sender(&self) -> Sender {
        Sender::new(&self.brokers, &self.name, &[]).expect("a producer")
    }

    /// Sends numbered events of one organization, and waits until they have arrived.
    fn send(&self, partition: i32, numbers: std::ops::Range<u64>) {
        let sender = self.sender();
        for number in numbers {
            let event = event(&format!("e-{number}"));
            sender
                .send(partition, "acme", Some(event.as_bytes()))
                .expect("sends");
        }
        sender.flush().expect("arrives");
    }

    /// Variables of a worker in the group of the topic, and then these.
    fn variables(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = [
            ("SOURCE", "kafka"),
            ("KAFKA_BROKERS", self.brokers.as_str()),
            ("KAFKA_TOPIC", self.name.as_str()),
            ("KAFKA_GROUP", self.name.as_str()),
        ];
        self.world.variables(&[&own[..], more].concat())
    }

    /// Starts a worker.
    fn worker(&self, more: &[(&str, &str)]) -> Product {
        testkit::world::start(&["ingest"], self.variables(more))
    }

    fn lane(&self, partition: i32) -> String {
        format!("kafka/{}/{partition}", self.name)
    }

    async fn fence(&self, partition: i32) -> Document {
        let fences = self.world.collection("usageFences");
        let fence = fences.find_one(doc! {"_id": self.lane(partition)}).await;
        fence.expect("reads").unwrap_or_default()
    }

    /// A counter over all lanes.
    async fn sum(&self, name: &str) -> i64 {
        self.world.sum_of_lanes(name).await
    }

    /// Waits until a lane stands at this offset.
    async fn wait_next(&self, partition: i32, next: i64) {
        eventually(&format!("partition {partition} is read up to {next}"), || async {
            self.fence(partition).await.get_i64("next").unwrap_or(0) >= next
        })
        .await;
    }
}

/// An event with 10 input tokens.
fn event(id: &str) -> String {
    format!(
        r#"{{"eventId":"{id}","completedAt":1767607200000,"source":"chat","organizationId":"acme","inputTokens":10}}"#
    )
}
