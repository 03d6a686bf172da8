//! What the loop asks of the ledger beside commits: lanes, leases, and notes about lanes.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Group, Lane, Pump, Replays, backoff};
use crate::batch::LaneBatch;
use crate::clock::Clock;
use crate::dedupe::{Window, Windows};
use crate::health::{Concern, Health, LaneHealth, Trouble};
use crate::hold::{HOLD, Reminder};
use crate::lane::LaneId;
use crate::ledger::{Acquired, FenceError, Granted, Ledger, ReplayRequest};
use crate::source::{Grant, GrantId};

/// How often, at least, a lane is asked for again while another process holds it: a leader that stops in good
/// order gives its lane back at once.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a lane that stopped is looked at: somebody may have said how it goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often at most.
const SOON: Duration = Duration::from_millis(50);
/// Dead letters that are judged again in one commit, at most, and their bytes.
const REPLAYS: usize = 1_000;
const REPLAY_BYTES: usize = 8 << 20;

/// What came back from the ledger.
pub(super) enum Background {
    Acquired {
        lane: LaneId,
        reply: oneshot::Sender<Grant>,
        unwanted: CancellationToken,
        granted: Option<Granted>,
    },
    Topology,
    ReplayRequests(Result<Vec<ReplayRequest>, FenceError>),
    Dropped(Result<u64, FenceError>),
    Noted,
}

impl<L: Ledger, C: Clock> Pump<L, C> {
    pub(super) fn acquire(&mut self, lane: LaneId, mut reply: oneshot::Sender<Grant>) {
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        let noted = self.halted.get(&lane).cloned();
        let unwanted = CancellationToken::new();
        if let Some(older) = self.asking.insert(lane.clone(), unwanted.clone()) {
            older.cancel();
        }
        self.side.push(Box::pin(async move {
            let mut wanted = Wanted {
                reply: &mut reply,
                unwanted: &unwanted,
            };
            if let Some(noted) = noted {
                until_resumed(ledger.as_ref(), &lane, &health, &mut wanted, noted).await;
            }
            let granted = acquire(ledger.as_ref(), &lane, &health, wanted).await;
            Background::Acquired {
                lane,
                reply,
                unwanted,
                granted,
            }
        }));
    }

    /// The source has this lane no longer: what was asked of the ledger for it is not wanted any more.
    pub(super) fn ask_no_more(&mut self, lane: &LaneId) {
        if let Some(unwanted) = self.asking.remove(lane) {
            unwanted.cancel();
        }
        // Whoever is given it next looks for himself.
        self.halted.remove(lane);
    }

    pub(super) fn store_topology(&mut self, lanes: Vec<LaneId>) {
        if let Some(known) = &self.source_lanes {
            let added = lanes.iter().filter(|lane| !known.contains(lane)).count();
            if added > 0 {
                tracing::warn!(
                    added,
                    "the source has more lanes: a duplicate of an event whose key moved there is recognised again only once \
                     its first copy came by the new lane too, or with USAGE_LEDGER_DEDUPE_SCOPE=ledger"
                );
                self.metrics.lanes_added.inc_by(added as u64);
            }
        }
        self.source_lanes = Some(lanes.clone());
        self.topology = Some(lanes);
        self.store_newest_topology();
    }

    /// One after the other: an older one must not arrive behind a newer one.
    fn store_newest_topology(&mut self) {
        if self.storing_topology {
            return;
        }
        let Some(lanes) = self.topology.take() else { return };
        self.storing_topology = true;
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        self.side.push(Box::pin(async move {
            until_back(&health, || ledger.topology(&lanes)).await;
            Background::Topology
        }));
    }

    /// Lets go of lanes that stopped, once everything they read is committed.
    pub(super) fn let_go_of_stopped_lanes(&mut self) {
        let on_its_way = |key: GrantId| {
            let in_flight = self
                .in_flight
                .iter()
                .flat_map(|commit| commit.lanes.iter().copied());
            in_flight
                .chain(self.queue.iter().flat_map(Group::keys))
                .any(|other| other == key)
        };
        let keys: Vec<GrantId> = self
            .lanes
            .iter()
            .filter(|(key, lane)| lane.stop.is_some() && lane.current.is_empty() && !on_its_way(**key))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(lane) = self.remove(key) else { continue };
            let Some(stop) = lane.stop else { continue };
            // Now, and not whenever the note is written: the lane may be ours again by then.
            self.ledger.lost(&lane.id);
            let noted = CancellationToken::new();
            self.halted.insert(lane.id.clone(), noted.clone());
            let (ledger, health, at) = (Arc::clone(&self.ledger), self.health.clone(), self.clock.now());
            self.side.push(Box::pin(async move {
                until_back(&health, || ledger.stopped(&lane.id, lane.epoch, &stop, at)).await;
                noted.cancel();
                Background::Noted
            }));
        }
    }

    pub(super) fn background_done(&mut self, side: Background) {
        match side {
            Background::Acquired {
                lane,
                reply,
                unwanted,
                granted,
            } => {
                if !unwanted.is_cancelled() {
                    self.asking.remove(&lane);
                }
                match granted {
                    Some(granted) if unwanted.is_cancelled() => self.give_back(lane, granted.0.epoch),
                    Some(granted) => self.granted(lane, reply, granted),
                    None => self.given_up(&lane),
                }
            }
            Background::Topology => {
                self.storing_topology = false;
                self.store_newest_topology();
            }
            Background::ReplayRequests(result) => match result {
                Ok(letters) => {
                    self.health.trouble(Concern::DeadLetters, None);
                    self.replay(letters);
                }
                // Asked again in a moment.
                Err(error) => {
                    const WHAT: &str = "dead letters that are to be judged again cannot be looked up";
                    match &error {
                        FenceError::Away(_) => tracing::warn!(%error, "{WHAT}"),
                        FenceError::Refused { reason, why } => {
                            self.reminders.letters.refused(WHAT, *reason, why)
                        }
                    }
                    self.health.trouble(Concern::DeadLetters, Some(trouble(&error)));
                    self.replays = Replays::Rest;
                }
            },
            Background::Dropped(result) => {
                self.dropping_payloads = false;
                match result {
                    Ok(0) => {}
                    Ok(letters) => {
                        tracing::info!(letters, "payloads of open dead letters were dropped by age")
                    }
                    // They wait for the next time.
                    Err(error) => tracing::warn!(%error, "payloads of dead letters cannot be dropped"),
                }
            }
            Background::Noted => {}
        }
    }

    /// Payloads hold whatever an emitter sent: they are kept for as long as the settings say.
    pub(super) fn drop_payloads(&mut self) {
        let keep = self.settings.letter_keep.map(TimeDelta::from_std);
        let before = match keep {
            Some(Ok(keep)) => self.clock.now().checked_sub_signed(keep),
            _ => None,
        };
        let lanes: Vec<LaneId> = self.lanes.values().map(|lane| lane.id.clone()).collect();
        let (Some(before), false, false) = (before, self.dropping_payloads, lanes.is_empty()) else {
            return;
        };
        self.dropping_payloads = true;
        let ledger = Arc::clone(&self.ledger);
        self.side.push(Box::pin(async move {
            Background::Dropped(ledger.drop_payloads(&lanes, before).await)
        }));
    }

    /// Asks for dead letters that are to be judged again; not before those of the last time are committed, so
    /// that none is folded twice.
    pub(super) fn ask_for_replays(&mut self) {
        let is_busy = self.in_flight.as_ref().is_some_and(|commit| commit.has_replays)
            || self.queue.iter().any(Group::has_replays)
            || self.lanes.values().any(|lane| lane.current.has_replays());
        let lanes: Vec<LaneId> = self.lanes.values().map(|lane| lane.id.clone()).collect();
        if self.replays == Replays::Asking || is_busy || lanes.is_empty() {
            return;
        }
        self.replays = Replays::Asking;
        let ledger = Arc::clone(&self.ledger);
        self.side.push(Box::pin(async move {
            Background::ReplayRequests(ledger.replay_requests(&lanes, REPLAYS, REPLAY_BYTES).await)
        }));
    }

    /// Judges dead letters again. Their lanes may have gone meanwhile: whoever has them now finds the letters.
    fn replay(&mut self, letters: Vec<ReplayRequest>) {
        self.replays = if letters.is_empty() {
            Replays::Rest
        } else {
            Replays::More
        };
        let now = self.clock.now();
        for letter in letters {
            let Some(key) = self.key_of(&letter.lane) else {
                continue;
            };
            let lane = self.lanes.get_mut(&key).expect("just found");
            let policy = &self.settings.policy;
            self.open.fold(lane, |lane| {
                lane.current.replay(letter, policy, &mut lane.windows, now);
            });
        }
        self.folded(now);
    }

    /// The source no longer wants the lane that it asked for; unless it has it from another asking.
    fn given_up(&mut self, lane: &LaneId) {
        // Nobody asks any more whether the ledger is back.
        self.health.trouble(Concern::Lanes, None);
        if self.key_of(lane).is_none() {
            self.health.lost(lane);
        }
    }

    /// The source gave the lane up while we waited for it.
    fn give_back(&mut self, lane: LaneId, epoch: i64) {
        self.given_up(&lane);
        let (ledger, health) = (Arc::clone(&self.ledger), self.health.clone());
        self.side.push(Box::pin(async move {
            until_back(&health, || ledger.release(&lane, epoch)).await;
            Background::Noted
        }));
    }

    fn granted(&mut self, id: LaneId, reply: oneshot::Sender<Grant>, (fence, stored): Granted) {
        self.granted += 1;
        let key = GrantId(self.granted);
        let (epoch, seq) = (fence.epoch, fence.seq);
        let lost = CancellationToken::new();
        let (committed, follow) = watch::channel(fence.position.clone());
        let grant = Grant {
            key,
            fence,
            lost: lost.clone(),
            committed: follow,
        };
        if reply.send(grant).is_err() {
            return self.give_back(id, epoch);
        }
        tracing::info!(lane = %id, epoch, seq, "the lane is ours");
        self.halted.remove(&id);
        if let Some(older) = self.key_of(&id) {
            self.remove(older);
        }
        self.health.watermark(&id, None);
        let current = LaneBatch::new(&self.settings.policy.grouping);
        let windows = Windows {
            events: Window::load(stored.events),
            scanned: Window::load(stored.scanned),
            rejected: stored.rejected,
        };
        self.lanes.insert(
            key,
            Lane {
                id,
                epoch,
                seq,
                windows,
                current,
                lost,
                committed,
                stop: None,
            },
        );
    }
}

const fn trouble(error: &FenceError) -> Trouble {
    match error {
        FenceError::Away(_) => Trouble::Away,
        FenceError::Refused { reason, .. } => Trouble::Refused(*reason),
    }
}

/// Whether the source still wants a lane that it asked for.
struct Wanted<'a> {
    reply: &'a mut oneshot::Sender<Grant>,
    unwanted: &'a CancellationToken,
}

impl Wanted<'_> {
    fn is_over(&self) -> bool {
        self.reply.is_closed() || self.unwanted.is_cancelled()
    }

    async fn over(&mut self) {
        tokio::select! {
            () = self.reply.closed() => {}
            () = self.unwanted.cancelled() => {}
        }
    }
}

/// Waits until somebody has said how a lane goes on that stopped here; or until the source no longer wants it. Whoever
/// took it again before would only stop again.
async fn until_resumed<L: Ledger>(
    ledger: &L,
    lane: &LaneId,
    health: &Health,
    wanted: &mut Wanted<'_>,
    noted: CancellationToken,
) {
    tokio::select! {
        biased;
        () = wanted.over() => return,
        () = noted.cancelled() => {}
    }
    let (mut in_trouble, mut reminder) = (false, Reminder::default());
    loop {
        let looked = ledger.is_stopped(lane).await;
        ledger.alive();
        if let Err(error) = &looked {
            in_trouble = true;
            health.trouble(Concern::Lanes, Some(trouble(error)));
        } else if std::mem::take(&mut in_trouble) {
            health.trouble(Concern::Lanes, None);
        }
        let pause = match looked {
            Ok(true) => LOOK_AGAIN,
            Ok(false) => return,
            Err(FenceError::Away(why)) => {
                tracing::warn!(%lane, error = why, "the ledger is away; looking at the stopped lane again");
                LOOK_AGAIN
            }
            Err(FenceError::Refused { reason, why }) => {
                reminder.refused("a stopped lane cannot be looked at", reason, &why);
                HOLD
            }
        };
        tokio::select! {
            biased;
            () = wanted.over() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Asks for a lane until it is ours; `None`: the source no longer wants it.
async fn acquire<L: Ledger>(
    ledger: &L,
    lane: &LaneId,
    health: &Health,
    mut wanted: Wanted<'_>,
) -> Option<Granted> {
    let (mut waited, mut reminder) = (backoff(), Reminder::default());
    let mut standby = false;
    health.waits(lane, LaneHealth::Acquiring);
    loop {
        if wanted.is_over() {
            return None;
        }
        let asked = ledger.acquire(lane).await;
        ledger.alive();
        let pause = match asked {
            Ok(Acquired::Granted(granted)) => {
                health.trouble(Concern::Lanes, None);
                return Some(granted);
            }
            Ok(Acquired::LeasedTo { owner, ask_in }) => {
                health.trouble(Concern::Lanes, None);
                health.waits(lane, LaneHealth::Standby);
                if !standby {
                    tracing::info!(%lane, owner, "another process has this lane; waiting for it");
                    standby = true;
                }
                ask_in.clamp(SOON, ASK_AGAIN)
            }
            Err(FenceError::Away(why)) => {
                tracing::warn!(%lane, error = why, "the ledger is away; asking for the lane again");
                health.trouble(Concern::Lanes, Some(Trouble::Away));
                waited.next().unwrap_or(ASK_AGAIN)
            }
            Err(FenceError::Refused { reason, why }) => {
                reminder.refused("the lane cannot be acquired", reason, &why);
                health.trouble(Concern::Lanes, Some(Trouble::Refused(reason)));
                HOLD
            }
        };
        tokio::select! {
            biased;
            () = wanted.over() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tries again for as long as it takes.
async fn until_back<F>(health: &Health, mut ask: impl FnMut() -> F)
where
    F: Future<Output = Result<(), FenceError>>,
{
    let (mut waited, mut reminder) = (backoff(), Reminder::default());
    loop {
        let Err(error) = ask().await else { break };
        health.trouble(Concern::Notes, Some(trouble(&error)));
        let pause = match error {
            FenceError::Away(_) => waited.next().unwrap_or(ASK_AGAIN),
            FenceError::Refused { reason, why } => {
                reminder.refused("what is noted of lanes cannot be written", reason, &why);
                HOLD
            }
        };
        tokio::time::sleep(pause).await;
    }
    health.trouble(Concern::Notes, None);
}
