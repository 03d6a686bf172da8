//! A topic that is filled with the events of a workload.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use testkit::Result;
use testkit::kafka::Broker;
use testkit::workload::{Keys, Workload};

use crate::run::failed;

pub(crate) const PARTITIONS: u16 = 8;
const ARRIVES: Duration = Duration::from_secs(60);

pub(crate) struct Topic {
    pub(crate) brokers: String,
    pub(crate) name: String,
    pub(crate) events: u64,
}

impl Topic {
    /// Makes it, and sends the events.
    pub(crate) async fn filled(broker: &Broker, keys: Keys, events: u64) -> Result<Self> {
        let name = format!("usage-ledger-bench-{}", testkit::now().format("%Y%m%d-%H%M%S"));
        broker.create_topic(&name, PARTITIONS, &[]).await?;
        let topic = Self {
            brokers: broker.brokers().to_owned(),
            name,
            events,
        };
        tokio::task::block_in_place(|| topic.fill(keys))?;
        Ok(topic)
    }

    fn fill(&self, keys: Keys) -> Result<()> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("linger.ms", "20")
            .create()
            .map_err(failed)?;
        let events = usize::try_from(self.events).unwrap_or(usize::MAX);
        for event in Workload::new(keys, testkit::now()).take(events) {
            let json = event.json();
            let mut record = BaseRecord::to(&self.name).key(event.key()).payload(&json);
            while let Err((_, back)) = producer.send(record) {
                // Its queue is full.
                record = back;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        producer.flush(ARRIVES).map_err(failed)
    }

    /// Removes it from a cluster that goes on without us.
    pub(crate) async fn delete(self, broker: &Broker) -> Result<()> {
        if broker.is_users() {
            broker.delete_topic(&self.name).await?;
        }
        Ok(())
    }
}
