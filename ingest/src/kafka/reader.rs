//! The member of the consumer group: polls on a thread of its own, and never stops polling for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use tokio::runtime::Handle;

use super::context::{LastError, Log, Member, Rebalanced};
use super::lanes::Lane;
use super::outbox::Outbox;
use super::record::{self, Taken};
use super::refusal::{self, By};
use super::settings::Settings;
use super::standing::{Hindrance, Standing};
use super::topic::Topic;
use super::watch::{Ask, Seen, Watcher};
use crate::clock::Clock;
use crate::source::{SourceEvent, Voice};

/// Records in one signal, at most.
const BATCH_RECORDS: usize = 512;
/// Bytes in one signal, at most (and one record more).
const BATCH_BYTES: usize = 1024 * 1024;
/// How long an empty poll waits.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How often Kafka is told of committed positions.
pub(super) const SHOW_EVERY: Duration = Duration::from_secs(5);

/// The poller. See the module.
pub(super) struct Reader {
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) consumer: BaseConsumer<Member>,
    pub(super) trouble: LastError,
    pub(super) outbox: Outbox,
    pub(super) rebalanced: Receiver<Rebalanced>,
    pub(super) asks: Sender<Ask>,
    pub(super) seen: Receiver<Seen>,
    pub(super) lanes: BTreeMap<i32, Lane>,
    pub(super) watched: BTreeSet<i32>,
    pub(super) topic: Topic,
    pub(super) standing: Standing,
    /// Partitions that give nothing although they have more.
    pub(super) stalled: BTreeSet<i32>,
    pub(super) is_paused: bool,
    pub(super) show_at: Instant,
    /// Why this member can do nothing more.
    pub(super) ended: Option<Hindrance>,
}

impl Reader {
    /// Joins the group, and starts to look at the topic. `before`: why the member before this one ended.
    pub(super) fn join(
        settings: Settings,
        clock: Arc<dyn Clock>,
        voice: Voice,
        log: Log,
        before: Option<Hindrance>,
        runtime: Handle,
    ) -> Result<Self, String> {
        let failed = |error: KafkaError| format!("the Kafka client cannot be made: {error}");
        let (tell_rebalanced, rebalanced) = channel();
        let (asks, asked) = channel();
        let (tell_seen, seen) = channel();
        let watcher =
            Watcher::new(&settings, Arc::clone(&clock), log.clone(), asked, tell_seen).map_err(failed)?;
        let trouble = LastError::new(log);
        let context = Member {
            settings: settings.clone(),
            voice: voice.clone(),
            rebalanced: tell_rebalanced,
            trouble: trouble.clone(),
        };
        let consumer: BaseConsumer<Member> =
            settings.member().create_with_context(context).map_err(failed)?;
        // Once: subscribing again would rebalance again (D12).
        consumer.subscribe(&[settings.topic()]).map_err(failed)?;
        std::thread::Builder::new()
            .name("kafka-watch".into())
            .spawn(move || watcher.run())
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        let standing = Standing::new(settings.is_brokers_group(), before, Instant::now());
        Ok(Self {
            settings,
            clock,
            consumer,
            trouble,
            outbox: Outbox::new(voice, runtime),
            rebalanced,
            asks,
            seen,
            lanes: BTreeMap::new(),
            watched: BTreeSet::new(),
            topic: Topic::default(),
            standing,
            stalled: BTreeSet::new(),
            is_paused: false,
            show_at: Instant::now(),
            ended: None,
        })
    }

    /// Reads until nobody listens any more, or until the client says that it can do nothing more, and why.
    pub(super) fn run(mut self) -> Result<Option<Hindrance>, String> {
        while !self.outbox.is_closed() {
            if let Some(why) = self.ended.take() {
                self.give_up();
                return Ok(Some(why));
            }
            self.follow_group()?;
            self.follow_topic()?;
            self.advance_lanes()?;
            self.show_positions();
            self.deliver()?;
            self.poll()?;
        }
        self.leave();
        Ok(None)
    }

    /// Hands over what was read. While the loop stands still the partitions are paused, and polling goes on.
    fn deliver(&mut self) -> Result<(), String> {
        let taken = self.outbox.deliver(!self.is_paused);
        if taken == self.is_paused {
            self.pause(!taken)?;
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, pause: bool) -> Result<(), String> {
        let list = self.list(self.watched.iter().copied());
        let done = match pause {
            true => self.consumer.pause(&list),
            false => self.consumer.resume(&list),
        };
        self.is_paused = pause;
        done.map_err(|error| format!("partitions cannot be paused or resumed: {error}"))
    }

    /// Reads what has arrived, up to a batch.
    fn poll(&mut self) -> Result<(), String> {
        let now_ms = self.clock.now().timestamp_millis();
        let (mut batch, mut bytes, mut wait) = (Vec::new(), 0, POLL);
        let (mut stops, mut suspects, mut failure) = (Vec::new(), Vec::new(), None);
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    self.standing.read();
                    match record::take(&mut self.lanes, &message, now_ms) {
                        Taken::Record(record) => {
                            bytes += record.payload.size();
                            batch.push(record);
                        }
                        Taken::Nothing => {}
                        Taken::Stop(stop) => stops.push((message.partition(), stop)),
                        Taken::Suspect => {
                            suspects.push(message.partition());
                            break;
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.standing.read();
                    if let Some((_, track)) = self.lanes.get_mut(&partition).and_then(Lane::reading) {
                        track.meet_end();
                    }
                }
                // What follows may depend on what it means.
                Some(Err(error)) => {
                    failure = Some(error);
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        if !batch.is_empty() {
            self.outbox.push(SourceEvent::Records(batch));
        }
        for (partition, stop) in stops {
            self.stop(partition, stop)?;
        }
        if !suspects.is_empty() {
            self.begin_again(&suspects)?;
        }
        failure.map_or(Ok(()), |error| self.fail(&error))
    }

    fn fail(&mut self, error: &KafkaError) -> Result<(), String> {
        if let Some((code, why)) = self.consumer.client().fatal_error() {
            // This member can do nothing more; another one may, some time.
            let why = format!("this member of the group can do nothing more, and joins anew: {why}");
            let refused = refusal::of(code, &why, &self.settings);
            self.ended = Some(refused.map_or(Hindrance::Away(why), |(_, refused)| refused));
            return Ok(());
        }
        let why = self.trouble.take().unwrap_or_else(|| error.to_string());
        let code = error.rdkafka_error_code();
        if let Some((by, refused)) = code.and_then(|code| refusal::of(code, &why, &self.settings)) {
            return self.refused(by, refused);
        }
        match code {
            // It does not say which partition: each is looked at again.
            Some(RDKafkaErrorCode::AutoOffsetReset) => self.begin_all_again(),
            Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::NotImplemented) => self.damaged(&why),
            // The client has complained of it; the watch tells whether the topic is there.
            _ => {
                tracing::debug!(%error, why, "a poll failed; polling goes on");
                Ok(())
            }
        }
    }

    fn refused(&mut self, by: By, why: Hindrance) -> Result<(), String> {
        match by {
            // A new member is refused anew: that none is refused says that it is in.
            By::Group if self.settings.is_brokers_group() => self.ended = Some(why),
            By::Group => self.standing.refuse(by, why),
            By::Topic => {
                self.standing.refuse(by, why);
                // So that an end which was met before is met again, and tells that the topic can be read.
                return self.begin_all_again();
            }
        }
        Ok(())
    }

    fn begin_all_again(&mut self) -> Result<(), String> {
        let all: Vec<i32> = self.watched.iter().copied().collect();
        self.begin_again(&all)
    }

    /// Takes note of what the group has assigned and revoked.
    fn follow_group(&mut self) -> Result<(), String> {
        while let Ok(change) = self.rebalanced.try_recv() {
            match change {
                Rebalanced::Assigned(partitions) => {
                    tracing::info!(?partitions, "the group has assigned partitions");
                    self.standing.taken_in();
                    let now = Instant::now();
                    for partition in partitions {
                        self.lanes.insert(partition, Lane::new(now));
                        self.topic.ours.insert(partition);
                    }
                }
                Rebalanced::Revoked(partitions) => {
                    tracing::info!(?partitions, "the group has revoked partitions");
                    for partition in partitions {
                        self.lanes.remove(&partition);
                        self.stalled.remove(&partition);
                        if self.topic.gone.contains(&partition) {
                            // The group knows no partitions of a topic that is gone; what we read of it has stopped
                            // all the same.
                            self.tell_deleted(partition);
                        }
                    }
                }
            }
            self.watch()?;
        }
        Ok(())
    }
}
