//! Ids that are unique in the whole ledger ([`Scope::Ledger`](crate::dedupe::Scope::Ledger)).

use std::collections::{BTreeMap, HashSet};

use crate::dedupe::{EventHash, ExistingId};
use crate::lane::LaneId;
use crate::ledger::{Commit, LaneCommit};

/// What is stored under an id.
#[derive(Debug)]
struct Id {
    lane: LaneId,
    is_counted: bool,
    /// A letter is open under it: it is not forgotten.
    has_letter: bool,
}

/// The ids.
#[derive(Debug, Default)]
pub(super) struct UniqueIds(BTreeMap<EventHash, Id>);

impl UniqueIds {
    /// What is held under the ids that a commit counts; none where it can be applied.
    pub(super) fn held(&self, commit: &Commit) -> Vec<(EventHash, ExistingId)> {
        let mut held = Vec::new();
        for lane in &commit.lanes {
            let closes = closes(lane);
            for id in &lane.events.ids.ids {
                match self.0.get(id) {
                    Some(stored) if stored.is_counted => held.push((*id, ExistingId::Counted)),
                    Some(_) if !closes.contains(id) => held.push((*id, ExistingId::Rejected)),
                    _ => {}
                }
            }
        }
        held
    }

    /// Whether a commit counts the same id twice.
    pub(super) fn is_ambiguous(commit: &Commit) -> bool {
        let mut seen = HashSet::new();
        let mut ids = commit.lanes.iter().flat_map(|lane| &lane.events.ids.ids);
        ids.any(|id| !seen.insert(id))
    }

    /// Counts the ids of a commit, claims those of its letters, and forgets what left the windows.
    pub(super) fn apply(&mut self, commit: &Commit) {
        for lane in &commit.lanes {
            let of = &lane.fence.lane;
            let id = |is_counted, has_letter| Id {
                lane: of.clone(),
                is_counted,
                has_letter,
            };
            let closes = closes(lane);
            let letters = lane.letters.iter().filter_map(|letter| letter.event_id.as_ref());
            for letter in letters.map(|id| id.hash).filter(|id| !closes.contains(id)) {
                self.0.entry(letter).or_insert_with(|| id(false, true)).has_letter = true;
            }
            for counted in &lane.events.ids.ids {
                let has_letter =
                    !closes.contains(counted) && self.0.get(counted).is_some_and(|id| id.has_letter);
                self.0.insert(*counted, id(true, has_letter));
            }
            for dropped in &lane.dropped {
                let is_free = |id: &Id| id.lane == *of && !id.has_letter;
                if self.0.get(dropped).is_some_and(is_free) {
                    self.0.remove(dropped);
                }
            }
        }
    }
}

/// The ids under which a lane closes letters.
fn closes(lane: &LaneCommit) -> HashSet<EventHash> {
    lane.closes.iter().copied().collect()
}
