//! The one loop that owns lanes, batches and commits.
//!
//! ```text
//! source ──signals──▶ fold into the lanes' batches ──group──▶ one transaction ──▶ ids become permanent
//!            ▲                                                     │
//!            └───────────── waits while two groups are full ◀──────┘
//! ```
//! While one group commits the next is folded; there is never a third. A commit that fails moves nothing:
//! the same group is tried again, cut in two, or cut down to the lanes that are still ours.

mod acquire;
mod background;
mod committer;
mod dead_letters;
mod group;
mod lanes;
mod limit;
mod settings;
mod topology;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::clock::Clock;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::{Concern, Health, LaneHealth, Trouble};
use crate::hold::Reminder;
use crate::lane::{Backfill, LaneId, Position};
use crate::ledger::{FenceError, Granted, Ledger, ReplayRequest};
use crate::metrics::{Metrics, count};
use crate::source::{Grant, GrantId, Record, Revoked, Signals, SourceEvent, Stop};

use background::{Answer, Background};
use committer::{Attempted, Committer, Settled};
use dead_letters::DeadLetters;
use lanes::{Lane, Lanes};
use topology::Topology;

pub use settings::Settings;

/// How often the ledger is asked for dead letters that are to be judged again.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
/// How often payloads of letters that are kept for too long are looked for.
const DROP_EVERY: Duration = Duration::from_secs(10);
/// How often documents of the journal that are kept for too long are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How often the next lane's journal is looked at for documents that are to become one.
const MERGE_EVERY: Duration = Duration::from_secs(10);

/// The loop ended on its own: nothing it can do helps.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot go on.
    #[error("the source failed: {0}")]
    Source(String),
}

/// The loop. See the module.
pub struct Pump<L, C> {
    ledger: Arc<L>,
    clock: Arc<C>,
    settings: Arc<Settings>,
    metrics: Metrics,
    health: Health,
    lanes: Lanes,
    committer: Committer<L>,
    background: Background<L>,
    topology: Topology,
    dead_letters: DeadLetters,
    /// Records that were read, and are still to be folded.
    backlog: VecDeque<Record>,
    /// Says which fault of the source only a person can mend.
    reminder: Reminder,
}

impl<L: Ledger, C: Clock> Pump<L, C> {
    /// A loop that owns no lane yet.
    pub fn new(ledger: Arc<L>, clock: Arc<C>, settings: Settings, metrics: Metrics, health: Health) -> Self {
        let settings = Arc::new(settings);
        Self {
            committer: Committer::new(
                Arc::clone(&ledger),
                Arc::clone(&settings),
                metrics.clone(),
                health.clone(),
            ),
            background: Background::new(Arc::clone(&ledger), health.clone()),
            dead_letters: DeadLetters::new(settings.letter_keep),
            ledger,
            clock,
            settings,
            metrics,
            health,
            lanes: Lanes::default(),
            topology: Topology::default(),
            backlog: VecDeque::new(),
            reminder: Reminder::default(),
        }
    }

    /// The same with transactions of so many statements, whatever they cost: the measure of the learned number.
    #[must_use]
    pub fn with_fixed_size(mut self, statements: usize) -> Self {
        self.committer.fix_size(statements);
        self
    }

    /// Runs until `stop` is cancelled and everything folded is committed.
    ///
    /// # Errors
    /// When the source cannot go on.
    pub async fn run(mut self, mut signals: Signals, stop: CancellationToken) -> Result<(), Error> {
        let mut replay = tokio::time::interval(REPLAY_EVERY);
        replay.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drop_payloads = tokio::time::interval(DROP_EVERY);
        drop_payloads.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut forget = tokio::time::interval(FORGET_EVERY);
        forget.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut merge = tokio::time::interval(MERGE_EVERY);
        merge.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut draining = false;
        loop {
            while self.fold_backlog() | self.committer.start(&mut self.lanes, || self.clock.now()) {}
            self.let_go_of_stopped_lanes();
            self.observe();
            self.committer.say_rejections(self.clock.now());
            if draining && !self.committer.is_busy() {
                self.finish().await;
                return Ok(());
            }
            let due = self.committer.due(&self.lanes);
            // In a fixed order, what the source says last: nothing above it is ready time and again.
            tokio::select! {
                biased;
                // Waits for no room, no backlog and no commit, also while everything is committed: a group stands still
                // until its members have let go.
                Some(revoked) = signals.revoked.recv() => {
                    signals.note(&revoked);
                    self.revoke(revoked);
                }
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    self.committer.drain();
                    signals.said.close();
                    // Never folded, so their positions have not moved: the next owner reads them again.
                    self.backlog.clear();
                }
                attempted = self.committer.attempted() => {
                    self.ledger.alive();
                    self.settle(attempted);
                }
                Some(answer) = self.background.next() => self.answered(answer),
                _ = replay.tick(), if !draining => self.look_for_replays(),
                _ = drop_payloads.tick(), if !draining => self.drop_payloads(),
                _ = merge.tick(), if !draining => self.look_for_merge(),
                _ = forget.tick(), if !draining => self.forget_journal(),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !self.committer.is_busy() => {}
                said = signals.said.recv(), if self.backlog.is_empty() && !draining => {
                    let said = said.ok_or_else(|| Error::Source("it ended".into()))?;
                    // What came since it was looked for above may be older than this.
                    while let Ok(revoked) = signals.revoked.try_recv() {
                        signals.note(&revoked);
                        self.revoke(revoked);
                    }
                    if let Some(signal) = signals.holds(said) {
                        self.handle(signal)?;
                    }
                }
            }
        }
    }

    /// Lets go of lanes that the source has no longer. Their records that are still to be folded are dropped with the
    /// grant that they were read under.
    fn revoke(&mut self, revoked: Revoked) {
        self.health.heard(self.clock.now());
        self.ledger.alive();
        for lane in revoked.lanes {
            self.lanes.ask_no_more(&lane);
            if let Some(key) = self.lanes.key_of(&lane) {
                self.remove(key);
            }
            self.ledger.lost(&lane);
            self.health.lost(&lane);
            self.metrics.lanes_revoked.inc();
        }
        if revoked.reply.send(()).is_err() {
            tracing::debug!("the source went on without waiting for its lanes to be let go of");
        }
    }

    fn handle(&mut self, signal: SourceEvent) -> Result<(), Error> {
        self.health.heard(self.clock.now());
        self.ledger.alive();
        match signal {
            SourceEvent::Topology(lanes) => self.note_topology(lanes),
            SourceEvent::Assigned { lane, reply } => {
                self.health.joined();
                let asking = self.lanes.ask(&lane);
                self.background.acquire(lane, reply, asking);
            }
            SourceEvent::Joined => self.health.joined(),
            SourceEvent::Records(records) => self.backlog = records.into(),
            SourceEvent::Idle { lane, next, as_of_ms } => {
                if let Some(lane) = self.lanes.get_mut(lane) {
                    self.health.lane(&lane.id, reading(&next));
                    lane.current.idle(next, as_of_ms);
                }
            }
            SourceEvent::Stopped { lane, stop } => self.stopped(&lane, stop),
            SourceEvent::Away(why) => {
                if let Some(why) = &why {
                    tracing::warn!(error = why, "the source is away; reading goes on when it is back");
                }
                self.health.trouble(Concern::Source, why.map(|_| Trouble::Away));
            }
            SourceEvent::Refused { reason, why } => {
                self.reminder.refused("the source cannot be read", reason, &why);
                self.health
                    .trouble(Concern::Source, Some(Trouble::Refused(reason)));
            }
            SourceEvent::Failed(why) => return Err(Error::Source(why)),
        }
        Ok(())
    }

    /// The source cannot go on with a lane.
    fn stopped(&mut self, lane: &LaneId, stop: Stop) {
        if !self.health.is_stopped(lane, stop.reason) {
            tracing::error!(
                %lane, reason = stop.reason.name(), detail = stop.detail,
                "the lane stopped; nothing is skipped. Look at `usage-ledger lanes list`, then say how to go on: \
                 `usage-ledger lanes resume --lane {lane} --from earliest|now --accept-gap`"
            );
        }
        self.health.lane(lane, LaneHealth::Stopped(stop.reason));
        self.lanes.stop(lane, stop);
    }

    /// Folds records of the backlog, until the batch is full. Whether anything was folded.
    fn fold_backlog(&mut self) -> bool {
        let mut folded = false;
        let now = self.clock.now();
        while !self.committer.is_full(&self.lanes) {
            let Some(record) = self.backlog.pop_front() else {
                break;
            };
            let (health, policy) = (&self.health, &self.settings.policy);
            folded |= self.lanes.fold(record.lane, |lane| {
                if lane.current.records() == 0 {
                    health.lane(&lane.id, reading(&record.next));
                }
                lane.current.push(record, policy, &mut lane.windows, now);
            });
        }
        self.folded(now);
        folded
    }

    /// Something was folded, or nothing: readiness goes by how long it waits for its commit.
    fn folded(&mut self, now: DateTime<Utc>) {
        if self.lanes.begin_batch() {
            self.health.waiting_since(Some(now));
        }
    }

    /// Judges dead letters again. Their lanes may have gone meanwhile: their owner of now finds the letters.
    fn replay(&mut self, letters: Vec<ReplayRequest>) {
        let now = self.clock.now();
        for letter in letters {
            let Some(key) = self.lanes.key_of(&letter.lane) else {
                continue;
            };
            let policy = &self.settings.policy;
            self.lanes.fold(key, |lane| {
                lane.current.replay(letter, policy, &mut lane.windows, now);
            });
        }
        self.folded(now);
    }

    /// Settles an attempt to commit for the lanes.
    fn settle(&mut self, attempted: Attempted) {
        match self.committer.settle(attempted, &mut self.lanes) {
            Settled::Applied if self.dead_letters.are_more() => self.look_for_replays(),
            Settled::Applied | Settled::Waits => {}
            Settled::Lost(fences) => {
                for fence in fences {
                    self.lose(&fence.lane, fence.epoch);
                }
            }
        }
    }

    /// The ledger answered a question beside commits.
    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Acquired {
                lane,
                reply,
                unwanted,
                granted,
            } => {
                let is_wanted = self.lanes.asked(&lane, &unwanted);
                match granted {
                    Some(granted) if is_wanted => self.granted(lane, reply, granted),
                    Some(granted) => self.give_back(lane, granted.fence.epoch),
                    None => self.given_up(&lane),
                }
            }
            Answer::Topology => {
                self.topology.stored();
                self.store_topology();
            }
            Answer::ReplayRequests(Ok(letters)) => {
                self.health.trouble(Concern::DeadLetters, None);
                self.dead_letters.given(letters.len());
                self.replay(letters);
            }
            Answer::ReplayRequests(Err(error)) => {
                let trouble = self.dead_letters.not_given(&error);
                self.health.trouble(Concern::DeadLetters, Some(trouble));
            }
            Answer::Dropped(result) => self.dead_letters.dropped(result),
            Answer::Forgotten(Ok(documents)) => {
                if documents > 0 {
                    tracing::info!(documents, "documents of the journal were deleted by age");
                }
            }
            // They wait for the next time.
            Answer::Forgotten(Err(error)) => {
                tracing::warn!(%error, "old documents of the journal cannot be deleted");
            }
            Answer::Mergeable(key, found) => {
                // They are as good in many documents, and looked for again.
                let merge = found.unwrap_or_else(|error| {
                    tracing::warn!(%error, "documents of the journal cannot be looked at");
                    None
                });
                if let Some(lane) = self.lanes.get_mut(key) {
                    lane.merge_next(merge);
                }
            }
            Answer::Noted => {}
        }
    }

    fn granted(&mut self, id: LaneId, reply: oneshot::Sender<Grant>, granted: Granted) {
        let key = self.lanes.next_grant();
        let (lane, grant) = Lane::new(id.clone(), key, granted);
        let (epoch, seq) = (lane.epoch, lane.seq);
        let stop = lane.stop.clone();
        if reply.send(grant).is_err() {
            return self.give_back(id, epoch);
        }
        tracing::info!(lane = %id, epoch, seq, "the lane is ours");
        if let Some(older) = self.lanes.key_of(&id) {
            self.remove(older);
        }
        self.health.watermark(&id, None);
        self.lanes.insert(key, lane);
        if let Some(stop) = stop {
            // Before anything of it is read.
            self.stopped(&id, stop);
            self.let_go_of_stopped_lanes();
        }
    }

    /// The source no longer wants the lane that it asked for; unless it has it from another asking.
    fn given_up(&self, lane: &LaneId) {
        // Nobody asks any more whether the ledger is back.
        self.health.trouble(Concern::Lanes, None);
        if self.lanes.key_of(lane).is_none() {
            self.health.lost(lane);
        }
    }

    /// The source gave the lane up while we waited for it.
    fn give_back(&self, lane: LaneId, epoch: i64) {
        self.given_up(&lane);
        self.background.give_back(lane, epoch);
    }

    /// Cuts a lane out of everything that is not committed. The other lanes' records stay.
    fn remove(&mut self, key: GrantId) -> Option<Lane> {
        let lane = self.lanes.remove(key)?;
        self.committer.retain(&self.lanes);
        Some(lane)
    }

    /// The grant of a lane under this epoch is over. The lane may be ours again by now, under a newer one.
    fn lose(&mut self, lane: &LaneId, epoch: i64) {
        let key = self.lanes.key_in_epoch(lane, epoch);
        if let Some(lane) = key.and_then(|key| self.remove(key)) {
            self.ledger.lost(&lane.id);
            tracing::warn!(lane = %lane.id, epoch = lane.epoch, "the lane was taken over by another process");
            self.metrics.lanes_lost.inc();
            self.health.watermark(&lane.id, None);
            self.health.lane(&lane.id, LaneHealth::Acquiring);
        }
    }

    /// Lets go of lanes that stopped, once everything they read is committed.
    fn let_go_of_stopped_lanes(&mut self) {
        for key in self.lanes.stopped(|key| self.committer.has(key)) {
            let Some(Lane {
                id,
                epoch,
                stop: Some(stop),
                ..
            }) = self.remove(key)
            else {
                continue;
            };
            // Now, and not whenever the note is written: the lane may be ours again by then.
            self.ledger.lost(&id);
            let noted = self.lanes.halt(&id);
            self.background
                .note_stop(id, epoch, stop, self.clock.now(), noted);
        }
    }

    fn note_topology(&mut self, lanes: Vec<LaneId>) {
        let added = self.topology.changed(lanes);
        if added > 0 {
            tracing::warn!(
                added,
                "the source has more lanes: a duplicate of an event whose key moved there is recognised again only once \
                 its first copy came by the new lane too, or with USAGE_LEDGER_DEDUPE_SCOPE=ledger"
            );
            self.metrics.lanes_added.inc_by(added as u64);
        }
        self.store_topology();
    }

    fn store_topology(&mut self) {
        if let Some(lanes) = self.topology.next() {
            self.background.store_topology(lanes);
        }
    }

    fn look_for_replays(&mut self) {
        let lanes = self.lanes.ids();
        let are_on_their_way = self.committer.has_replays() || self.lanes.have_replays();
        if !lanes.is_empty() && self.dead_letters.ask(are_on_their_way) {
            self.background.look_for_replays(lanes);
        }
    }

    /// Looks at the next lane for documents of its journal that are to become one.
    fn look_for_merge(&mut self) {
        if let Some((key, lane, between)) = self.lanes.next_to_merge() {
            self.background
                .look_for_merge(key, lane, between, self.clock.now());
        }
    }

    /// Has what was kept for long enough of the journal deleted.
    fn forget_journal(&self) {
        let keep = TimeDelta::from_std(self.settings.journal_keep).ok();
        let before = keep.and_then(|keep| self.clock.now().checked_sub_signed(keep));
        let lanes = self.lanes.ids();
        if let Some(before) = before.filter(|_| !lanes.is_empty()) {
            self.background.forget_journal(lanes, before);
        }
    }

    fn drop_payloads(&mut self) {
        let lanes = self.lanes.ids();
        if lanes.is_empty() {
            return;
        }
        if let Some(before) = self.dead_letters.drop_before(self.clock.now()) {
            self.background.drop_payloads(lanes, before);
        }
    }

    fn observe(&self) {
        let pending = self.lanes.open().events + self.committer.records();
        if pending == 0 && !self.committer.is_busy() {
            self.health.waiting_since(None);
        }
        self.metrics.pending.set(count(pending));
        self.metrics.lanes.set(count(self.lanes.len()));
        self.metrics.may_have(self.committer.statements());
        let windows = self.lanes.iter().map(|lane| &lane.windows);
        self.metrics.windows(windows, self.settings.policy.window_ms());
    }

    async fn finish(self) {
        for lane in self.lanes.into_ours() {
            given_back(lane.id.as_str(), self.ledger.release(&lane.id, lane.epoch).await);
        }
        given_back("this worker", self.ledger.leave().await);
    }
}

/// A lease that could not be given back runs out by itself.
fn given_back(whose: &str, given_back: Result<(), FenceError>) {
    if let Err(error) = given_back {
        tracing::warn!(whose, %error, "a lease was not given back");
    }
}

fn reading(position: &Position) -> LaneHealth {
    match position {
        Position::Stream {
            backfill: Backfill::Pending | Backfill::UpTo(_),
            ..
        } => LaneHealth::Scanning,
        Position::Stream {
            backfill: Backfill::Done,
            ..
        }
        | Position::Offset { .. } => LaneHealth::Running,
    }
}
