//! The loop to compare with: it polls, and parses what it gets into a type of the same fields.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use testkit::{Error, Result};

use crate::run::{Done, Since, failed};
use crate::topic::{PARTITIONS, Topic};

/// An event as a program would declare it that trusts its input. Texts are borrowed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(
    dead_code,
    reason = "parsed as any reader of these events has to; what it does with them is left out"
)]
struct Event<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    completed_at: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    organization_id: Cow<'a, str>,
    #[serde(borrow)]
    agent_slug: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    provider: Option<Cow<'a, str>>,
    #[serde(borrow)]
    team_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    api_key_id: Option<Cow<'a, str>>,
    #[serde(default)]
    input_tokens: i64,
    #[serde(default)]
    output_tokens: i64,
    #[serde(default)]
    cached_input_tokens: i64,
    #[serde(default)]
    cache_write_tokens: i64,
    #[serde(default)]
    reasoning_tokens: i64,
    #[serde(borrow)]
    cost: Option<Cow<'a, str>>,
}

pub(crate) async fn run(topic: &Topic) -> Result<Done> {
    tokio::task::block_in_place(|| read(topic))
}

fn read(topic: &Topic) -> Result<Done> {
    let since = Since::now()?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &topic.brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        // As the worker's client is set.
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.max.bytes", "16777216")
        .set("fetch.queue.backoff.ms", "10")
        .set("check.crcs", "true")
        .create()
        .map_err(failed)?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..i32::from(PARTITIONS) {
        partitions
            .add_partition_offset(&topic.name, partition, Offset::Beginning)
            .map_err(failed)?;
    }
    consumer.assign(&partitions).map_err(failed)?;
    for _ in 0..topic.events {
        let message = loop {
            if let Some(polled) = consumer.poll(Duration::from_millis(50)) {
                break polled.map_err(failed)?;
            }
        };
        let value = message.payload().unwrap_or_default();
        let event: Event<'_> =
            serde_json::from_slice(value).map_err(|error| Error::Other(error.to_string()))?;
        black_box(event);
    }
    since.done()
}
