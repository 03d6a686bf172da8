//! What a ledger in memory holds, and how a commit changes it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollup::counters::Overflow;
use rollup::fold::{Delta, Grouping, RowDelta};

use super::dead_letters::{self, LetterState, Letters, StoredLetter};
use super::leases::{InTheWay, Leases, StoredLease};
use super::plan::{Fate, Fault, Told, Turn};
use super::unique::UniqueIds;
use crate::dedupe::{Generation, Scope, Windows};
use crate::journal::{Document, Merge, merge};
use crate::lane::{
    ContentId, Fence, JournalHead, JournalId, LaneId, LastRecord, Position, Resolution, Standing, resolve,
};
use crate::ledger::{Acquired, Attempt, Commit, CommitError, Granted, LaneCommit, Refusal, Tally};
use crate::source::Stop;

/// The fence of a lane, and what was stored with it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFence {
    /// Counts owners.
    pub epoch: i64,
    /// Counts commits.
    pub seq: i64,
    /// The content that was committed last.
    pub content: Option<ContentId>,
    /// Where reading goes on.
    pub position: Option<Position>,
    /// The last record that was done.
    pub last: Option<LastRecord>,
    /// Whose lane it is.
    pub owner: Option<String>,
    /// Every event that reached the source up to this instant (ms) is counted.
    pub watermark_ms: Option<i64>,
    /// What became of all records so far.
    pub tally: Tally,
    /// The newest document of its journal.
    pub journal: Option<JournalHead>,
    /// Up to where its documents are merged.
    pub merged_up_to: JournalId,
    /// The first that is needed to know what its windows know.
    pub window_from: Option<JournalId>,
    /// Ids that are older (ms) are forgotten: of events, of scanned and of deleted documents.
    pub forgotten_before_ms: [Option<i64>; 3],
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
    pub letters: Letters,
    /// The lanes that the source has.
    pub topology: Vec<LaneId>,
    /// Attempts to commit, of all processes.
    pub attempts: u64,
    /// How often it was asked for letters that are to be judged again, by all processes.
    pub looked_for_letters: u64,
    pub(super) is_away: bool,
    unique: UniqueIds,
    pub(super) leases: Leases,
    /// The journal.
    pub journal: BTreeMap<(LaneId, JournalId), Document>,
    /// Which rows events are booked to.
    grouping: Grouping,
    /// Commits on their way.
    late: Vec<Commit>,
}

impl Stored {
    /// The ids that are stored of a lane, oldest commit first.
    #[must_use]
    pub fn windows(&self, lane: &LaneId) -> Windows<Vec<Generation>> {
        let Some(fence) = self.fences.get(lane) else {
            return Windows::default();
        };
        let from = fence.window_from.unwrap_or(JournalId {
            generation: 0,
            seq: 0,
        });
        let documents = || {
            let all = self.journal.range((lane.clone(), from)..);
            all.take_while(|((of, _), _)| of == lane)
                .map(|(_, stored)| stored)
        };
        let ids = |window: usize| {
            let before_ms = fence.forgotten_before_ms[window];
            let is_known =
                |generation: &Generation| before_ms.is_none_or(|before| generation.newest_ms >= before);
            documents()
                .flat_map(|stored| stored.generations(window).expect("whole"))
                .filter(is_known)
                .collect()
        };
        Windows {
            events: ids(0),
            scanned: ids(1),
            deleted: ids(2),
            rejected: dead_letters::rejected_ids_of(&self.letters, lane),
        }
    }

    /// Documents of a lane's journal that become one, as soon as there are three.
    pub(super) fn mergeable(&self, lane: &LaneId, from: JournalId, newest: JournalId) -> Option<Merge> {
        let between = (
            Bound::Excluded((lane.clone(), from)),
            Bound::Excluded((lane.clone(), newest)),
        );
        let documents: Vec<Document> = self
            .journal
            .range(between)
            .map(|(_, stored)| stored.clone())
            .collect();
        let (some, last) = (documents.get(..3)?, documents.get(2)?);
        Some(match merge(some).expect("whole") {
            Some(merged) => Merge::of(some, merged),
            None => Merge::past(last),
        })
    }

    /// Deletes documents that are older than this and that no window needs.
    pub(super) fn forget_journal(&mut self, lanes: &[LaneId], before: DateTime<Utc>) -> u64 {
        let fences = &self.fences;
        let is_old = |lane: &LaneId, id: &JournalId, stored: &Document| {
            let from = fences.get(lane).and_then(|fence| fence.window_from);
            let is_needed = from.is_none_or(|from| *id >= from);
            lanes.contains(lane) && !is_needed && stored.kept_from() < before
        };
        let held = self.journal.len();
        self.journal
            .retain(|(lane, id), stored| !is_old(lane, id, stored));
        (held - self.journal.len()) as u64
    }

    /// What became of the records of all lanes.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for fence in self.fences.values() {
            sum = sum + fence.tally;
        }
        sum
    }

    fn fence(&mut self, lane: &LaneId) -> &mut StoredFence {
        self.fences.entry(lane.clone()).or_insert_with(|| StoredFence {
            epoch: 0,
            seq: 0,
            content: None,
            position: None,
            last: None,
            owner: None,
            watermark_ms: None,
            tally: Tally::default(),
            journal: None,
            merged_up_to: JournalId::default(),
            window_from: None,
            forgotten_before_ms: [None; 3],
            stopped: None,
        })
    }

    /// The lease under which a lane is led.
    #[must_use]
    pub fn leader(&self, lane: &LaneId) -> Option<&StoredLease> {
        self.leases.leader(lane)
    }

    /// The owners of transactions that were ended by force, in that order.
    #[must_use]
    pub fn ended(&self) -> &[String] {
        self.leases.ended()
    }

    /// Takes a lane: its lease first, where lanes have leases, then its fence.
    pub(super) fn acquire(
        &mut self,
        lane: &LaneId,
        lease: Option<Duration>,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Acquired {
        let led = lease.map_or(Ok(()), |length| self.leases.lead(lane, owner, length, now));
        match led.and_then(|()| self.leases.clear(lane, now)) {
            Ok(()) => self.take(lane, owner),
            Err(InTheWay { owner, ask_in }) => Acquired::LeasedTo { owner, ask_in },
        }
    }

    fn take(&mut self, lane: &LaneId, owner: &str) -> Acquired {
        let fence = self.fence(lane);
        fence.epoch += 1;
        fence.owner = Some(owner.to_owned());
        let granted = Fence {
            epoch: fence.epoch,
            seq: fence.seq,
            position: fence.position.clone(),
            last: fence.last,
            generation: 0,
            journal: fence.journal,
            merged_up_to: fence.merged_up_to,
            tally: fence.tally,
            ends_accepted_until: None,
        };
        Acquired::Granted(Granted {
            fence: granted,
            windows: self.windows(lane),
            grouping: self.grouping.clone(),
            damage: None,
        })
    }

    pub(super) fn steal(&mut self, lane: &LaneId) {
        // Only the epoch counts; the thief's own reading is not of interest.
        let _: Acquired = self.take(lane, "a thief");
    }

    /// From now on events are booked by these: nobody goes on by those of before.
    pub(super) fn book_to(&mut self, grouping: Grouping) {
        self.grouping = grouping;
        for fence in self.fences.values_mut() {
            fence.epoch += 1;
        }
    }

    pub(super) fn resume(&mut self, lane: &LaneId, position: Option<Position>) {
        self.steal(lane);
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
        attempt: &mut Attempt,
        turn: &Turn,
    ) -> Result<(), CommitError> {
        self.attempts += 1;
        for late in std::mem::take(&mut self.late) {
            if self.expects(&late) && self.accepts(&late).is_ok() {
                self.apply(&late);
            }
        }
        for lane in &turn.steal_before {
            self.steal(lane);
        }
        let outcome = if self.is_away || turn.fault == Some(Fault::Away) {
            Err(CommitError::Away("nobody answers".into()))
        } else {
            self.reach(commit, attempt, turn.fault)
        };
        for lane in &turn.steal_after {
            self.steal(lane);
        }
        outcome
    }

    /// The commit has reached the database.
    fn reach(
        &mut self,
        commit: &Commit,
        attempt: &mut Attempt,
        fault: Option<Fault>,
    ) -> Result<(), CommitError> {
        // Either the fences match, and then no earlier attempt was applied, nor ever will be. Or they say
        // what became of it.
        *attempt = Attempt::Fresh;
        if !self.expects(commit) {
            return self.fenced(commit);
        }
        match fault {
            Some(Fault::Conflict) => return Err(CommitError::Conflict("another transaction".into())),
            Some(Fault::TooMuch) => return Err(CommitError::TooMuch("it took too long".into())),
            Some(Fault::BadRecord) => return Err(CommitError::BadRecord("it nests too deep".into())),
            Some(Fault::Refused(reason)) => return Err(refused(reason)),
            Some(Fault::Unknown(..) | Fault::Away | Fault::Hang) | None => {}
        }
        if commit.delta.check().is_err() || self.sums(&commit.delta).is_err() {
            return Err(CommitError::Overflow);
        }
        if let Some(lane) = self.moved_back(commit) {
            return Err(CommitError::Refused {
                reason: Refusal::WriteRefused,
                why: format!("the position of `{lane}` went back"),
            });
        }
        self.accepts(commit)?;
        let Some(Fault::Unknown(fate, told)) = fault else {
            self.apply(commit);
            return Ok(());
        };
        match fate {
            Fate::Applied => self.apply(commit),
            Fate::NotApplied => {}
            Fate::Late => self.late.push(commit.clone()),
        }
        *attempt = Attempt::InDoubt;
        let why = "the outcome of a commit is not known".to_owned();
        Err(match told {
            Told::Away => CommitError::Away(why),
            Told::Conflict => CommitError::Conflict(why),
            Told::Refused => refused(Refusal::NotAuthorized),
        })
    }

    /// Whether letters and ids are as a commit expects them.
    fn accepts(&self, commit: &Commit) -> Result<(), CommitError> {
        let stale = dead_letters::stale(&self.letters, commit);
        if !stale.is_empty() {
            return Err(CommitError::Lost(stale));
        }
        if commit.scope == Scope::Lane {
            return Ok(());
        }
        assert!(
            !UniqueIds::is_ambiguous(commit),
            "an id is counted twice in one commit"
        );
        match self.unique.held(commit) {
            held if held.is_empty() => Ok(()),
            held => Err(CommitError::DuplicateIds(held)),
        }
    }

    /// A lane that a commit would set back to an offset before the one that is stored.
    fn moved_back(&self, commit: &Commit) -> Option<LaneId> {
        let went_back = |lane: &&LaneCommit| {
            let stored = self
                .fences
                .get(&lane.fence.lane)
                .and_then(|fence| fence.position.as_ref());
            let place = |position: &Position| match position {
                Position::Offset { next, index } => Some((*next, *index)),
                Position::Stream { .. } => None,
            };
            let (before, after) = (stored.and_then(place), lane.position.as_ref().and_then(place));
            before.zip(after).is_some_and(|(before, after)| after < before)
        };
        commit
            .lanes
            .iter()
            .find(went_back)
            .map(|lane| lane.fence.lane.clone())
    }

    pub(super) fn expects(&self, commit: &Commit) -> bool {
        commit.moves().iter().all(|expected| {
            let stored = self.fences.get(&expected.lane);
            stored.is_some_and(|fence| (fence.epoch, fence.seq) == (expected.epoch, expected.seq))
        })
    }

    /// What a commit whose fences do not match comes back with.
    fn fenced(&self, commit: &Commit) -> Result<(), CommitError> {
        let stored = |lane: &LaneId| {
            let fence = self.fences.get(lane)?;
            Some(Standing {
                epoch: fence.epoch,
                seq: fence.seq,
                content: fence.content,
            })
        };
        match resolve(&commit.moves(), commit.content, stored) {
            Resolution::Applied => Ok(()),
            Resolution::Lost(lanes) => Err(CommitError::Lost(lanes)),
            Resolution::NotApplied => unreachable!("fences that match do not match"),
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
    fn apply(&mut self, commit: &Commit) {
        let Ok(sums) = self.sums(&commit.delta) else {
            return;
        };
        self.rows.ledger.extend(sums.ledger);
        self.rows.rollups.extend(sums.rollups);
        for lane in &commit.lanes {
            self.apply_lane(lane, commit);
        }
        for lane in &commit.lanes {
            dead_letters::close(&mut self.letters, lane, commit.scope);
        }
        if commit.scope == Scope::Ledger {
            self.unique.apply(commit);
        }
    }

    fn apply_lane(&mut self, lane: &LaneCommit, commit: &Commit) {
        let id = &lane.fence.lane;
        let fence = self.fence(id);
        fence.seq += 1;
        fence.content = Some(commit.content);
        if let Some(position) = &lane.position {
            fence.position = Some(position.clone());
        }
        fence.last = lane.last.or(fence.last);
        fence.watermark_ms = fence.watermark_ms.max(lane.watermark_ms);
        fence.stopped = None;
        fence.tally = fence.tally + lane.tally;
        let windows = [&lane.events, &lane.scanned, &lane.deleted];
        for (before, remember) in fence.forgotten_before_ms.iter_mut().zip(windows) {
            *before = (*before).max(remember.forget_before_ms);
        }
        if let Some(journal) = &lane.journal {
            assert_eq!(journal.previous, fence.journal, "the chain is broken");
            assert_eq!(journal.tally, fence.tally);
            fence.window_from = Some(journal.window_from);
            fence.journal = Some(JournalHead {
                id: journal.id,
                content: commit.content,
            });
        }
        if let Some(merge) = &lane.merge {
            fence.merged_up_to = merge.up_to;
            for (document, edit) in &merge.replaced {
                let before = self.journal.remove(&(id.clone(), *document));
                assert_eq!(
                    before.map(|before| before.edit),
                    Some(*edit),
                    "it was there as it was read"
                );
            }
        }
        let merged = lane.merge.as_ref().and_then(|merge| merge.merged.clone());
        for document in merged
            .into_iter()
            .chain(Document::of(lane, commit.content, commit.at))
        {
            let before = self.journal.insert((id.clone(), document.id), document);
            assert!(before.is_none(), "a document of the journal was there already");
        }
        for letter in &lane.letters {
            // A record that is read again at the same place stays the letter it is.
            self.letters
                .entry((id.clone(), letter.place.clone()))
                .or_insert_with(|| StoredLetter {
                    letter: letter.clone(),
                    rejected_at: commit.at,
                    state: LetterState::Open,
                });
        }
    }
}

fn add_stored(booked: &mut RowDelta, stored: Option<&RowDelta>) -> Result<(), Overflow> {
    if let Some(stored) = stored {
        booked.sums.merge(&stored.sums);
        booked.first_event_ms = booked.first_event_ms.min(stored.first_event_ms);
        booked.last_event_ms = booked.last_event_ms.max(stored.last_event_ms);
    }
    booked.sums.narrow().map(drop)
}

fn refused(reason: Refusal) -> CommitError {
    CommitError::Refused {
        reason,
        why: "somebody has to act".into(),
    }
}
