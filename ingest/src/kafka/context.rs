//! What librdkafka calls back. Callbacks run on the thread that polls; they send a message, wait for its
//! answer where one is due, and decide nothing. A broker that cannot be talked to is complained of many times a second:
//! each kind of complaint is logged once a minute.

use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::refusal;
use super::settings::Settings;
use crate::hold::Repeats;
use crate::source::Voice;

/// Where the clients of a process write what they complain of.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Repeats>>);

impl Log {
    /// How often a line of this kind was left out since one was written, if one is to be written now.
    fn say(&self, kind: &str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).say(kind)
    }

    fn line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                if let Some(left_out) = self.say(&format!("{facility} {message}")) {
                    tracing::warn!(target: "librdkafka", facility, left_out = some(left_out), "{message}");
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn complaint(&self, error: &KafkaError, reason: &str) {
        if let Some(left_out) = self.say(&format!("{error} {reason}")) {
            tracing::warn!(%error, reason, left_out = some(left_out), "the Kafka client complains");
        }
    }
}

/// Nothing is worth a word where nothing was left out.
fn some(left_out: u64) -> Option<u64> {
    (left_out > 0).then_some(left_out)
}

/// What a client complained of last: says why a request that merely timed out did.
#[derive(Debug, Clone)]
pub(super) struct LastError {
    last: Arc<Mutex<Option<String>>>,
    log: Log,
}

impl LastError {
    pub(super) fn new(log: Log) -> Self {
        let last = Arc::default();
        Self { last, log }
    }

    fn note(&self, why: String) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A broker that cannot be reached, a batch that cannot be read, and a refusal are told as such, once, by whoever
    /// waits for them.
    fn complain(&self, settings: &Settings, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            Some(
                RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::Fatal,
            ) => tracing::debug!(%error, reason, "the Kafka client complains"),
            Some(code) if refusal::of(code, reason, settings).is_some() => {
                tracing::debug!(%error, reason, "the Kafka client is refused");
            }
            _ => self.log.complaint(error, reason),
        }
        self.note(reason.to_owned());
    }
}

/// The context of a client that belongs to no group.
#[derive(Debug, Clone)]
pub(super) struct ObserverContext {
    pub(super) settings: Settings,
    pub(super) trouble: LastError,
}

impl ObserverContext {
    pub(super) fn new(settings: &Settings, log: Log) -> Self {
        Self {
            settings: settings.clone(),
            trouble: LastError::new(log),
        }
    }
}

impl ClientContext for ObserverContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.log.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.complain(&self.settings, &error, reason);
    }
}

impl ConsumerContext for ObserverContext {}

/// A change of what the group has assigned to this member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rebalanced {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

/// The context of the member of the group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) settings: Settings,
    pub(super) voice: Voice,
    pub(super) rebalanced: std_mpsc::Sender<Rebalanced>,
    pub(super) trouble: LastError,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.log.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.complain(&self.settings, &error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partitions(list);
        let done = if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Nothing is read before the ledger has said from where: each partition is added when its lane is
            // granted. Until then the group has its answer, and polling goes on.
            let done = consumer.incremental_assign(&TopicPartitionList::new());
            self.tell(Rebalanced::Assigned(partitions));
            done
        } else {
            self.let_go(&partitions);
            let done = self.unassign(consumer, &partitions);
            self.tell(Rebalanced::Revoked(partitions));
            done
        };
        if let Err(error) = done {
            // The group takes the member out and in again.
            tracing::warn!(%error, "a rebalance was not answered");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not shown to Kafka; nothing reads them back");
        }
    }
}

impl Member {
    fn tell(&self, change: Rebalanced) {
        if self.rebalanced.send(change).is_err() {
            tracing::debug!("a rebalance while the member leaves");
        }
    }

    /// Waits until the loop has let go of the lanes: nothing is committed for them from then on. Where the
    /// loop is gone there is nobody left to wait for.
    pub(super) fn let_go(&self, partitions: &[i32]) {
        let lanes = self.settings.lanes(partitions.iter().copied());
        if self.voice.revoke(lanes).blocking_recv().is_err() {
            tracing::debug!("lanes were revoked after the loop had ended");
        }
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) -> KafkaResult<()> {
        let topic = self.settings.topic();
        let mut list = TopicPartitionList::new();
        for reading in super::context::partitions(&consumer.assignment()?) {
            if partitions.contains(&reading) {
                list.add_partition(topic, reading);
            }
        }
        consumer.incremental_unassign(&list)
    }
}

/// The partitions of a list; there is only one topic.
pub(super) fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements()
        .iter()
        .map(|element| element.partition())
        .collect()
}
