//! What is on its way to the ledger: which group, how large a transaction may be, for how long it is tried, and what
//! follows from an attempt.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use rollup::event::Reason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::group::{Group, WindowLimits};
use super::lanes::Lanes;
use super::limit::{Limit, Sample};
use super::settings::Settings;
use crate::batch::LaneBatch;
use crate::dedupe::{Forget, Scope};
use crate::health::{Concern, Health, Trouble};
use crate::hold::{HOLD, Reminder, while_away};
use crate::lane::{ContentId, FenceMove};
use crate::ledger::{Applied, Attempt, Commit, CommitError, Ledger};
use crate::metrics::{CommitOutcome, Metrics};
use crate::rejections::Rejections;
use crate::source::GrantId;

/// How often the position of an idle lane is stored.
const IDLE_COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Statements by which a batch may be larger than the limit without being cut.
const OVERSHOOT: usize = 64;
/// An attempt is given up after so many times the target of a commit.
const TARGETS: u32 = 10;
/// The same for a small target.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause between two attempts while everything is to be committed: there is little time for that.
const HURRIED: Duration = Duration::from_secs(1);
/// Longer than any server keeps a transaction.
const MOST_PATIENCE: Duration = Duration::from_secs(3600);

/// Names each content that is committed, so that the fence tells which was: random, since other processes do it too.
#[derive(Debug, Default)]
struct ContentIds {
    random: RandomState,
    made: u64,
}

impl ContentIds {
    fn next(&mut self) -> ContentId {
        self.made += 1;
        ContentId(self.random.hash_one(self.made).cast_signed())
    }
}

/// A commit on its way.
struct InFlight {
    attempt: BoxFuture<'static, Attempted>,
    lanes: Vec<GrantId>,
    records: usize,
    has_replays: bool,
}

/// What a commit attempt came back with.
pub(super) struct Attempted {
    group: Group,
    commit: Commit,
    attempt: Attempt,
    result: Result<Applied, CommitError>,
    took: Duration,
}

/// What an attempt means for the lanes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Its group is permanent.
    Applied,
    /// These fences are not ours any more.
    Lost(Vec<FenceMove>),
    /// Nothing: its group waits, whole or in parts.
    Waits,
}

/// See the module.
pub(super) struct Committer<L> {
    ledger: Arc<L>,
    settings: Arc<Settings>,
    metrics: Metrics,
    health: Health,
    queue: VecDeque<Group>,
    in_flight: Option<InFlight>,
    /// How many statements a transaction may have.
    limit: Limit,
    /// What attempts have cost since a commit was applied.
    wasted: Duration,
    /// How often what cannot be halved took too long, since a commit was applied.
    extensions: u32,
    contents: ContentIds,
    backoff: ExponentialBackoff,
    delay: Duration,
    launched: Instant,
    reminder: Reminder,
    rejections: Rejections,
    /// Cancelled when everything folded is to be committed, and nothing more read.
    drains: CancellationToken,
}

impl<L: Ledger> Committer<L> {
    pub(super) fn new(ledger: Arc<L>, settings: Arc<Settings>, metrics: Metrics, health: Health) -> Self {
        let limit = Limit::new(settings.limits.commit_target, settings.limits.max_rows);
        Self {
            ledger,
            settings,
            metrics,
            health,
            queue: VecDeque::new(),
            in_flight: None,
            limit,
            wasted: Duration::ZERO,
            extensions: 0,
            contents: ContentIds::default(),
            backoff: while_away(),
            delay: Duration::ZERO,
            launched: Instant::now(),
            reminder: Reminder::default(),
            rejections: Rejections::default(),
            drains: CancellationToken::new(),
        }
    }

    /// From now on transactions have so many statements, whatever they cost.
    pub(super) fn fix_size(&mut self, statements: usize) {
        self.limit = Limit::fixed(statements);
    }

    /// From now on everything that is folded is committed at once, and pauses are short.
    pub(super) fn drain(&self) {
        self.drains.cancel();
    }

    /// Says which records were rejected, where that is due.
    pub(super) fn say_rejections(&mut self, now: DateTime<Utc>) {
        self.rejections.say(now);
    }

    /// Whether a commit is on its way.
    pub(super) const fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Statements that a transaction may have.
    pub(super) fn statements(&self) -> usize {
        self.limit.statements()
    }

    /// Records that are on their way, or wait for that.
    pub(super) fn records(&self) -> usize {
        let on_their_way = self.in_flight.as_ref().map_or(0, |commit| commit.records);
        self.queue.iter().map(Group::records).sum::<usize>() + on_their_way
    }

    /// Whether something of this grant is on its way, or waits for that.
    pub(super) fn has(&self, key: GrantId) -> bool {
        let in_flight = self.in_flight.iter().flat_map(|commit| &commit.lanes).copied();
        in_flight
            .chain(self.queue.iter().flat_map(Group::keys))
            .any(|other| other == key)
    }

    /// Whether dead letters that were judged again are on their way, or wait for that.
    pub(super) fn has_replays(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|commit| commit.has_replays)
            || self.queue.iter().any(Group::has_replays)
    }

    /// Cuts lanes that are ours no longer out of everything that waits.
    pub(super) fn retain(&mut self, lanes: &Lanes) {
        for group in &mut self.queue {
            group.retain(lanes);
        }
        self.queue.retain(|group| !group.lanes.is_empty());
    }

    /// Whether what the lanes have folded is enough for a transaction.
    pub(super) fn is_full(&self, lanes: &Lanes) -> bool {
        lanes
            .open()
            .is_full(&self.settings.limits, self.limit.statements())
    }

    /// When the batch is committed although it is not full; `None`: there is nothing to commit.
    pub(super) fn due(&self, lanes: &Lanes) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(Instant::now());
        }
        match lanes.open().since {
            Some(since) => Some(since + self.settings.limits.max_age),
            None => lanes.have_any().then(|| self.launched + IDLE_COMMIT_EVERY),
        }
    }

    /// How the windows of ids are cut by the next commit.
    pub(super) fn window(&self) -> WindowLimits {
        let scope = self.settings.policy.scope;
        // Where one record is too much, what it would forget may be the reason. That can wait.
        let forget = (self.extensions == 0).then(|| Forget::within(self.limit.statements(), scope));
        WindowLimits {
            forget,
            length_ms: self.settings.policy.window_ms(),
            max_ids: self.settings.max_ids,
            scope,
        }
    }

    /// Starts a commit, if none is on its way and one is due. Whether it did.
    pub(super) fn start(&mut self, lanes: &mut Lanes, now: impl FnOnce() -> DateTime<Utc>) -> bool {
        if self.is_busy() {
            return false;
        }
        // There is one every few seconds at most.
        let merging = if self.queue.is_empty() && !self.drains.is_cancelled() {
            lanes.close_for_merge()
        } else {
            None
        };
        if let Some(alone) = merging {
            let group = Group { lanes: vec![alone] };
            let commit = group.commit(lanes, self.window(), self.contents.next(), now());
            self.attempt(group, commit, Attempt::Fresh);
            return true;
        }
        let group = loop {
            let is_due = self.due(lanes).is_some_and(|due| {
                self.drains.is_cancelled() || self.is_full(lanes) || due <= Instant::now()
            });
            if !is_due {
                return false;
            }
            let waiting = self.queue.pop_front();
            let mut group = waiting.unwrap_or_else(|| Group { lanes: lanes.close() });
            group.retain(lanes);
            // Empty where all its lanes were lost while it was on its way: there may be more behind it.
            if !group.lanes.is_empty() {
                break self.cut_to_fit(group);
            }
        };
        let group = match self.settings.policy.scope {
            Scope::Lane => group,
            Scope::Ledger => {
                let (group, apart) = group.separate();
                if let Some(apart) = apart {
                    self.queue.push_front(apart);
                }
                group
            }
        };
        let commit = group.commit(lanes, self.window(), self.contents.next(), now());
        self.attempt(group, commit, Attempt::Fresh);
        true
    }

    /// The first part of a group that was folded when a transaction could be larger; the rest waits.
    fn cut_to_fit(&mut self, mut group: Group) -> Group {
        // One step of folding may overshoot a limit: that is no reason to cut.
        let most = self.limit.statements() / 2 * 3 + OVERSHOOT;
        while group.statements() > most {
            match group.split(&self.settings.policy) {
                Ok((first, rest)) => {
                    self.queue.push_front(rest);
                    group = first;
                }
                Err(whole) => return whole,
            }
        }
        group
    }

    /// How long an attempt may run before it is given up: what is cut in two then is tried with half as much, and what
    /// cannot be cut for twice as long.
    fn patience(&self) -> Duration {
        let patience = (self.settings.limits.commit_target * TARGETS).max(LEAST_PATIENCE);
        patience
            .saturating_mul(1 << self.extensions.min(16))
            .min(MOST_PATIENCE)
    }

    fn attempt(&mut self, group: Group, commit: Commit, mut attempt: Attempt) {
        self.launched = Instant::now();
        let ledger = Arc::clone(&self.ledger);
        let delay = std::mem::take(&mut self.delay);
        let (lanes, records, has_replays) = (group.keys().collect(), group.records(), group.has_replays());
        let patience = self.patience();
        let drains = self.drains.clone();
        let hurried = async move {
            drains.cancelled().await;
            tokio::time::sleep(delay.min(HURRIED)).await;
        };
        let attempt = Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = hurried => {}
            }
            let started = Instant::now();
            // A sum beyond 64 bits never gets as far as the database, and nothing is in doubt then.
            let result = match commit.delta.check() {
                Ok(()) => ledger.commit(&commit, patience, &mut attempt).await,
                Err(_) => Err(CommitError::Overflow),
            };
            Attempted {
                group,
                commit,
                attempt,
                result,
                took: started.elapsed(),
            }
        });
        self.in_flight = Some(InFlight {
            attempt,
            lanes,
            records,
            has_replays,
        });
    }

    /// The attempt that is on its way, when it comes back. Never where none is.
    pub(super) async fn attempted(&mut self) -> Attempted {
        match &mut self.in_flight {
            None => std::future::pending().await,
            Some(in_flight) => {
                let attempted = in_flight.attempt.as_mut().await;
                self.in_flight = None;
                attempted
            }
        }
    }

    /// Decides what follows from an attempt. While its outcome is in doubt nothing but the same content is
    /// tried again.
    pub(super) fn settle(&mut self, attempted: Attempted, lanes: &mut Lanes) -> Settled {
        self.note(&attempted);
        let Attempted {
            group,
            commit,
            attempt,
            result,
            took,
        } = attempted;
        match result {
            Ok(applied) => {
                self.learn(&group, applied.took, took);
                self.applied(&group, &commit, lanes);
                return Settled::Applied;
            }
            Err(CommitError::Lost(lost)) => {
                self.queue.push_front(group);
                let mut moves = commit.moves();
                moves.retain(|fence| lost.contains(&fence.lane));
                return Settled::Lost(moves);
            }
            Err(CommitError::DuplicateIds(held)) => {
                tracing::debug!(
                    ids = held.len(),
                    "ids that are in the ledger already; folding again"
                );
                let held: HashMap<_, _> = held.into_iter().collect();
                let group = group.held(&held, lanes, &self.settings.policy);
                self.queue.push_front(group);
            }
            Err(CommitError::Away(why)) => {
                self.delay = self.backoff.next().unwrap_or_default();
                tracing::warn!(error = why, retry_in = ?self.delay, "the ledger is away; the batch is kept");
                self.again(group, commit, attempt);
            }
            Err(CommitError::Refused { reason, why }) => {
                self.delay = HOLD;
                self.reminder.refused(
                    "the batch is kept, since the ledger cannot be written",
                    reason,
                    &why,
                );
                self.again(group, commit, attempt);
            }
            Err(error) if attempt.is_in_doubt() => {
                self.delay = self.backoff.next().unwrap_or_default();
                tracing::warn!(%error, "the outcome of a commit is not known yet; asking again");
                self.attempt(group, commit, attempt);
            }
            Err(error) => self.halve(group, &error, lanes),
        }
        Settled::Waits
    }

    /// What can be seen from outside of an attempt.
    fn note(&mut self, attempted: &Attempted) {
        let (outcome, trouble) = match &attempted.result {
            Ok(_) => (CommitOutcome::Applied, None),
            Err(CommitError::Lost(_)) => (CommitOutcome::Lost, None),
            Err(CommitError::Overflow) => (CommitOutcome::Overflow, None),
            Err(CommitError::DuplicateIds(_)) => (CommitOutcome::DuplicateIds, None),
            Err(CommitError::Conflict(_)) => (CommitOutcome::Conflict, None),
            Err(CommitError::TooMuch(_)) => (CommitOutcome::TooMuch, None),
            Err(CommitError::BadRecord(_)) => (CommitOutcome::BadRecord, None),
            Err(CommitError::Away(_)) => (CommitOutcome::Away, Some(Trouble::Away)),
            Err(CommitError::Refused { reason, .. }) => {
                (CommitOutcome::Refused, Some(Trouble::Refused(*reason)))
            }
        };
        self.metrics.attempt(outcome, attempted.took);
        self.health.trouble(Concern::Commit, trouble);
        if attempted.result.is_err() {
            self.wasted += attempted.took;
        }
    }

    /// The same again. While its outcome is in doubt nothing else may be.
    fn again(&mut self, group: Group, commit: Commit, attempt: Attempt) {
        if attempt.is_in_doubt() {
            self.attempt(group, commit, attempt);
        } else {
            self.queue.push_front(group);
        }
    }

    /// What a commit cost says how large the next may be. One that only moves positions says nothing.
    fn learn(&mut self, group: &Group, took: Duration, with_retries: Duration) {
        let in_all = std::mem::take(&mut self.wasted) + with_retries;
        self.extensions = 0;
        if group.records() > 0 {
            self.limit.applied(Sample {
                statements: group.statements(),
                records: group.records(),
                took,
                in_all,
            });
        }
    }

    fn applied(&mut self, group: &Group, commit: &Commit, lanes: &mut Lanes) {
        self.backoff = while_away();
        let batches = || group.lanes.iter().map(|(_, batch)| batch);
        self.metrics.committed(batches().flat_map(LaneBatch::outcomes));
        self.metrics.gaps(batches().flat_map(LaneBatch::gaps));
        self.metrics.replayed(batches().flat_map(LaneBatch::replayed));
        self.metrics.late(batches().flat_map(LaneBatch::late));
        self.metrics.wrote(commit, group.records(), group.statements());
        for letter in commit.lanes.iter().flat_map(|lane| &lane.letters) {
            self.metrics.rejected(letter.reject.reason);
            self.rejections.add(letter.reject.reason);
        }
        for (lane, watermark_ms) in lanes.committed(&group.lanes, commit) {
            self.health.watermark(&lane, Some(watermark_ms));
        }
    }

    /// Boundaries never matter: half of a batch is a batch.
    fn halve(&mut self, group: Group, error: &CommitError, lanes: &mut Lanes) {
        let (records, statements) = (group.records(), group.statements());
        match (group.split(&self.settings.policy), error) {
            (Ok((first, second)), _) => {
                // What cannot be cut says nothing of how much may be in a transaction.
                match error {
                    CommitError::TooMuch(_) => self.limit.too_much(statements),
                    CommitError::Conflict(_) => self.limit.contended(statements),
                    _ => {}
                }
                let limit = self.limit.statements();
                tracing::debug!(records, statements, limit, %error, "a batch is cut in two");
                self.queue.push_front(second);
                self.queue.push_front(first);
            }
            (Err(single), CommitError::Overflow) => {
                tracing::warn!("a booking would overflow a stored counter: it is a dead letter now");
                let group = single.reject_counted(Reason::Overflow, lanes, &self.settings.policy);
                self.queue.push_front(group);
            }
            (Err(single), CommitError::BadRecord(why)) => self.reject_unstorable(single, why, lanes),
            (Err(single), error) => {
                if matches!(error, CommitError::TooMuch(_)) {
                    self.extensions += 1;
                }
                self.once_more(single, error);
            }
        }
    }

    /// What follows from one record cannot be written: no record stops its lane.
    fn reject_unstorable(&mut self, single: Group, why: &str, lanes: &mut Lanes) {
        let (group, is_changed) = single.reject_unstorable(lanes, &self.settings.policy);
        if is_changed {
            tracing::warn!(
                error = why,
                "the server refuses what follows from a record; it is kept in another form"
            );
            self.queue.push_front(group);
        } else {
            self.once_more(group, &CommitError::BadRecord(why.to_owned()));
        }
    }

    fn once_more(&mut self, single: Group, error: &CommitError) {
        self.delay = self.backoff.next().unwrap_or_default();
        tracing::warn!(%error, retry_in = ?self.delay, "a commit of one record failed; trying again");
        self.queue.push_front(single);
    }
}
