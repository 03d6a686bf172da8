//! Looks at the topic from outside the group, on a thread of its own: which partitions there are, where they
//! begin and end. Its requests block; the thread that polls never waits for them.
//!
//! The ends are also what freshness is told by. The clock is read, then the partition is asked where it ends:
//! everything that reached it before lies below. It asks for the end with open transactions in it, so that a
//! transaction that hangs, and what waits behind it, holds the freshness back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use rollup::clock::Clock;

use super::context::{Log, ObserverContext};
use super::hindrance::Hindrance;
use super::refusal;
use super::settings::Settings;
use super::track::Bounds;

/// How often ends are asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the partitions are asked for.
const TOPIC_EVERY: Duration = Duration::from_secs(5);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// What the poller wants to know.
#[derive(Debug)]
pub(super) enum Ask {
    /// The ends of these partitions, from now on.
    Watch(BTreeSet<i32>),
    /// Where a partition begins and ends, once.
    Place(i32),
    /// Up to where a partition can be read, past no open transaction.
    Stable(i32),
}

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The topic has this many partitions.
    Partitions(i32),
    /// There is no such topic.
    Missing,
    /// Where a partition begins and ends.
    Placed(i32, Bounds),
    /// Up to where a partition can be read.
    Stable(i32, i64),
    /// Where partitions end; everything that reached them before the instant (ms) lies below.
    Ends { at_ms: i64, ends: Vec<(i32, i64)> },
    /// Nobody answers.
    Away(String),
    /// The topic may not be looked at.
    Refused(Hindrance),
}

pub(super) struct Watcher {
    client: BaseConsumer<ObserverContext>,
    context: ObserverContext,
    topic: String,
    clock: Arc<dyn Clock>,
    asks: Receiver<Ask>,
    seen: Sender<Seen>,
    watched: BTreeSet<i32>,
    placing: BTreeSet<i32>,
    settling: BTreeSet<i32>,
    /// Sees only what is stable. Rarely needed.
    reader: Option<BaseConsumer<ObserverContext>>,
    settings: Settings,
}

/// Why a look failed.
enum Failed {
    /// The poller is gone.
    Unheard,
    Kafka(KafkaError),
}

impl From<KafkaError> for Failed {
    fn from(error: KafkaError) -> Self {
        Failed::Kafka(error)
    }
}

impl Watcher {
    pub(super) fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        log: Log,
        asks: Receiver<Ask>,
        seen: Sender<Seen>,
    ) -> Result<Self, KafkaError> {
        let context = ObserverContext::new(settings, log);
        Ok(Self {
            client: settings.observer().create_with_context(context.clone())?,
            context,
            topic: settings.topic().to_owned(),
            clock,
            asks,
            seen,
            watched: BTreeSet::new(),
            placing: BTreeSet::new(),
            settling: BTreeSet::new(),
            reader: None,
            settings: settings.clone(),
        })
    }

    /// Looks until nobody asks any more.
    pub(super) fn run(mut self) {
        let (mut ends_due, mut topic_due) = (Instant::now(), Instant::now());
        loop {
            match self
                .asks
                .recv_timeout(ends_due.saturating_duration_since(Instant::now()))
            {
                Ok(Ask::Watch(partitions)) => self.watched = partitions,
                Ok(Ask::Place(partition)) => {
                    self.placing.insert(partition);
                }
                Ok(Ask::Stable(partition)) => {
                    self.settling.insert(partition);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Log lines and complaints of the client.
            drop(self.client.poll(Duration::ZERO));
            let now = Instant::now();
            let looked = self.look(now >= topic_due, now >= ends_due);
            if now >= ends_due {
                ends_due = now + LOOK_EVERY;
            }
            match looked {
                Ok(true) if now >= topic_due => topic_due = now + TOPIC_EVERY,
                // Without a topic it is asked for each time.
                Ok(_) => {}
                Err(Failed::Unheard) => return,
                Err(Failed::Kafka(error)) if is_about_the_topic(&error) => topic_due = now,
                Err(Failed::Kafka(error)) => {
                    if self.seen.send(self.unseen(&error)).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Why nothing was seen.
    fn unseen(&self, error: &KafkaError) -> Seen {
        let why = self.context.trouble.take().unwrap_or_else(|| error.to_string());
        let code = error.rdkafka_error_code();
        match code.and_then(|code| refusal::of(code, &why, &self.settings)) {
            Some((_, refused)) => Seen::Refused(refused),
            None => Seen::Away(why),
        }
    }

    /// One look. Whether the topic is there, as far as is known.
    fn look(&mut self, topic: bool, ends: bool) -> Result<bool, Failed> {
        if topic && !self.look_at_topic()? {
            return Ok(false);
        }
        let mut looked = Ok(());
        for partition in self.placing.clone() {
            match self.client.fetch_watermarks(&self.topic, partition, REQUEST) {
                Ok((low, high)) => {
                    self.placing.remove(&partition);
                    self.tell(Seen::Placed(partition, Bounds { low, high }))?;
                }
                // It may be the only one without a leader.
                Err(error) => looked = Err(error),
            }
        }
        if ends && !self.watched.is_empty() {
            self.look_at_ends()?;
        }
        self.look_at_stable()?;
        looked?;
        Ok(true)
    }

    fn look_at_topic(&self) -> Result<bool, Failed> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), REQUEST)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let Some(topic) = found else {
            self.tell(Seen::Missing)?;
            return Ok(false);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                self.tell(Seen::Missing)?;
                return Ok(false);
            }
            Some(error) => return Err(KafkaError::MetadataFetch(error).into()),
        }
        let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        self.tell(Seen::Partitions(partitions))?;
        Ok(true)
    }

    fn look_at_ends(&self) -> Result<(), Failed> {
        let at_ms = self.clock.now().timestamp_millis();
        let mut list = TopicPartitionList::with_capacity(self.watched.len());
        for partition in &self.watched {
            // Asks by time, where this means "the end".
            list.add_partition_offset(&self.topic, *partition, Offset::End)?;
        }
        let answer = self.client.offsets_for_times(list, REQUEST)?;
        let mut ends = Vec::with_capacity(self.watched.len());
        for element in answer.elements() {
            element.error()?;
            if let Offset::Offset(end) = element.offset() {
                ends.push((element.partition(), end));
            }
        }
        self.tell(Seen::Ends { at_ms, ends })
    }

    fn look_at_stable(&mut self) -> Result<(), Failed> {
        let Some(partition) = self.settling.first().copied() else {
            return Ok(());
        };
        if self.reader.is_none() {
            let mut config = self.settings.observer();
            config.set("isolation.level", "read_committed");
            self.reader = Some(config.create_with_context(self.context.clone())?);
        }
        if let Some(reader) = &self.reader {
            drop(reader.poll(Duration::ZERO));
            let (_, stable) = reader.fetch_watermarks(&self.topic, partition, REQUEST)?;
            self.settling.remove(&partition);
            self.tell(Seen::Stable(partition, stable))?;
        }
        Ok(())
    }

    fn tell(&self, seen: Seen) -> Result<(), Failed> {
        self.seen.send(seen).map_err(|_| Failed::Unheard)
    }
}

/// Where a partition ends at this moment. Blocks for as long as a request takes.
pub(super) fn end(settings: &Settings, partition: i32) -> Result<i64, String> {
    let context = ObserverContext::new(settings, Log::default());
    let asked = settings
        .observer()
        .create_with_context::<_, BaseConsumer<ObserverContext>>(context.clone())
        .and_then(|client| client.fetch_watermarks(settings.topic(), partition, REQUEST));
    let why = |error: KafkaError| context.trouble.take().unwrap_or_else(|| error.to_string());
    asked.map(|(_, end)| end).map_err(why)
}

/// A partition or topic that is not there is for the look at the topic to judge.
fn is_about_the_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}
