//! Records as a test wants them: in partitions of its choice, in transactions, and read back in full.
//!
//! Calls block; do not make them on a thread that has other work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::error::{Error, Result};

/// How long a request may take, with a broker that starts again meanwhile.
const REQUEST: Duration = Duration::from_secs(60);
/// How long everything may take to arrive.
const ARRIVE: Duration = Duration::from_secs(120);

/// What did not arrive, and why.
#[derive(Debug, Clone, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl ClientContext for Reports {
    // A broker that goes away on purpose is no news.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, _: ()) {
        if let Err((error, record)) = report {
            let why = format!(
                "a record for partition {} did not arrive: {error}",
                record.partition()
            );
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(why);
        }
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its records are there.
    Committed,
    /// Its records are hidden from whoever reads committed records only.
    Aborted,
}

/// Sends records to a topic, each partition in order and without repetition of its own.
pub struct Sender {
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    topic: String,
}

impl Sender {
    /// Sends outside of transactions; `properties` are librdkafka's.
    pub fn new(brokers: &str, topic: &str, properties: &[(&str, &str)]) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "5");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let reports = Reports::default();
        let producer = config.create_with_context(reports.clone()).map_err(failed)?;
        Ok(Self {
            producer,
            reports,
            topic: topic.to_owned(),
        })
    }

    /// Sends in transactions of this id. What an earlier sender of the id left open is aborted.
    pub fn transactional(brokers: &str, topic: &str, id: &str) -> Result<Self> {
        let sender = Self::new(brokers, topic, &[("transactional.id", id)])?;
        retried(|| sender.producer.init_transactions(REQUEST))?;
        Ok(sender)
    }

    /// Puts a record on its way; `None` is a tombstone.
    pub fn send(&self, partition: i32, key: &str, value: Option<&[u8]>) -> Result<()> {
        self.send_with(&[], partition, key, value)
    }

    /// The same with headers.
    pub fn send_with(
        &self,
        headers: &[(&str, &[u8])],
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<()> {
        self.send_bytes(headers, partition, Some(key.as_bytes()), value)
    }

    /// The same with any key, or none.
    pub fn send_bytes(
        &self,
        headers: &[(&str, &[u8])],
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition);
        record.key = key;
        record.payload = value;
        let header = |all: OwnedHeaders, (key, value): &(&str, &[u8])| {
            all.insert(Header {
                key,
                value: Some(*value),
            })
        };
        record.headers = Some(headers.iter().fold(OwnedHeaders::new(), header));
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(failed(error));
            }
            record = back;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until everything has arrived; fails where something did not.
    pub fn flush(&self) -> Result<()> {
        self.producer.flush(ARRIVE).map_err(failed)?;
        let lost = std::mem::take(&mut *self.reports.0.lock().unwrap_or_else(PoisonError::into_inner));
        match lost.first() {
            None => Ok(()),
            Some(first) => Err(Error::Other(format!("{} records lost; {first}", lost.len()))),
        }
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.producer.begin_transaction().map_err(failed)
    }

    /// Ends the transaction as wished; one that cannot be committed is aborted. After an error its outcome is not
    /// known, and the sender is of no more use.
    pub fn end(&self, wish: Ended) -> Result<Ended> {
        if wish == Ended::Committed {
            match retried(|| self.producer.commit_transaction(REQUEST)) {
                Err(Undone::MustAbort(_)) => {}
                done => return done.map(|()| Ended::Committed).map_err(Error::from),
            }
        }
        retried(|| self.producer.abort_transaction(REQUEST))?;
        // Records that had not been sent yet are reported as lost.
        self.reports
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(Ended::Aborted)
    }
}

/// Why a step of a transaction was not done.
enum Undone {
    MustAbort(KafkaError),
    Failed(KafkaError),
}

impl From<Undone> for Error {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::MustAbort(error) | Undone::Failed(error) => failed(error),
        }
    }
}

fn retried(step: impl Fn() -> Result<(), KafkaError>) -> Result<(), Undone> {
    loop {
        match step() {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                return Err(Undone::MustAbort(KafkaError::Transaction(error)));
            }
            Err(error) => return Err(Undone::Failed(error)),
        }
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its offset.
    pub offset: i64,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// Everything in a partition that a reader of committed records sees, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// The records.
    pub records: Vec<Stored>,
    /// The offset behind the last one, markers of transactions included.
    pub end: i64,
}

/// Reads a topic from its beginning to its end.
pub fn read(brokers: &str, topic: &str, partitions: i32) -> Result<Vec<Partition>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.set("group.id", format!("{topic}-read-back"));
    config.set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut list = TopicPartitionList::new();
    let mut read = Vec::new();
    for partition in 0..partitions {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition, REQUEST)
            .map_err(failed)?;
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .map_err(failed)?;
        read.push(Partition {
            records: Vec::new(),
            end,
        });
    }
    consumer.assign(&list).map_err(failed)?;
    let mut open: BTreeSet<i32> = (0..partitions).collect();
    while !open.is_empty() {
        match consumer.poll(REQUEST) {
            Some(Ok(message)) => {
                let partition = usize::try_from(message.partition()).unwrap_or(usize::MAX);
                let of = read.get_mut(partition).ok_or_else(|| nothing(topic))?;
                of.records.push(Stored {
                    offset: message.offset(),
                    value: message.payload().map(<[u8]>::to_vec),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(nothing(topic)),
        }
    }
    Ok(read)
}

/// How many records were ever written to a topic, markers of transactions included.
pub fn written(brokers: &str, topic: &str, partitions: i32) -> Result<u64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut written = 0;
    for partition in 0..partitions {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition, REQUEST)
            .map_err(failed)?;
        written += u64::try_from(end).unwrap_or(0);
    }
    Ok(written)
}

fn nothing(topic: &str) -> Error {
    Error::Other(format!("`{topic}` cannot be read to its end"))
}

pub(super) fn failed(error: KafkaError) -> Error {
    Error::Other(format!("kafka: {error}"))
}
