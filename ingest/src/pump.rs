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
mod group;
mod limit;
mod settle;
mod start_commit;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{Limits, Policy};
use crate::clock::Clock;
use crate::health::{Concern, Health, LaneHealth, Trouble};
use crate::hold::Reminder;
use crate::lane::{Backfill, LaneId, Position};
use crate::ledger::{Applied, Attempt, Commit, CommitError, FenceError, Ledger};
use crate::metrics::Metrics;
use crate::rejections::Rejections;
use crate::source::{GrantId, Record, Revoked, Signals, SourceEvent};

use acquire::Background;
use group::{Group, Lane};
use limit::Limit;
use start_commit::ContentIds;

/// How often the position of an idle lane is stored.
const IDLE_COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often the ledger is asked for dead letters that are to be judged again.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
/// How often payloads of letters that are kept for too long are looked for.
const DROP_EVERY: Duration = Duration::from_secs(10);

/// How the loop works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When a batch is committed.
    pub limits: Limits,
    /// What records are judged by.
    pub policy: Policy,
    /// The most ids in the windows of this process.
    pub max_ids: usize,
    /// How long the payloads of open letters are kept; `None`: for ever.
    pub letter_keep: Option<Duration>,
}

/// Why the loop ended on its own: nothing it can do helps.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot go on.
    #[error("the source failed: {0}")]
    Source(String),
}

/// A commit on its way.
struct InFlight {
    attempt: BoxFuture<'static, Attempted>,
    lanes: Vec<GrantId>,
    records: usize,
    has_replays: bool,
}

/// What a commit attempt came back with.
struct Attempted {
    group: Group,
    commit: Commit,
    attempt: Attempt,
    result: Result<Applied, CommitError>,
    took: Duration,
}

/// What is being folded over all lanes.
#[derive(Debug, Default)]
struct OpenBatch {
    events: usize,
    bytes: usize,
    statements: usize,
    since: Option<Instant>,
}

impl OpenBatch {
    fn fold(&mut self, lane: &mut Lane, fold: impl FnOnce(&mut Lane)) {
        let before = (
            lane.current.records(),
            lane.current.bytes(),
            lane.current.statements(),
        );
        fold(lane);
        self.events += lane.current.records() - before.0;
        self.bytes += lane.current.bytes() - before.1;
        self.statements += lane.current.statements() - before.2;
    }
}

/// The loop. See the module.
pub struct Pump<L, C> {
    ledger: Arc<L>,
    clock: Arc<C>,
    settings: Settings,
    metrics: Metrics,
    health: Health,
    lanes: BTreeMap<GrantId, Lane>,
    /// Lanes that the ledger is asked for; cancelled where the source has them no longer.
    asking: BTreeMap<LaneId, CancellationToken>,
    /// Lanes that stopped here; cancelled once that is stored.
    halted: BTreeMap<LaneId, CancellationToken>,
    granted: u64,
    backlog: VecDeque<Record>,
    open: OpenBatch,
    queue: VecDeque<Group>,
    in_flight: Option<InFlight>,
    /// How many statements a transaction may have.
    limit: Limit,
    /// What attempts have cost since a commit was applied.
    wasted: Duration,
    /// How often what cannot be halved took too long, since a commit was applied.
    extensions: u32,
    contents: ContentIds,
    side: FuturesUnordered<BoxFuture<'static, Background>>,
    backoff: ExponentialBackoff,
    delay: Duration,
    launched: Instant,
    /// The newest lanes of the source that are not on their way to the ledger yet.
    topology: Option<Vec<LaneId>>,
    storing_topology: bool,
    /// The lanes that the source had when it last said so.
    source_lanes: Option<Vec<LaneId>>,
    replays: Replays,
    dropping_payloads: bool,
    reminders: Reminders,
    rejections: Rejections,
    /// Cancelled when everything folded is to be committed, and nothing more read.
    drains: CancellationToken,
}

/// Say what only a person can mend.
#[derive(Debug, Default)]
struct Reminders {
    commit: Reminder,
    letters: Reminder,
    source: Reminder,
}

/// Whether the ledger is being asked for dead letters that are to be judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replays {
    Rest,
    Asking,
    /// There were more than it gave at once.
    More,
}

impl<L: Ledger, C: Clock> Pump<L, C> {
    /// A loop that owns no lane yet.
    pub fn new(ledger: Arc<L>, clock: Arc<C>, settings: Settings, metrics: Metrics, health: Health) -> Self {
        let limit = Limit::new(settings.limits.commit_target, settings.limits.max_rows);
        Self {
            ledger,
            clock,
            settings,
            metrics,
            health,
            lanes: BTreeMap::new(),
            asking: BTreeMap::new(),
            halted: BTreeMap::new(),
            granted: 0,
            backlog: VecDeque::new(),
            open: OpenBatch::default(),
            queue: VecDeque::new(),
            in_flight: None,
            limit,
            wasted: Duration::ZERO,
            extensions: 0,
            contents: ContentIds::default(),
            side: FuturesUnordered::new(),
            backoff: backoff(),
            delay: Duration::ZERO,
            launched: Instant::now(),
            topology: None,
            storing_topology: false,
            source_lanes: None,
            replays: Replays::Rest,
            dropping_payloads: false,
            reminders: Reminders::default(),
            rejections: Rejections::default(),
            drains: CancellationToken::new(),
        }
    }

    /// The same with transactions of so many statements, whatever they cost: what the learned number is measured by.
    #[must_use]
    pub fn with_fixed_size(mut self, statements: usize) -> Self {
        self.limit = Limit::fixed(statements);
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
        let mut draining = false;
        loop {
            while self.fold_backlog() | self.start_commit(draining) {}
            self.let_go_of_stopped_lanes();
            self.observe();
            self.rejections.say(self.clock.now());
            if draining && self.in_flight.is_none() {
                self.finish().await;
                return Ok(());
            }
            let due = self.due();
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
                    self.drains.cancel();
                    signals.said.close();
                    // Never folded, so their positions have not moved: the next owner reads them again.
                    self.backlog.clear();
                }
                attempt = async { self.in_flight.as_mut().expect("guarded").attempt.as_mut().await }, if self.in_flight.is_some() => {
                    self.in_flight = None;
                    self.ledger.alive();
                    self.settle(attempt);
                }
                Some(side) = self.side.next() => self.background_done(side),
                _ = replay.tick(), if !draining => self.ask_for_replays(),
                _ = drop_payloads.tick(), if !draining => self.drop_payloads(),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && self.in_flight.is_none() => {}
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
            self.ask_no_more(&lane);
            if let Some(key) = self.key_of(&lane) {
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
            SourceEvent::Topology(lanes) => self.store_topology(lanes),
            SourceEvent::Assigned { lane, reply } => {
                self.health.joined();
                self.acquire(lane, reply);
            }
            SourceEvent::Joined => self.health.joined(),
            SourceEvent::Records(records) => self.backlog = records.into(),
            SourceEvent::Idle { lane, next, as_of_ms } => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    self.health.lane(&lane.id, reading(&next));
                    lane.current.idle(next, as_of_ms);
                }
            }
            SourceEvent::Stopped { lane, stop } => {
                if !self.health.is_stopped(&lane, stop.reason) {
                    tracing::error!(
                        %lane, reason = stop.reason.name(), detail = stop.detail,
                        "the lane stopped; nothing is skipped. Look at `usage-ledger lanes list`, then say how to go on: \
                         `usage-ledger lanes resume --lane {lane} --from earliest|now --accept-gap`"
                    );
                }
                self.health.lane(&lane, LaneHealth::Stopped(stop.reason));
                let granted = self.key_of(&lane).and_then(|key| self.lanes.get_mut(&key));
                if let Some(lane) = granted {
                    lane.stop = Some(stop);
                }
            }
            SourceEvent::Away(why) => {
                if let Some(why) = &why {
                    tracing::warn!(error = why, "the source is away; reading goes on when it is back");
                }
                self.health.trouble(Concern::Source, why.map(|_| Trouble::Away));
            }
            SourceEvent::Refused { reason, why } => {
                self.reminders
                    .source
                    .refused("the source cannot be read", reason, &why);
                self.health
                    .trouble(Concern::Source, Some(Trouble::Refused(reason)));
            }
            SourceEvent::Failed(why) => return Err(Error::Source(why)),
        }
        Ok(())
    }

    /// Folds what was read, until the batch is full. Whether anything was folded.
    fn fold_backlog(&mut self) -> bool {
        let mut folded = false;
        let now = self.clock.now();
        while !self.is_full() {
            let Some(record) = self.backlog.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&record.lane) else {
                continue;
            };
            if lane.current.records() == 0 {
                self.health.lane(&lane.id, reading(&record.next));
            }
            let policy = &self.settings.policy;
            self.open.fold(lane, |lane| {
                lane.current.push(record, policy, &mut lane.windows, now)
            });
            folded = true;
        }
        self.folded(now);
        folded
    }

    /// Something was folded, or nothing: readiness goes by how long it waits for its commit.
    fn folded(&mut self, now: DateTime<Utc>) {
        if self.open.events > 0 && self.open.since.is_none() {
            self.open.since = Some(Instant::now());
            self.health.waiting_since(Some(now));
        }
    }

    fn is_full(&self) -> bool {
        let limits = &self.settings.limits;
        self.open.events >= limits.max_events
            || self.open.bytes >= limits.max_bytes
            || self.open.statements >= self.limit.statements()
    }

    /// When the batch is committed although it is not full; `None`: there is nothing to commit.
    fn due(&self) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(Instant::now());
        }
        let idle = || self.lanes.values().any(|lane| !lane.current.is_empty());
        match self.open.since {
            Some(since) => Some(since + self.settings.limits.max_age),
            None => idle().then(|| self.launched + IDLE_COMMIT_EVERY),
        }
    }

    /// Cuts a lane out of everything that is not committed. The other lanes' records stay.
    fn remove(&mut self, key: GrantId) -> Option<Lane> {
        let lane = self.lanes.remove(&key)?;
        lane.lost.cancel();
        self.open.events -= lane.current.records();
        self.open.bytes -= lane.current.bytes();
        self.open.statements -= lane.current.statements();
        if self.open.events == 0 {
            self.open.since = None;
        }
        for group in &mut self.queue {
            group.retain(&self.lanes);
        }
        self.queue.retain(|group| !group.lanes.is_empty());
        Some(lane)
    }

    fn key_of(&self, lane: &LaneId) -> Option<GrantId> {
        let found = self.lanes.iter().find(|(_, ours)| ours.id == *lane);
        found.map(|(key, _)| *key)
    }

    /// The grant of a lane under this epoch is over. The lane may be ours again by now, under a newer one.
    fn lose(&mut self, lane: &LaneId, epoch: i64) {
        let key = self.key_of(lane).filter(|key| self.lanes[key].epoch == epoch);
        if let Some(lane) = key.and_then(|key| self.remove(key)) {
            self.ledger.lost(&lane.id);
            tracing::warn!(lane = %lane.id, epoch = lane.epoch, "the lane was taken over by another process");
            self.metrics.lanes_lost.inc();
            self.health.watermark(&lane.id, None);
            self.health.lane(&lane.id, LaneHealth::Acquiring);
        }
    }

    fn observe(&self) {
        let on_its_way = self.in_flight.as_ref().map_or(0, |commit| commit.records);
        let pending = self.open.events + self.queue.iter().map(Group::records).sum::<usize>() + on_its_way;
        if pending == 0 && self.in_flight.is_none() {
            self.health.waiting_since(None);
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.pending.set(count(pending));
        self.metrics.rows_limit.set(count(self.limit.statements()));
        self.metrics.lanes.set(count(self.lanes.len()));
        self.metrics.dedupe_ids.set(count(
            self.lanes.values().map(|lane| lane.windows.events.len()).sum(),
        ));
        self.metrics.letter_ids.set(count(
            self.lanes.values().map(|lane| lane.windows.rejected.len()).sum(),
        ));
        let length_ms = self.window().length_ms;
        let reaches = self
            .lanes
            .values()
            .map(|lane| lane.windows.events.reach_ms(length_ms));
        #[allow(clippy::cast_precision_loss, reason = "seconds of a window, shown to people")]
        self.metrics
            .dedupe_window
            .set(reaches.min().unwrap_or(length_ms) as f64 / 1000.0);
    }

    async fn finish(self) {
        for lane in self.lanes.into_values() {
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
        | Position::Offset(_) => LaneHealth::Running,
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
