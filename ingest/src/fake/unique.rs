//! Ids that are unique in the whole ledger ([`Scope::Ledger`](crate::dedupe::Scope::Ledger)).

use std::collections::{BTreeMap, HashSet};

use crate::dedupe::ExistingId;
use crate::identity::{IdentityHash, Quantities};
use crate::lane::LaneId;
use crate::ledger::Commit;

/// What is stored under an id.
#[derive(Debug)]
struct Id {
    lane: LaneId,
    /// The quantities of the event that is counted under it; `None`: none is.
    counted: Option<Quantities>,
    /// A letter is open under it: it is not forgotten.
    has_letter: bool,
}

/// The ids.
#[derive(Debug, Default)]
pub(super) struct UniqueIds(BTreeMap<IdentityHash, Id>);

impl UniqueIds {
    /// What is held under the ids that a commit counts; none where it can be applied.
    pub(super) fn held(&self, commit: &Commit) -> Vec<(IdentityHash, ExistingId)> {
        let mut held = Vec::new();
        for lane in &commit.lanes {
            let closes = lane.closed_event_ids();
            for id in &lane.unique {
                match self.0.get(&id.id).map(|stored| stored.counted) {
                    Some(Some(quantities)) => held.push((id.id, ExistingId::Counted(quantities))),
                    Some(None) if !closes.contains(&id.id) => held.push((id.id, ExistingId::Rejected)),
                    _ => {}
                }
            }
        }
        held
    }

    /// Whether a commit counts the same id twice.
    pub(super) fn is_ambiguous(commit: &Commit) -> bool {
        let mut seen = HashSet::new();
        let mut ids = commit.lanes.iter().flat_map(|lane| &lane.unique);
        ids.any(|id| !seen.insert(id.id))
    }

    /// Counts the ids of a commit, claims those of its letters, and forgets what left the windows.
    pub(super) fn apply(&mut self, commit: &Commit) {
        for lane in &commit.lanes {
            let of = &lane.fence.lane;
            let id = |counted, has_letter| Id {
                lane: of.clone(),
                counted,
                has_letter,
            };
            let closes = lane.closed_event_ids();
            let letters = lane.letters.iter().filter_map(|letter| letter.identity?.event());
            let kept: HashSet<IdentityHash> = letters.collect();
            for letter in kept.difference(&closes) {
                self.0.entry(*letter).or_insert_with(|| id(None, true)).has_letter = true;
            }
            for counted in &lane.unique {
                let had_letter = self.0.get(&counted.id).is_some_and(|id| id.has_letter);
                let has_letter = kept.contains(&counted.id) || (!closes.contains(&counted.id) && had_letter);
                self.0
                    .insert(counted.id, id(Some(counted.quantities), has_letter));
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
