//! The partitions that the group has assigned to this member: which are read, from where, and which are paused, stopped
//! or stalled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::client::{Client, POLL};
use super::lanes::{Lane, SETTLE, Step};
use super::outbox::Outbox;
use super::record::{self, Taken};
use super::settings::Settings;
use super::track::Bounds;
use super::watch::Ask;
use crate::lane::Position;
use crate::source::{SourceEvent, Stop};

/// How often Kafka is told of committed positions.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// What a poll brought.
pub(super) enum Polled {
    /// A message of this partition.
    Message(i32, Taken),
    /// The end of a partition.
    End,
    /// What follows may depend on what it means.
    Failed(KafkaError),
}

/// See the module.
pub(super) struct Partitions {
    settings: Settings,
    client: Client,
    asks: Sender<Ask>,
    lanes: BTreeMap<i32, Lane>,
    /// Those that are being read: their ends are looked at.
    watched: BTreeSet<i32>,
    /// Those that give nothing although they have more.
    stalled: BTreeSet<i32>,
    is_paused: bool,
    show_at: Instant,
}

impl Partitions {
    /// None yet.
    pub(super) fn new(settings: Settings, client: Client, asks: Sender<Ask>) -> Self {
        Self {
            settings,
            client,
            asks,
            lanes: BTreeMap::new(),
            watched: BTreeSet::new(),
            stalled: BTreeSet::new(),
            is_paused: false,
            show_at: Instant::now(),
        }
    }

    /// The client that reads them.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Those that are assigned.
    pub(super) fn assigned(&self) -> impl Iterator<Item = i32> {
        self.lanes.keys().copied()
    }

    /// Why one of them gives nothing, if one does.
    pub(super) fn stalled(&self) -> Option<String> {
        (!self.stalled.is_empty()).then(|| {
            format!(
                "the partitions {:?} give nothing although they have more",
                self.stalled
            )
        })
    }

    /// The group has assigned partitions.
    pub(super) fn assign(&mut self, partitions: &[i32]) -> Result<(), String> {
        let now = Instant::now();
        for partition in partitions {
            self.lanes.insert(*partition, Lane::new(now));
        }
        self.watch()
    }

    /// The group has revoked partitions; the loop and librdkafka have let go of them.
    pub(super) fn revoke(&mut self, partitions: &[i32]) -> Result<(), String> {
        for partition in partitions {
            self.lanes.remove(partition);
            self.stalled.remove(partition);
        }
        self.watch()
    }

    /// Reads what has arrived next, if anything has in this time.
    pub(super) fn poll(&mut self, wait: Duration, now_ms: i64) -> Option<Polled> {
        Some(match self.client.poll(wait)? {
            Ok(message) => {
                let taken = record::take(&mut self.lanes, &message, now_ms);
                Polled::Message(message.partition(), taken)
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                if let Some((_, track)) = self.lanes.get_mut(&partition).and_then(Lane::reading) {
                    track.meet_end();
                }
                Polled::End
            }
            Err(error) => Polled::Failed(error),
        })
    }

    /// Hands over what was read. While the loop stands still the partitions are paused, and polling goes on.
    pub(super) fn deliver(&mut self, outbox: &mut Outbox) -> Result<(), String> {
        let taken = outbox.deliver(!self.is_paused);
        if taken == self.is_paused {
            self.pause(!taken)?;
        }
        Ok(())
    }

    fn pause(&mut self, pause: bool) -> Result<(), String> {
        self.is_paused = pause;
        self.client.pause(self.watched.iter().copied(), pause)
    }

    /// Moves every lane on as far as it can go now.
    pub(super) fn advance(&mut self, outbox: &mut Outbox) -> Result<(), String> {
        let now = Instant::now();
        let mut unread = Vec::new();
        for (partition, lane) in &mut self.lanes {
            match lane.step(now)? {
                None => {}
                Some(Step::Ask(reply)) => {
                    let lane = self.settings.lane(*partition);
                    outbox.push(SourceEvent::Assigned { lane, reply });
                }
                Some(Step::Place) => ask(&self.asks, Ask::Place(*partition))?,
                Some(Step::Unread) => unread.push(*partition),
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        self.client.unread(&unread)?;
        self.watch()
    }

    /// The bounds of a partition are known: begins to read it.
    pub(super) fn place(
        &mut self,
        partition: i32,
        bounds: Bounds,
        outbox: &mut Outbox,
    ) -> Result<(), String> {
        let now = Instant::now();
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Ok(());
        };
        let (track, offset) = match lane.place(bounds) {
            None => return Ok(()),
            Some(_) if self.is_paused => {
                lane.place_later(now);
                return Ok(());
            }
            Some(Ok(begun)) => begun,
            Some(Err(stop)) => return self.stop(partition, *stop, outbox),
        };
        match self.client.begin(partition, offset) {
            Ok(()) => {
                tracing::info!(partition, offset, next = track.next(), "reading");
                lane.begin(track);
                self.watch()
            }
            Err(error) => {
                tracing::warn!(partition, %error, "a partition cannot be read yet");
                lane.place_later(now);
                Ok(())
            }
        }
    }

    /// Begins lanes again where they are, under the same grants: what librdkafka has of them is dropped.
    pub(super) fn begin_again(&mut self, partitions: &[i32]) -> Result<(), String> {
        self.client.unread(partitions)?;
        let now = Instant::now();
        for partition in partitions {
            let lane = self.lanes.get_mut(partition);
            if lane.is_some_and(|lane| lane.begin_again(now)) {
                self.stalled.insert(*partition);
            }
        }
        self.watch()
    }

    /// The same with all that are read.
    pub(super) fn begin_all_again(&mut self) -> Result<(), String> {
        let all: Vec<i32> = self.watched.iter().copied().collect();
        self.begin_again(&all)
    }

    /// librdkafka has passed over a batch that it cannot read, of a partition that it does not name. Whose it was
    /// shows at its next record; where none comes, every lane that has more, and so may be the one, is begun again.
    pub(super) fn damaged(&mut self, why: &str) -> Result<(), String> {
        let now = Instant::now();
        let mut suspects = Vec::new();
        for (partition, lane) in &mut self.lanes {
            if let Some((_, track)) = lane.reading() {
                let since = track.suspect(now);
                if track.has_more() && now - since >= SETTLE {
                    suspects.push(*partition);
                }
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        tracing::error!(why, partitions = ?suspects, "a batch cannot be read; it is asked for again, and never skipped");
        self.begin_again(&suspects)
    }

    /// Up to where a partition can be read that gave nothing for long. Where that is further than we are, it is
    /// begun again, and told.
    pub(super) fn settle(&mut self, partition: i32, stable: i64) -> Result<(), String> {
        let read = self.lanes.get_mut(&partition).and_then(Lane::reading);
        if read.is_none_or(|(_, track)| track.next() >= stable) {
            return Ok(());
        }
        tracing::warn!(
            partition,
            stable,
            "a partition gives nothing although it has more; it is asked again"
        );
        self.begin_again(&[partition])
    }

    /// The lane cannot go on. What was read of it is committed; then the loop lets go of it.
    pub(super) fn stop(&mut self, partition: i32, stop: Stop, outbox: &mut Outbox) -> Result<(), String> {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.halt();
        }
        self.stalled.remove(&partition);
        self.client.unread(&[partition])?;
        let lane = self.settings.lane(partition);
        outbox.push(SourceEvent::Stopped { lane, stop });
        self.watch()
    }

    /// Has the ends of the partitions that are being read looked at.
    fn watch(&mut self) -> Result<(), String> {
        let read = self.lanes.iter().filter(|(_, lane)| lane.is_read());
        let read = read.map(|(partition, _)| *partition).collect();
        if read == self.watched {
            return Ok(());
        }
        self.watched = read;
        ask(&self.asks, Ask::Watch(self.watched.clone()))
    }

    /// Partitions ended here at an instant; tells of those of which everything was sent.
    pub(super) fn mark(
        &mut self,
        at_ms: i64,
        ends: &[(i32, i64)],
        outbox: &mut Outbox,
    ) -> Result<(), String> {
        let (positions, now) = (self.client.positions()?, Instant::now());
        // While the loop is busy it hears of records only.
        let is_busy = self.is_paused || !outbox.is_empty();
        let (mut stops, mut stalled) = (Vec::new(), Vec::new());
        for (partition, end) in ends {
            let Some(lane) = self.lanes.get_mut(partition) else {
                continue;
            };
            let Some((grant, track)) = lane.reading() else {
                continue;
            };
            if let Err(stop) = track.mark(at_ms, *end) {
                stops.push((*partition, *stop));
                continue;
            }
            if !is_busy && track.is_placed() {
                if let Some(position) = positions.get(partition) {
                    track.advance(*position);
                }
                let as_of_ms = track.passed();
                if as_of_ms.is_some() || track.is_at_end() {
                    outbox.push(SourceEvent::Idle {
                        lane: grant.key,
                        next: Position::offset(track.next()),
                        as_of_ms,
                    });
                }
            }
            let (next, end) = (track.next(), if is_busy { 0 } else { *end });
            if lane.is_stalled(next, end, now) {
                stalled.push(*partition);
            } else {
                self.stalled.remove(partition);
            }
        }
        for partition in stalled {
            ask(&self.asks, Ask::Stable(partition))?;
        }
        stops
            .into_iter()
            .try_for_each(|(partition, stop)| self.stop(partition, stop, outbox))
    }

    /// Tells Kafka now and then how far lanes are committed.
    pub(super) fn show_positions(&mut self) {
        let now = Instant::now();
        if now >= self.show_at {
            self.show_at = now + SHOW_EVERY;
            self.show_all(false);
        }
    }

    fn show_all(&mut self, unchanged_too: bool) {
        let mut committed = Vec::new();
        for (partition, lane) in &mut self.lanes {
            let Some((grant, _)) = lane.reading() else {
                continue;
            };
            if !unchanged_too && !grant.committed.has_changed().unwrap_or(false) {
                continue;
            }
            if let Some(Position::Offset { next, .. }) = *grant.committed.borrow_and_update() {
                committed.push((*partition, next));
            }
            lane.is_ours();
        }
        self.client.show(&committed);
    }

    /// Stays in the group until the loop has committed what it had, so that nobody else begins there before;
    /// then leaves.
    pub(super) fn leave(mut self) {
        if let Err(why) = self.read_nothing_more() {
            tracing::debug!(why, "partitions are still read while the member leaves");
        }
        while self.lanes.values().any(Lane::is_held) {
            drop(self.client.poll(POLL));
        }
        self.show_all(true);
        self.client.leave();
    }

    /// Lets go of everything: the client can do nothing more. What was read and not folded is read again.
    pub(super) fn give_up(self, ours: &[i32]) {
        self.client.let_go(ours);
        self.client.leave();
    }

    /// Gives up what is read, and stays a member. Nothing may stay paused: librdkafka does not end a client with
    /// partitions that are.
    fn read_nothing_more(&mut self) -> Result<(), String> {
        if self.is_paused {
            self.pause(false)?;
        }
        let all: Vec<i32> = self.watched.iter().copied().collect();
        self.client.unread(&all)
    }
}

fn ask(asks: &Sender<Ask>, ask: Ask) -> Result<(), String> {
    asks.send(ask)
        .map_err(|_| "the thread that looks at the topic ended".to_owned())
}
