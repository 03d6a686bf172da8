//! What a ledger in memory holds, and how a commit changes it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::counters::Overflow;
use rollup::fold::{Booked, Delta};

use super::letters::{LetterState, StoredLetter};
use super::plan::{Fate, Fault, Told, Turn};
use super::unique::UniqueIds;
use crate::dedupe::{Generation, Remember, Scope, Windows};
use crate::lane::{Fence, LaneId, LastRecord, Position, Resolution, resolve};
use crate::ledger::{Acquired, Commit, CommitError, Doubt, LaneCommit, Tally};
use crate::source::Stop;

/// The fence of a lane, and what was stored with it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFence {
    /// Counts owners.
    pub epoch: i64,
    /// Counts commits.
    pub seq: i64,
    /// Where reading goes on.
    pub position: Option<Position>,
    /// The last record that was done.
    pub last: Option<LastRecord>,
    /// Whose lane it is.
    pub owner: Option<String>,
    /// When it was last committed to, acquired or renewed.
    pub updated_at: DateTime<Utc>,
    /// Every event that reached the source up to this instant (ms) is counted.
    pub watermark_ms: Option<i64>,
    /// What became of all records so far.
    pub tally: Tally,
    /// Why the lane stopped.
    pub stopped: Option<Stop>,
}

/// Everything that is stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// The fences.
    pub fences: BTreeMap<LaneId, StoredFence>,
    /// The rows and the rollups: every counter fits 64 bits.
    pub rows: Delta,
    /// The dead letters, by lane and place.
    pub letters: BTreeMap<(LaneId, String), StoredLetter>,
    /// The lanes that the source has.
    pub topology: Vec<LaneId>,
    /// Attempts to commit, of all processes.
    pub attempts: u64,
    /// How often it was asked for letters that are to be judged again, by all processes.
    pub looked_for_letters: u64,
    pub(super) is_away: bool,
    unique: UniqueIds,
    /// Ids by the sequence number of the commit that brought them.
    windows: BTreeMap<LaneId, Windows<BTreeMap<i64, Generation>>>,
    /// Commits on their way.
    late: Vec<Commit>,
}

impl Stored {
    /// The ids that are stored of a lane, oldest commit first.
    #[must_use]
    pub fn windows(&self, lane: &LaneId) -> Windows<Vec<Generation>> {
        let ids = |window: fn(&Windows<_>) -> &BTreeMap<i64, Generation>| {
            let windows = self.windows.get(lane);
            windows.map_or_else(Vec::new, |windows| window(windows).values().cloned().collect())
        };
        Windows {
            events: ids(|windows| &windows.events),
            scanned: ids(|windows| &windows.scanned),
            letters: self.letters_of(lane),
        }
    }

    /// What became of the records of all lanes.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for fence in self.fences.values() {
            add_tally(&mut sum, fence.tally);
        }
        sum
    }

    fn fence(&mut self, lane: &LaneId) -> &mut StoredFence {
        self.fences.entry(lane.clone()).or_insert_with(|| StoredFence {
            epoch: 0,
            seq: 0,
            position: None,
            last: None,
            owner: None,
            updated_at: DateTime::UNIX_EPOCH,
            watermark_ms: None,
            tally: Tally::default(),
            stopped: None,
        })
    }

    pub(super) fn acquire(
        &mut self,
        lane: &LaneId,
        lease: Option<Duration>,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Acquired {
        let fence = self.fence(lane);
        if let (Some(lease), Some(holder)) = (lease, &fence.owner) {
            let lease = TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX);
            if holder != owner && now - fence.updated_at <= lease {
                return Acquired::Held {
                    owner: holder.clone(),
                };
            }
        }
        fence.epoch += 1;
        fence.owner = Some(owner.to_owned());
        fence.updated_at = now;
        let granted = Fence {
            epoch: fence.epoch,
            seq: fence.seq,
            position: fence.position.clone(),
            last: fence.last,
        };
        Acquired::Granted((granted, self.windows(lane)))
    }

    pub(super) fn steal(&mut self, lane: &LaneId, now: DateTime<Utc>) {
        // Only the epoch counts; the thief's own reading is not of interest.
        let _: Acquired = self.acquire(lane, None, "a thief", now);
    }

    pub(super) fn resume(&mut self, lane: &LaneId, position: Option<Position>, now: DateTime<Utc>) {
        self.steal(lane, now);
        let fence = self.fence(lane);
        fence.position = position;
        fence.last = None;
        fence.stopped = None;
    }

    /// Changes a fence that still has this epoch. Whether it had.
    pub(super) fn touch(&mut self, lane: &LaneId, epoch: i64, change: impl FnOnce(&mut StoredFence)) -> bool {
        let ours = self.fences.get_mut(lane).filter(|fence| fence.epoch == epoch);
        ours.map(change).is_some()
    }

    /// One attempt at a commit, as the database and what lies before it answer it.
    pub(super) fn attempt(
        &mut self,
        commit: &Commit,
        doubt: &mut Doubt,
        turn: &Turn,
        now: DateTime<Utc>,
    ) -> Result<(), CommitError> {
        self.attempts += 1;
        for late in std::mem::take(&mut self.late) {
            if self.expects(&late) && self.accepts(&late).is_ok() {
                self.apply(&late, now);
            }
        }
        for lane in &turn.steal_before {
            self.steal(lane, now);
        }
        let outcome = if self.is_away || turn.fault == Some(Fault::Away) {
            Err(CommitError::Away("nobody answers".into()))
        } else {
            self.reach(commit, doubt, turn.fault, now)
        };
        for lane in &turn.steal_after {
            self.steal(lane, now);
        }
        outcome
    }

    /// The commit has reached the database.
    fn reach(
        &mut self,
        commit: &Commit,
        doubt: &mut Doubt,
        fault: Option<Fault>,
        now: DateTime<Utc>,
    ) -> Result<(), CommitError> {
        // Either the fences match, and then no earlier attempt was applied, nor ever will be. Or they say
        // what became of it.
        let was_in_doubt = std::mem::take(doubt).0;
        if !self.expects(commit) {
            return self.fenced(commit, was_in_doubt);
        }
        if fault == Some(Fault::Contended) {
            return Err(CommitError::Contended("a conflict".into()));
        }
        if commit.delta.check().is_err() || self.sums(&commit.delta).is_err() {
            return Err(CommitError::Overflow);
        }
        if let Some(lane) = self.moved_back(commit) {
            return Err(CommitError::Fatal(format!("the position of `{lane}` went back")));
        }
        self.accepts(commit)?;
        let Some(Fault::Unknown(fate, told)) = fault else {
            self.apply(commit, now);
            return Ok(());
        };
        match fate {
            Fate::Applied => self.apply(commit, now),
            Fate::NotApplied => {}
            Fate::Late => self.late.push(commit.clone()),
        }
        doubt.0 = true;
        let why = "the outcome of a commit is not known".to_owned();
        Err(match told {
            Told::Away => CommitError::Away(why),
            Told::Contended => CommitError::Contended(why),
        })
    }

    /// Whether letters and ids are as a commit expects them.
    fn accepts(&self, commit: &Commit) -> Result<(), CommitError> {
        let stale = self.stale(commit);
        if !stale.is_empty() {
            return Err(CommitError::Lost(stale));
        }
        if commit.scope == Scope::Lane {
            return Ok(());
        }
        if UniqueIds::is_ambiguous(commit) {
            return Err(CommitError::Fatal("an id is counted twice in one commit".into()));
        }
        match self.unique.held(commit) {
            held if held.is_empty() => Ok(()),
            held => Err(CommitError::Held(held)),
        }
    }

    /// A lane that a commit would set back to an offset before the one that is stored.
    fn moved_back(&self, commit: &Commit) -> Option<LaneId> {
        let went_back = |lane: &&LaneCommit| {
            let stored = self
                .fences
                .get(&lane.fence.lane)
                .and_then(|fence| fence.position.as_ref());
            let Some((Position::Offset(before), Position::Offset(next))) = stored.zip(lane.position.as_ref())
            else {
                return false;
            };
            next < before
        };
        commit
            .lanes
            .iter()
            .find(went_back)
            .map(|lane| lane.fence.lane.clone())
    }

    fn expects(&self, commit: &Commit) -> bool {
        commit.moves().iter().all(|expected| {
            let stored = self.fences.get(&expected.lane);
            stored.is_some_and(|fence| (fence.epoch, fence.seq) == (expected.epoch, expected.seq))
        })
    }

    /// What a commit whose fences do not match comes back with.
    fn fenced(&self, commit: &Commit, was_in_doubt: bool) -> Result<(), CommitError> {
        let stored = |lane: &LaneId| self.fences.get(lane).map(|fence| (fence.epoch, fence.seq));
        match resolve(&commit.moves(), stored) {
            Resolution::Applied if was_in_doubt => Ok(()),
            // Our epoch, and a commit that is not ours: another hand has written here.
            Resolution::Applied => Err(CommitError::Lost(
                commit.lanes.iter().map(|lane| lane.fence.lane.clone()).collect(),
            )),
            Resolution::Lost(lanes) => Err(CommitError::Lost(lanes)),
            Resolution::NotApplied => Err(CommitError::Fatal("fences that match do not match".into())),
        }
    }

    /// The rows of a commit after it; or a counter that would not fit.
    fn sums(&self, delta: &Delta) -> Result<Delta, Overflow> {
        let mut sums = delta.clone();
        for (id, row) in &mut sums.ledger {
            add_stored(
                &mut row.booked,
                self.rows.ledger.get(id).map(|stored| &stored.booked),
            )?;
        }
        for (id, row) in &mut sums.rollups {
            add_stored(
                &mut row.booked,
                self.rows.rollups.get(id).map(|stored| &stored.booked),
            )?;
        }
        Ok(sums)
    }

    /// Applies a whole commit. Called where its fences match and its sums fit.
    fn apply(&mut self, commit: &Commit, now: DateTime<Utc>) {
        let Ok(sums) = self.sums(&commit.delta) else {
            return;
        };
        self.rows.ledger.extend(sums.ledger);
        self.rows.rollups.extend(sums.rollups);
        for lane in &commit.lanes {
            self.apply_lane(lane, commit.at, now);
        }
        for lane in &commit.lanes {
            self.close_letters(lane, commit.scope);
        }
        if commit.scope == Scope::Ledger {
            self.unique.apply(commit);
        }
    }

    fn apply_lane(&mut self, lane: &LaneCommit, at: DateTime<Utc>, now: DateTime<Utc>) {
        let id = &lane.fence.lane;
        let fence = self.fence(id);
        fence.seq += 1;
        if let Some(position) = &lane.position {
            fence.position = Some(position.clone());
        }
        fence.last = lane.last.or(fence.last);
        fence.watermark_ms = fence.watermark_ms.max(lane.watermark_ms);
        fence.updated_at = now;
        fence.stopped = None;
        add_tally(&mut fence.tally, lane.tally);
        let windows = self.windows.entry(id.clone()).or_default();
        remember(&mut windows.events, lane.fence.seq, &lane.events);
        remember(&mut windows.scanned, lane.fence.seq, &lane.scanned);
        for letter in &lane.letters {
            // A record that is read again at the same place stays the letter it is.
            self.letters
                .entry((id.clone(), letter.place.clone()))
                .or_insert_with(|| StoredLetter {
                    letter: letter.clone(),
                    rejected_at: at,
                    state: LetterState::Open,
                });
        }
    }
}

fn remember(window: &mut BTreeMap<i64, Generation>, seq: i64, remember: &Remember) {
    if !remember.ids.ids.is_empty() {
        window.insert(seq, remember.ids.clone());
    }
    if let Some(horizon) = remember.forget_before_ms {
        window.retain(|_, generation| generation.newest_ms >= horizon);
    }
}

fn add_tally(sum: &mut Tally, tally: Tally) {
    sum.counted += tally.counted;
    sum.duplicate += tally.duplicate;
    sum.skipped += tally.skipped;
    sum.dead_letter += tally.dead_letter;
}

fn add_stored(booked: &mut Booked, stored: Option<&Booked>) -> Result<(), Overflow> {
    if let Some(stored) = stored {
        booked.sums.merge(&stored.sums);
        booked.first_event_ms = booked.first_event_ms.min(stored.first_event_ms);
        booked.last_event_ms = booked.last_event_ms.max(stored.last_event_ms);
    }
    booked.sums.narrow().map(drop)
}
