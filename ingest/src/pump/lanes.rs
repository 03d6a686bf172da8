//! The lanes of this process: those that are ours, those that the ledger is asked for, and those that stopped here.
//! Pure: nothing here asks the ledger or the source.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{LaneBatch, Limits};
use crate::dedupe::{Window, Windows};
use crate::journal::Merge;
use crate::lane::{JournalHead, JournalId, LaneId, Position};
use crate::ledger::{Commit, Granted, JournalCommit};
use crate::outcome::Tally;
use crate::source::{Grant, GrantId, Stop};

/// Where the merging of a lane's journal stands. What is looked for while a merge is on its way would be gone with it.
#[derive(Debug, Default)]
enum MergeState {
    #[default]
    Rest,
    /// The ledger is asked for documents.
    Asked,
    /// The next commit makes one of these.
    Ready(Merge),
    /// A commit that does is on its way.
    OnItsWay,
}

/// A lane that is ours.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) generation: i64,
    /// The newest document of its journal.
    head: Option<JournalHead>,
    /// Up to where its documents are merged.
    merged_up_to: JournalId,
    merge: MergeState,
    /// What became of all its records.
    tally: Tally,
    pub(super) windows: Windows,
    /// What is being folded, and not yet on its way.
    pub(super) current: LaneBatch,
    lost: CancellationToken,
    committed: watch::Sender<Option<Position>>,
    /// The lane cannot go on; it is let go of when all it read is committed.
    pub(super) stop: Option<Stop>,
}

impl Lane {
    /// A lane as the ledger granted it, and the grant for the source.
    pub(super) fn new(id: LaneId, key: GrantId, granted: Granted) -> (Self, Grant) {
        let Granted {
            fence,
            windows: stored,
            grouping,
            damage: stop,
        } = granted;
        let lost = CancellationToken::new();
        let (committed, follow) = watch::channel(fence.position.clone());
        let lane = Self {
            id,
            epoch: fence.epoch,
            seq: fence.seq,
            generation: fence.generation,
            head: fence.journal,
            merged_up_to: fence.merged_up_to,
            merge: MergeState::Rest,
            tally: fence.tally,
            windows: Windows {
                events: Window::load(stored.events),
                scanned: Window::load(stored.scanned),
                deleted: Window::load(stored.deleted),
                rejected: stored.rejected,
            },
            current: LaneBatch::new(&grouping),
            lost: lost.clone(),
            committed,
            stop,
        };
        let grant = Grant {
            key,
            fence,
            lost,
            committed: follow,
        };
        (lane, grant)
    }

    /// What the journal has of a batch, as its next document.
    pub(super) fn journal(&self, id: JournalId, batch: &LaneBatch) -> Option<JournalCommit> {
        batch.has_verdicts().then(|| JournalCommit {
            id,
            previous: self.head,
            entries: batch.journal(),
            tally: self.tally + batch.tally(),
            window_from: self.windows.first().unwrap_or(id),
        })
    }

    /// Between which documents some are to be looked for that can be merged; they count as looked for then.
    fn look_for_merge(&mut self) -> Option<(JournalId, JournalId)> {
        let may = matches!(self.merge, MergeState::Rest) && self.stop.is_none();
        let newest = self.head.filter(|_| may)?;
        self.merge = MergeState::Asked;
        Some((self.merged_up_to, newest.id))
    }

    /// The next commit makes one of these; of none, where there are not enough.
    pub(super) fn merge_next(&mut self, merge: Option<Merge>) {
        self.merge = merge.map_or(MergeState::Rest, MergeState::Ready);
    }

    /// What the next commit makes one of. Of a commit that is cut it is not tried again: it is looked for anew.
    pub(super) fn take_merge(&mut self) -> Option<Merge> {
        match std::mem::take(&mut self.merge) {
            MergeState::Ready(merge) => {
                self.merge = MergeState::OnItsWay;
                Some(merge)
            }
            MergeState::Asked => {
                self.merge = MergeState::Asked;
                None
            }
            MergeState::OnItsWay | MergeState::Rest => None,
        }
    }
}

/// What is being folded, over all lanes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenBatch {
    pub(super) events: usize,
    bytes: usize,
    statements: usize,
    /// Since when there is an event in it.
    pub(super) since: Option<Instant>,
}

impl OpenBatch {
    /// Whether no more is to be folded, where a transaction may have so many statements.
    pub(super) const fn is_full(&self, limits: &Limits, statements: usize) -> bool {
        self.events >= limits.max_events || self.bytes >= limits.max_bytes || self.statements >= statements
    }

    fn add(&mut self, batch: &LaneBatch) {
        self.events += batch.records();
        self.bytes += batch.bytes();
        self.statements += batch.statements();
    }

    fn subtract(&mut self, batch: &LaneBatch) {
        self.events -= batch.records();
        self.bytes -= batch.bytes();
        self.statements -= batch.statements();
    }
}

/// What there is to know before the ledger is asked for a lane.
#[derive(Debug)]
pub(super) struct Asking {
    /// Cancelled when the source has the lane no longer, or asks anew.
    pub(super) unwanted: CancellationToken,
    /// The lane stopped here; cancelled once that is stored.
    pub(super) noted: Option<CancellationToken>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    ours: BTreeMap<GrantId, Lane>,
    /// Lanes that the ledger is asked for; cancelled where the source has them no longer.
    asking: BTreeMap<LaneId, CancellationToken>,
    /// Lanes that stopped here; cancelled once that is stored.
    halted: BTreeMap<LaneId, CancellationToken>,
    grants: u64,
    open: OpenBatch,
    /// The lane whose journal was looked at last.
    looked_at: Option<GrantId>,
}

impl Lanes {
    /// The ledger is to be asked for a lane: whoever was before is no longer waited for.
    pub(super) fn ask(&mut self, lane: &LaneId) -> Asking {
        let unwanted = CancellationToken::new();
        if let Some(older) = self.asking.insert(lane.clone(), unwanted.clone()) {
            older.cancel();
        }
        let noted = self.halted.get(lane).cloned();
        Asking { unwanted, noted }
    }

    /// The ledger was asked for a lane, and is no longer. Whether the lane is still wanted.
    pub(super) fn asked(&mut self, lane: &LaneId, unwanted: &CancellationToken) -> bool {
        let is_wanted = !unwanted.is_cancelled();
        if is_wanted {
            self.asking.remove(lane);
        }
        is_wanted
    }

    /// The source has this lane no longer: what was asked of the ledger for it is not wanted any more.
    pub(super) fn ask_no_more(&mut self, lane: &LaneId) {
        if let Some(unwanted) = self.asking.remove(lane) {
            unwanted.cancel();
        }
        // Whoever is given it next looks for himself.
        self.halted.remove(lane);
    }

    /// A name for the next grant.
    pub(super) const fn next_grant(&mut self) -> GrantId {
        self.grants += 1;
        GrantId(self.grants)
    }

    /// The lane is ours.
    pub(super) fn insert(&mut self, key: GrantId, lane: Lane) {
        self.halted.remove(&lane.id);
        self.ours.insert(key, lane);
    }

    /// Takes a lane out, with what is folded of it; its grant is over.
    pub(super) fn remove(&mut self, key: GrantId) -> Option<Lane> {
        let lane = self.ours.remove(&key)?;
        lane.lost.cancel();
        self.open.subtract(&lane.current);
        if self.open.events == 0 {
            self.open.since = None;
        }
        Some(lane)
    }

    /// The lane cannot go on.
    pub(super) fn stop(&mut self, lane: &LaneId, stop: Stop) {
        let key = self.key_of(lane);
        if let Some(lane) = key.and_then(|key| self.ours.get_mut(&key)) {
            lane.stop = Some(stop);
        }
    }

    /// The lanes that stopped, and of which nothing is left to be committed.
    pub(super) fn stopped(&self, is_on_its_way: impl Fn(GrantId) -> bool) -> Vec<GrantId> {
        self.ours
            .iter()
            .filter(|(key, lane)| lane.stop.is_some() && lane.current.is_empty() && !is_on_its_way(**key))
            .map(|(key, _)| *key)
            .collect()
    }

    /// A lane that stopped was let go of. To be cancelled once that is stored.
    pub(super) fn halt(&mut self, lane: &LaneId) -> CancellationToken {
        let noted = CancellationToken::new();
        self.halted.insert(lane.clone(), noted.clone());
        noted
    }

    /// The grant under which a lane is ours.
    pub(super) fn key_of(&self, lane: &LaneId) -> Option<GrantId> {
        let found = self.ours.iter().find(|(_, ours)| ours.id == *lane);
        found.map(|(key, _)| *key)
    }

    /// The grant under which a lane is ours in this epoch. It may be ours in a newer one by now.
    pub(super) fn key_in_epoch(&self, lane: &LaneId, epoch: i64) -> Option<GrantId> {
        self.key_of(lane).filter(|key| self.ours[key].epoch == epoch)
    }

    pub(super) fn get_mut(&mut self, key: GrantId) -> Option<&mut Lane> {
        self.ours.get_mut(&key)
    }

    pub(super) fn has(&self, key: GrantId) -> bool {
        self.ours.contains_key(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.ours.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> + Clone {
        self.ours.values()
    }

    pub(super) fn into_ours(self) -> impl Iterator<Item = Lane> {
        self.ours.into_values()
    }

    /// Their names.
    pub(super) fn ids(&self) -> Vec<LaneId> {
        self.iter().map(|lane| lane.id.clone()).collect()
    }

    /// What is being folded.
    pub(super) const fn open(&self) -> &OpenBatch {
        &self.open
    }

    /// Folds something into a lane. Whether it is ours under this grant; nothing is folded where it is not.
    pub(super) fn fold(&mut self, key: GrantId, fold: impl FnOnce(&mut Lane)) -> bool {
        let Some(lane) = self.ours.get_mut(&key) else {
            return false;
        };
        self.open.subtract(&lane.current);
        fold(lane);
        self.open.add(&lane.current);
        true
    }

    /// Something was folded, or nothing. Whether that began a batch.
    pub(super) fn begin_batch(&mut self) -> bool {
        let begins = self.open.events > 0 && self.open.since.is_none();
        if begins {
            self.open.since = Some(Instant::now());
        }
        begins
    }

    /// The lane whose journal is to be looked at: one after the other.
    pub(super) fn next_to_merge(&mut self) -> Option<(GrantId, LaneId, (JournalId, JournalId))> {
        let last = self.looked_at;
        let (behind, others): (Vec<_>, Vec<_>) =
            self.ours.iter_mut().partition(|(key, _)| Some(**key) > last);
        let mut all = behind.into_iter().chain(others);
        let next = all.find_map(|(key, lane)| Some((*key, lane.id.clone(), lane.look_for_merge()?)))?;
        self.looked_at = Some(next.0);
        Some(next)
    }

    /// Whether a lane has anything to commit, if only its position.
    pub(super) fn have_any(&self) -> bool {
        self.iter().any(|lane| !lane.current.is_empty())
    }

    /// Whether dead letters that were judged again are folded.
    pub(super) fn have_replays(&self) -> bool {
        self.iter().any(|lane| lane.current.has_replays())
    }

    /// Takes what the lanes have folded.
    pub(super) fn close(&mut self) -> Vec<(GrantId, LaneBatch)> {
        self.open = OpenBatch::default();
        let ready = self.ours.iter_mut().filter(|(_, lane)| !lane.current.is_empty());
        let take = |(key, lane): (&GrantId, &mut Lane)| {
            let empty = lane.current.anew();
            (*key, std::mem::replace(&mut lane.current, empty))
        };
        ready.map(take).collect()
    }

    /// A batch that holds nothing, of a lane whose documents are to be merged: they are in a commit of their own.
    pub(super) fn close_for_merge(&self) -> Option<(GrantId, LaneBatch)> {
        let ready = |lane: &Lane| matches!(lane.merge, MergeState::Ready(_)) && lane.stop.is_none();
        let (key, lane) = self.ours.iter().find(|(_, lane)| ready(lane))?;
        Some((*key, lane.current.anew()))
    }

    /// Batches are permanent: fences, windows and positions move. The watermarks that are known of their lanes now.
    pub(super) fn committed(
        &mut self,
        batches: &[(GrantId, LaneBatch)],
        commit: &Commit,
    ) -> Vec<(LaneId, i64)> {
        let mut watermarks = Vec::new();
        for (key, batch) in batches {
            let Some(lane) = self.ours.get_mut(key) else {
                continue;
            };
            let Some(done) = commit.lanes.iter().find(|done| done.fence.lane == lane.id) else {
                continue;
            };
            lane.seq += 1;
            lane.tally = lane.tally + done.tally;
            if let Some(merge) = &done.merge {
                lane.merged_up_to = merge.up_to;
                lane.merge = MergeState::Rest;
            }
            if let Some(journal) = &done.journal {
                lane.head = Some(JournalHead {
                    id: journal.id,
                    content: commit.content,
                });
            }
            lane.windows.events.committed(&done.events);
            lane.windows.scanned.committed(&done.scanned);
            lane.windows.deleted.committed(&done.deleted);
            if let Some(position) = batch.position() {
                lane.committed.send_replace(Some(position.clone()));
            }
            watermarks.extend(
                done.watermark_ms
                    .map(|watermark_ms| (lane.id.clone(), watermark_ms)),
            );
        }
        watermarks
    }
}

#[cfg(test)]
mod tests;
