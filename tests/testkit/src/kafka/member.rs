//! A member of a consumer group that falls silent. In a group of its own, beside a member by the same rules it shows that these were
//! enforced: once its group has put it out, whoever was silent for as long is out of its group, too.
//!
//! Calls block; do not make them on a thread that has other work.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::records::failed;
use crate::error::{Error, Result};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(60);
/// How long an empty poll waits.
const POLL: Duration = Duration::from_millis(100);

/// A member that polls no more. Its client goes on sending heartbeats until the longest time between two polls is
/// over.
pub struct SilentMember {
    _silent: BaseConsumer,
    /// Asks for the group, and belongs to none.
    asks: BaseConsumer,
    group: String,
}

impl SilentMember {
    /// Joins a group to read a topic, by these properties of librdkafka, and falls silent as soon as it has partitions.
    pub fn join(brokers: &str, topic: &str, group: &str, properties: &[(&str, &str)]) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let asks = config.create().map_err(failed)?;
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let silent: BaseConsumer = config.create().map_err(failed)?;
        silent.subscribe(&[topic]).map_err(failed)?;
        let start = Instant::now();
        while silent.assignment().map_err(failed)?.count() == 0 {
            if start.elapsed() > REQUEST {
                return Err(Error::Other(format!("`{group}` was given no partitions")));
            }
            // What it reads, or complains of meanwhile, is of no interest.
            drop(silent.poll(POLL));
        }
        Ok(Self {
            _silent: silent,
            asks,
            group: group.to_owned(),
        })
    }

    /// Whether its group has put it out.
    pub fn is_out(&self) -> Result<bool> {
        let found = self
            .asks
            .fetch_group_list(Some(&self.group), REQUEST)
            .map_err(failed)?;
        let group = found.groups().first();
        Ok(group.is_some_and(|group| group.members().is_empty()))
    }
}
