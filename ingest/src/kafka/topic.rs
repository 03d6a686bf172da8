//! What becomes of the topic as a whole: partitions are added, it is deleted, nobody answers.

use std::collections::BTreeSet;
use std::time::Instant;

use super::reader::Reader;
use super::standing::Hindrance;
use super::watch::Seen;
use crate::lane::LaneId;
use crate::source::{SourceEvent, Stop, StopReason};

/// How often in a row a topic must be missing before it counts as deleted: brokers that start know less.
const MISSING: u32 = 3;

/// What is known of the topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) partitions: Option<i32>,
    /// Looks in a row that did not find it.
    pub(super) missing: u32,
    /// The partitions that were ours when it was last seen, or became ours since.
    pub(super) ours: BTreeSet<i32>,
    /// It was deleted, with these partitions.
    pub(super) gone: BTreeSet<i32>,
}

impl Reader {
    /// Takes note of what was seen of the topic.
    pub(super) fn follow_topic(&mut self) -> Result<(), String> {
        while let Ok(seen) = self.seen.try_recv() {
            self.standing.watch = match seen {
                Seen::Away(why) => Some(Hindrance::Away(why)),
                Seen::Refused(why) => Some(why),
                Seen::Missing => self.missing()?,
                Seen::Partitions(partitions) => {
                    self.partitions(partitions)?;
                    None
                }
                Seen::Placed(partition, bounds) => {
                    self.place(partition, bounds)?;
                    None
                }
                Seen::Stable(partition, stable) => {
                    self.settle(partition, stable)?;
                    None
                }
                Seen::Ends { at_ms, ends } => {
                    self.mark(at_ms, &ends)?;
                    None
                }
            };
        }
        let stalled = (!self.stalled.is_empty()).then(|| {
            format!(
                "the partitions {:?} give nothing although they have more",
                self.stalled
            )
        });
        let has_partitions = !self.lanes.is_empty();
        for signal in self.standing.news(has_partitions, stalled, Instant::now()) {
            self.outbox.push(signal);
        }
        Ok(())
    }

    /// The topic is not there. What to wait for, if it never was.
    fn missing(&mut self) -> Result<Option<Hindrance>, String> {
        if self.topic.partitions.is_none() {
            return Ok(Some(Hindrance::Away(format!(
                "the topic `{}` does not exist",
                self.settings.topic()
            ))));
        }
        self.topic.missing += 1;
        if self.topic.missing == MISSING {
            self.topic.gone = std::mem::take(&mut self.topic.ours);
            for partition in self.topic.gone.clone() {
                let detail = format!("the topic `{}` was deleted", self.settings.topic());
                self.stop(partition, changed(detail))?;
            }
        }
        Ok(None)
    }

    fn partitions(&mut self, partitions: i32) -> Result<(), String> {
        let before = self.topic.partitions.replace(partitions);
        self.topic.missing = 0;
        let gone = std::mem::take(&mut self.topic.gone);
        let not_ours: Vec<LaneId> = gone
            .iter()
            .filter(|partition| !self.lanes.contains_key(partition))
            .map(|partition| self.settings.lane(*partition))
            .collect();
        if !not_ours.is_empty() {
            self.outbox.revoke(not_ours);
        }
        self.topic.ours = self.lanes.keys().copied().collect();
        if before == Some(partitions) {
            return Ok(());
        }
        let all = (0..partitions)
            .map(|partition| self.settings.lane(partition))
            .collect();
        self.outbox.push(SourceEvent::Topology(all));
        let removed: Vec<i32> = self
            .lanes
            .range(partitions..)
            .map(|(partition, _)| *partition)
            .collect();
        for partition in removed {
            let detail = format!("the topic has only {partitions} partitions now");
            self.stop(partition, changed(detail))?;
        }
        Ok(())
    }

    pub(super) fn tell_deleted(&mut self, partition: i32) {
        let detail = format!("the topic `{}` was deleted", self.settings.topic());
        self.tell_stopped(partition, changed(detail));
    }

    pub(super) fn tell_stopped(&mut self, partition: i32, stop: Stop) {
        let lane = self.settings.lane(partition);
        self.outbox.push(SourceEvent::Stopped { lane, stop });
    }
}

fn changed(detail: String) -> Stop {
    Stop {
        reason: StopReason::TopicChanged,
        detail,
        resumable: None,
    }
}
