//! The client that is the member of the group: what is asked of librdkafka. Nothing is decided here.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::context::{self, LastError, Log, Member, Rebalanced};
use super::settings::Settings;
use crate::source::Voice;

/// How long an empty poll waits.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Client {
    consumer: BaseConsumer<Member>,
    trouble: LastError,
    topic: String,
}

impl Client {
    /// Joins the group.
    pub(super) fn join(
        settings: &Settings,
        voice: Voice,
        log: Log,
        rebalanced: Sender<Rebalanced>,
    ) -> Result<Self, KafkaError> {
        let trouble = LastError::new(log);
        let context = Member {
            settings: settings.clone(),
            voice,
            rebalanced,
            trouble: trouble.clone(),
        };
        let consumer: BaseConsumer<Member> = settings.member().create_with_context(context)?;
        // Once: subscribing again would rebalance again (D12).
        consumer.subscribe(&[settings.topic()])?;
        Ok(Self {
            consumer,
            trouble,
            topic: settings.topic().to_owned(),
        })
    }

    /// The next message, or what happened instead.
    pub(super) fn poll(&self, wait: Duration) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.consumer.poll(wait)
    }

    /// Why the client can do nothing more, if it cannot.
    pub(super) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.consumer.client().fatal_error()
    }

    /// What it complained of last, told once.
    pub(super) fn complaint(&self) -> Option<String> {
        self.trouble.take()
    }

    /// Begins to read a partition.
    pub(super) fn begin(&self, partition: i32, offset: i64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        // A partition that was paused when it was given up is so still.
        self.consumer.resume(&list)?;
        self.consumer.incremental_assign(&list)
    }

    /// Stops reading partitions. The group still has them assigned to us.
    pub(super) fn unread(&self, partitions: &[i32]) -> Result<(), String> {
        let failed = |error| format!("partitions cannot be let go of: {error}");
        let reading = context::partitions(&self.consumer.assignment().map_err(failed)?);
        let list = self.list(
            reading
                .into_iter()
                .filter(|partition| partitions.contains(partition)),
        );
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.incremental_unassign(&list).map_err(failed)
    }

    /// Pauses partitions that are being read, or lets them go on.
    pub(super) fn pause(&self, partitions: impl Iterator<Item = i32>, pause: bool) -> Result<(), String> {
        let list = self.list(partitions);
        let done = match pause {
            true => self.consumer.pause(&list),
            false => self.consumer.resume(&list),
        };
        done.map_err(|error| format!("partitions cannot be paused or resumed: {error}"))
    }

    /// The offset after the last message of each partition, markers of transactions included.
    pub(super) fn positions(&self) -> Result<BTreeMap<i32, i64>, String> {
        let positions = self
            .consumer
            .position()
            .map_err(|error| format!("positions cannot be read: {error}"))?;
        let known = |element: &TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        };
        Ok(positions.elements().iter().filter_map(known).collect())
    }

    /// Tells Kafka how far partitions are committed, for tools that show lag.
    pub(super) fn show(&self, committed: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for (partition, next) in committed {
            let added = list.add_partition_offset(&self.topic, *partition, Offset::Offset(*next));
            debug_assert!(added.is_ok(), "an offset from a commit is an offset");
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets were not shown to Kafka; nothing reads them back");
        }
    }

    /// Has the loop let go of partitions, and waits for that.
    pub(super) fn let_go(&self, partitions: &[i32]) {
        self.consumer.context().let_go(partitions);
    }

    /// Leaves the group.
    pub(super) fn leave(self) {
        let consumer = self.consumer;
        let (left, leaving) = channel::<()>();
        let leave = move || {
            match consumer.close_queue() {
                Ok(()) => {
                    while !consumer.closed() {
                        drop(consumer.poll(POLL));
                    }
                }
                Err(error) => tracing::warn!(%error, "the client could not leave its group"),
            }
            // It is a member no longer. To take it apart may take librdkafka for ever, where a rebalance has paused
            // partitions; what is left of it ends with the process.
            std::mem::forget(consumer);
            drop(left);
        };
        let spawned = std::thread::Builder::new()
            .name("kafka-leave".into())
            .spawn(leave);
        // Told by its end being dropped.
        if spawned.is_err() || leaving.recv_timeout(LEAVE) == Err(RecvTimeoutError::Timeout) {
            // The client waits for a broker that is away, for as long as a session lasts.
            tracing::warn!("the group could not be told that this member leaves; it will find out by itself");
        }
    }

    fn list(&self, partitions: impl Iterator<Item = i32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }
}
