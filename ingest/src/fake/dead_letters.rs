//! Stored dead letters: how long they stay open, and what closes them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::decode::Keep;
use crate::dedupe::{RejectedIdState, RejectedIds, Scope};
use crate::identity::Identity;
use crate::lane::LaneId;
use crate::ledger::{Commit, DeadLetter, LaneCommit, Outcome, ReplayRequest};

/// Dead letters, by lane and place.
pub type Letters = BTreeMap<(LaneId, String), StoredLetter>;

/// A stored dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLetter {
    /// The letter.
    pub letter: DeadLetter,
    /// The commit that brought it.
    pub rejected_at: DateTime<Utc>,
    /// What is to become of it, or became of it.
    pub state: LetterState,
}

/// The life of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// It waits.
    Open,
    /// It is to be judged again.
    ReplayRequest,
    /// Judged again, it ended as this.
    Closed(Outcome),
    /// An event with its id was counted.
    Superseded,
}

impl LetterState {
    /// Whether the letter is open.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, LetterState::Open | LetterState::ReplayRequest)
    }
}

/// The ids of the letters of a lane that are open.
pub(super) fn rejected_ids_of(letters: &Letters, lane: &LaneId) -> RejectedIds {
    let open = letters
        .iter()
        .filter(|((of, _), stored)| of == lane && stored.state.is_open());
    let mut ids = RejectedIds::default();
    for (_, StoredLetter { letter, .. }) in open {
        ids.open(letter.identity.map(Identity::hash), letter.document, letter.known);
    }
    ids
}

/// Says that every letter that waits is to be judged again.
pub(super) fn mark(letters: &mut Letters) {
    for stored in letters.values_mut() {
        if stored.state == LetterState::Open {
            stored.state = LetterState::ReplayRequest;
        }
    }
}

pub(super) fn replay_requests(letters: &Letters, lanes: &[LaneId], max_letters: usize) -> Vec<ReplayRequest> {
    let marked = letters
        .iter()
        .filter(|((lane, _), stored)| lanes.contains(lane) && stored.state == LetterState::ReplayRequest);
    let marked = marked.map(|((lane, place), StoredLetter { letter, .. })| ReplayRequest {
        lane: lane.clone(),
        place: place.clone(),
        payload: letter.payload.clone(),
        identity: letter.identity.map(Identity::hash),
        source_time_ms: letter.source_time_ms,
    });
    marked.take(max_letters).collect()
}

/// Drops the payloads of open letters that were rejected before this. How many.
pub(super) fn drop_payloads(letters: &mut Letters, lanes: &[LaneId], before: DateTime<Utc>) -> u64 {
    let is_old = |lane: &LaneId, stored: &StoredLetter| {
        lanes.contains(lane)
            && stored.state == LetterState::Open
            && stored.rejected_at < before
            && stored.letter.keep != Keep::Nothing
    };
    let old = letters
        .iter_mut()
        .filter(|((lane, _), stored)| is_old(lane, stored));
    old.map(|(_, stored)| stored.letter.keep = Keep::Nothing).count() as u64
}

/// Lanes of a commit in which a letter is not marked any more: it was looked up too early.
pub(super) fn stale(letters: &Letters, commit: &Commit) -> Vec<LaneId> {
    let is_marked = |lane: &LaneId, place: &str| {
        let stored = letters.get(&(lane.clone(), place.to_owned()));
        stored.is_some_and(|stored| stored.state == LetterState::ReplayRequest)
    };
    let lanes = commit.lanes.iter().map(|lane| (&lane.fence.lane, &lane.replayed));
    let stale = lanes.filter(|(lane, letters)| letters.iter().any(|letter| !is_marked(lane, &letter.place)));
    stale.map(|(lane, _)| lane.clone()).collect()
}

/// Closes what a commit closes.
pub(super) fn close(letters: &mut Letters, lane: &LaneCommit, scope: Scope) {
    let id = &lane.fence.lane;
    for replayed in &lane.replayed {
        if let Some(stored) = letters.get_mut(&(id.clone(), replayed.place.clone())) {
            let closed = replayed.result.as_ref().ok().copied();
            stored.state = closed.map_or(LetterState::Open, LetterState::Closed);
        }
    }
    for ((of, _), stored) in letters.iter_mut() {
        let closes = |identity: &Identity| {
            // A document is known within its lane only.
            let is_in_reach = of == id || (scope == Scope::Ledger && identity.event().is_some());
            is_in_reach && lane.closes.contains(identity)
        };
        // One that came after an event with its identity is not closed by that event.
        let waits = stored.state.is_open() && stored.letter.known == RejectedIdState::Uncounted;
        if waits && stored.letter.identity.as_ref().is_some_and(closes) {
            stored.state = LetterState::Superseded;
        }
    }
}
