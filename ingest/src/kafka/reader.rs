//! The member of the consumer group: polls on a thread of its own, and never stops polling for long.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rollup::clock::Clock;
use tokio::runtime::Handle;

use super::client::{Client, POLL};
use super::context::{Log, Rebalanced};
use super::hindrance::{By, Hindrance};
use super::outbox::Outbox;
use super::partitions::{Partitions, Polled};
use super::record::Taken;
use super::refusal;
use super::settings::Settings;
use super::standing::Standing;
use super::topic::{Missing, Topic, changed};
use super::watch::{Seen, Watcher};
use crate::source::{SourceEvent, Stop, Voice};

/// Records in one signal, at most.
const BATCH_RECORDS: usize = 512;
/// Bytes in one signal, at most (and one record more).
const BATCH_BYTES: usize = 1024 * 1024;

/// The poller. See the module.
pub(super) struct Reader {
    settings: Settings,
    clock: Arc<dyn Clock>,
    outbox: Outbox,
    rebalanced: Receiver<Rebalanced>,
    partitions: Partitions,
    seen: Receiver<Seen>,
    topic: Topic,
    standing: Standing,
    /// Why this member can do nothing more.
    ended: Option<Hindrance>,
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
        let client = Client::join(&settings, voice.clone(), log, tell_rebalanced).map_err(failed)?;
        std::thread::Builder::new()
            .name("kafka-watch".into())
            .spawn(move || watcher.run())
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        let standing = Standing::new(settings.is_brokers_group(), before, Instant::now());
        Ok(Self {
            partitions: Partitions::new(settings.clone(), client, asks),
            settings,
            clock,
            outbox: Outbox::new(voice, runtime),
            rebalanced,
            seen,
            topic: Topic::default(),
            standing,
            ended: None,
        })
    }

    /// Reads until nobody listens any more, or until the client says that it can do nothing more, and why.
    pub(super) fn run(mut self) -> Result<Option<Hindrance>, String> {
        while !self.outbox.is_closed() {
            if let Some(why) = self.ended.take() {
                self.partitions.give_up(&self.topic.ours());
                return Ok(Some(why));
            }
            self.follow_group()?;
            self.follow_topic()?;
            self.partitions.advance(&mut self.outbox)?;
            self.partitions.show_positions();
            self.partitions.deliver(&mut self.outbox)?;
            self.poll()?;
        }
        self.partitions.leave();
        Ok(None)
    }

    /// Reads what has arrived, up to a batch.
    fn poll(&mut self) -> Result<(), String> {
        let now_ms = self.clock.now().timestamp_millis();
        let (mut batch, mut bytes, mut wait) = (Vec::new(), 0, POLL);
        let (mut stops, mut suspects, mut failure) = (Vec::new(), Vec::new(), None);
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let Some(polled) = self.partitions.poll(wait, now_ms) else {
                break;
            };
            wait = Duration::ZERO;
            let (partition, taken) = match polled {
                Polled::Message(partition, taken) => (partition, taken),
                Polled::End => {
                    self.standing.read();
                    continue;
                }
                Polled::Failed(error) => {
                    failure = Some(error);
                    break;
                }
            };
            self.standing.read();
            match taken {
                Taken::Records(records) => {
                    bytes += records.iter().map(|record| record.payload.size()).sum::<usize>();
                    batch.extend(records);
                }
                Taken::Nothing => {}
                Taken::Stop(stop) => stops.push((partition, stop)),
                Taken::Suspect => {
                    suspects.push(partition);
                    break;
                }
            }
        }
        if !batch.is_empty() {
            self.outbox.push(SourceEvent::Records(batch));
        }
        for (partition, stop) in stops {
            self.partitions.stop(partition, stop, &mut self.outbox)?;
        }
        if !suspects.is_empty() {
            self.partitions.begin_again(&suspects)?;
        }
        failure.map_or(Ok(()), |error| self.fail(&error))
    }

    fn fail(&mut self, error: &KafkaError) -> Result<(), String> {
        if let Some((code, why)) = self.partitions.client().fatal_error() {
            // This member can do nothing more; another one may, some time.
            let why = format!("this member of the group can do nothing more, and joins anew: {why}");
            let refused = refusal::of(code, &why, &self.settings);
            self.ended = Some(refused.map_or(Hindrance::Away(why), |(_, refused)| refused));
            return Ok(());
        }
        let why = self
            .partitions
            .client()
            .complaint()
            .unwrap_or_else(|| error.to_string());
        let code = error.rdkafka_error_code();
        if let Some((by, refused)) = code.and_then(|code| refusal::of(code, &why, &self.settings)) {
            return self.refused(by, refused);
        }
        match code {
            // It does not say which partition: each is looked at again.
            Some(RDKafkaErrorCode::AutoOffsetReset) => self.partitions.begin_all_again(),
            Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::NotImplemented) => {
                self.partitions.damaged(&why)
            }
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
                return self.partitions.begin_all_again();
            }
        }
        Ok(())
    }

    /// Takes note of what the group has assigned and revoked.
    fn follow_group(&mut self) -> Result<(), String> {
        while let Ok(change) = self.rebalanced.try_recv() {
            match change {
                Rebalanced::Assigned(partitions) => {
                    tracing::info!(?partitions, "the group has assigned partitions");
                    self.standing.taken_in();
                    self.topic.assign(&partitions);
                    self.partitions.assign(&partitions)?;
                }
                Rebalanced::Revoked(partitions) => {
                    tracing::info!(?partitions, "the group has revoked partitions");
                    self.partitions.revoke(&partitions)?;
                    // The group knows no partitions of a topic that is gone; what we read of it has stopped all the
                    // same.
                    for partition in partitions.into_iter().filter(|gone| self.topic.is_gone(*gone)) {
                        let lane = self.settings.lane(partition);
                        let stop = self.deleted();
                        self.outbox.push(SourceEvent::Stopped { lane, stop });
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes note of what was seen of the topic.
    fn follow_topic(&mut self) -> Result<(), String> {
        while let Ok(seen) = self.seen.try_recv() {
            let mut hindrance = None;
            match seen {
                Seen::Away(why) => hindrance = Some(Hindrance::Away(why)),
                Seen::Refused(why) => hindrance = Some(why),
                Seen::Missing => hindrance = self.missing()?,
                Seen::Partitions(partitions) => self.found(partitions)?,
                Seen::Placed(partition, bounds) => {
                    self.partitions.place(partition, bounds, &mut self.outbox)?;
                }
                Seen::Stable(partition, stable) => self.partitions.settle(partition, stable)?,
                Seen::Ends { at_ms, ends } => self.partitions.mark(at_ms, &ends, &mut self.outbox)?,
            }
            self.standing.watch = hindrance;
        }
        let has_partitions = self.partitions.assigned().next().is_some();
        let stalled = self.partitions.stalled();
        for signal in self.standing.news(has_partitions, stalled, Instant::now()) {
            self.outbox.push(signal);
        }
        Ok(())
    }

    /// The topic is not there. What to wait for, if it never was.
    fn missing(&mut self) -> Result<Option<Hindrance>, String> {
        match self.topic.missing() {
            Missing::Unclear => {}
            Missing::Deleted(partitions) => {
                for partition in partitions {
                    let stop = self.deleted();
                    self.partitions.stop(partition, stop, &mut self.outbox)?;
                }
            }
            Missing::Never => {
                let why = format!("the topic `{}` does not exist", self.settings.topic());
                return Ok(Some(Hindrance::Away(why)));
            }
        }
        Ok(None)
    }

    /// The topic is there, with so many partitions.
    fn found(&mut self, partitions: i32) -> Result<(), String> {
        let found = self.topic.found(partitions, self.partitions.assigned());
        if !found.not_ours.is_empty() {
            self.outbox.revoke(self.settings.lanes(found.not_ours));
        }
        if !found.is_changed {
            return Ok(());
        }
        self.outbox
            .push(SourceEvent::Topology(self.settings.lanes(0..partitions)));
        let removed: Vec<i32> = self
            .partitions
            .assigned()
            .filter(|partition| *partition >= partitions)
            .collect();
        for partition in removed {
            let stop = changed(format!("the topic has only {partitions} partitions now"));
            self.partitions.stop(partition, stop, &mut self.outbox)?;
        }
        Ok(())
    }

    /// Why lanes of a topic stop that was deleted.
    fn deleted(&self) -> Stop {
        changed(format!("the topic `{}` was deleted", self.settings.topic()))
    }
}
