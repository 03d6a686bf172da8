//! How lanes move on: from assigned to read, and from read to stopped, lost or begun again.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::context::{self, Member};
use super::lanes::{LOOK_AGAIN, Lane, SETTLE, State};
use super::reader::{POLL, Reader, SHOW_EVERY};
use super::track::{Bounds, Done, Track};
use super::watch::Ask;
use crate::lane::Position;
use crate::source::{SourceEvent, Stop};

/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// What a lane needs done outside of itself.
enum Step {
    Ask,
    Place,
    Unread,
}

impl Reader {
    /// Moves every lane on as far as it can go now.
    pub(super) fn advance_lanes(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let mut steps = Vec::new();
        for (partition, lane) in &mut self.lanes {
            if let Some(step) = step(lane, now)? {
                steps.push((*partition, step));
            }
        }
        for (partition, step) in steps {
            match step {
                Step::Ask => {
                    let (reply, granted) = oneshot::channel();
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.state = State::Asking(granted);
                    }
                    let lane = self.settings.lane(partition);
                    self.outbox.push(SourceEvent::Assigned { lane, reply });
                }
                Step::Place => self.ask(Ask::Place(partition))?,
                Step::Unread => {
                    self.unread(&[partition])?;
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.rest(now);
                    }
                    self.watch()?;
                }
            }
        }
        Ok(())
    }

    /// The bounds of a partition are known: begins to read it.
    pub(super) fn place(&mut self, partition: i32, bounds: Bounds) -> Result<(), String> {
        let is_paused = self.is_paused;
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Ok(());
        };
        let State::Placing {
            grant, done, ask_at, ..
        } = &mut lane.state
        else {
            return Ok(());
        };
        let (lost, done) = (grant.lost.is_cancelled(), *done);
        if ask_at.is_some() || lost {
            return Ok(());
        }
        if is_paused {
            *ask_at = Some(Instant::now() + SETTLE);
            return Ok(());
        }
        let (track, offset) = match Track::begin(done, bounds) {
            Ok(begun) => begun,
            Err(stop) => return self.stop(partition, *stop),
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.settings.topic(), partition, Offset::Offset(offset))
            .map_err(|error| format!("offset {offset} cannot be read from: {error}"))?;
        // A partition that was paused when it was given up is so still.
        let resumed = self.consumer.resume(&list);
        match resumed.and_then(|()| self.consumer.incremental_assign(&list)) {
            Ok(()) => {
                tracing::info!(partition, offset, next = track.next(), "reading");
                lane.begin(track);
                self.watch()
            }
            Err(error) => {
                tracing::warn!(partition, %error, "a partition cannot be read yet");
                *ask_at = Some(Instant::now() + SETTLE);
                Ok(())
            }
        }
    }

    /// Begins lanes again where they are, under the same grants: what librdkafka has of them is dropped.
    pub(super) fn begin_again(&mut self, partitions: &[i32]) -> Result<(), String> {
        self.unread(partitions)?;
        let now = Instant::now();
        for partition in partitions {
            let lane = self.lanes.get_mut(partition);
            if lane.is_some_and(|lane| lane.begin_again(now)) {
                self.stalled.insert(*partition);
            }
        }
        self.watch()
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
    pub(super) fn stop(&mut self, partition: i32, stop: Stop) -> Result<(), String> {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.halt();
        }
        self.stalled.remove(&partition);
        self.unread(&[partition])?;
        self.tell_stopped(partition, stop);
        self.watch()
    }

    /// Stops reading partitions. The group still has them assigned to us.
    pub(super) fn unread(&mut self, partitions: &[i32]) -> Result<(), String> {
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

    /// Has the ends of the partitions that are being read looked at.
    pub(super) fn watch(&mut self) -> Result<(), String> {
        let read = self.lanes.iter().filter(|(_, lane)| lane.is_read());
        let read = read.map(|(partition, _)| *partition).collect();
        if read == self.watched {
            return Ok(());
        }
        self.watched = read;
        self.ask(Ask::Watch(self.watched.clone()))
    }

    fn ask(&self, ask: Ask) -> Result<(), String> {
        self.asks
            .send(ask)
            .map_err(|_| "the thread that looks at the topic ended".to_owned())
    }

    /// Partitions ended here at an instant; tells of those of which everything was sent.
    pub(super) fn mark(&mut self, at_ms: i64, ends: &[(i32, i64)]) -> Result<(), String> {
        let (positions, now) = (self.positions()?, Instant::now());
        // While the loop is busy it hears of records only.
        let is_busy = self.is_paused || !self.outbox.is_empty();
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
                    self.outbox.push(SourceEvent::Idle {
                        lane: grant.key,
                        next: Position::Offset(track.next()),
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
            self.ask(Ask::Stable(partition))?;
        }
        stops
            .into_iter()
            .try_for_each(|(partition, stop)| self.stop(partition, stop))
    }

    /// The offset after the last message of each partition, markers of transactions included.
    fn positions(&self) -> Result<BTreeMap<i32, i64>, String> {
        let positions = self
            .consumer
            .position()
            .map_err(|error| format!("positions cannot be read: {error}"))?;
        let known =
            |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            };
        Ok(positions.elements().iter().filter_map(known).collect())
    }

    /// Tells Kafka how far lanes are committed, for tools that show lag.
    pub(super) fn show_positions(&mut self) {
        let now = Instant::now();
        if now >= self.show_at {
            self.show_at = now + SHOW_EVERY;
            self.show_all(false);
        }
    }

    fn show_all(&mut self, unchanged_too: bool) {
        let mut list = TopicPartitionList::new();
        for (partition, lane) in &mut self.lanes {
            let Some((grant, _)) = lane.reading() else {
                continue;
            };
            if !unchanged_too && !grant.committed.has_changed().unwrap_or(false) {
                continue;
            }
            let committed = grant.committed.borrow_and_update().clone();
            lane.is_ours();
            if let Some(Position::Offset(next)) = committed {
                let added =
                    list.add_partition_offset(self.settings.topic(), *partition, Offset::Offset(next));
                debug_assert!(added.is_ok(), "an offset from a commit is an offset");
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets were not shown to Kafka; nothing reads them back");
        }
    }

    /// Stays in the group until the loop has committed what it had, so that nobody else begins there before;
    /// then leaves.
    pub(super) fn leave(mut self) {
        if let Err(why) = self.read_nothing_more() {
            tracing::debug!(why, "partitions are still read while the member leaves");
        }
        while self.lanes.values().any(Lane::is_held) {
            drop(self.consumer.poll(POLL));
        }
        self.show_all(true);
        Self::close(self.consumer);
    }

    /// Lets go of everything: the client can do nothing more. What was read and not folded is read again.
    pub(super) fn give_up(self) {
        let partitions: Vec<i32> = self.topic.ours.iter().copied().collect();
        self.consumer.context().let_go(&partitions);
        Self::close(self.consumer);
    }

    fn close(consumer: BaseConsumer<Member>) {
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

    /// Gives up what is read, and stays a member. Nothing may stay paused: librdkafka does not end a client with
    /// partitions that are.
    fn read_nothing_more(&mut self) -> Result<(), String> {
        if self.is_paused {
            self.pause(false)?;
        }
        let all: Vec<i32> = self.watched.iter().copied().collect();
        self.unread(&all)
    }

    pub(super) fn list(&self, partitions: impl Iterator<Item = i32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(self.settings.topic(), partition);
        }
        list
    }
}

/// Moves a lane on; what that needs done elsewhere.
fn step(lane: &mut Lane, now: Instant) -> Result<Option<Step>, String> {
    match &mut lane.state {
        State::Resting(until) if *until <= now => return Ok(Some(Step::Ask)),
        State::Resting(_) => {}
        State::Asking(granted) => match granted.try_recv() {
            Ok(grant) => {
                let done = Done::of(&grant.fence)?;
                let ask_at = Some(now);
                lane.state = State::Placing { grant, done, ask_at };
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => lane.rest(now),
        },
        State::Placing { grant, .. } if grant.lost.is_cancelled() => lane.rest(now),
        State::Placing { ask_at, .. } => {
            if ask_at.is_some_and(|at| at <= now) {
                *ask_at = None;
                return Ok(Some(Step::Place));
            }
        }
        State::Reading(grant, _) if grant.lost.is_cancelled() => return Ok(Some(Step::Unread)),
        State::Reading(..) => {}
        State::Stopped(grant) if grant.lost.is_cancelled() => lane.state = State::Resting(now + LOOK_AGAIN),
        State::Stopped(_) => {}
    }
    Ok(None)
}
