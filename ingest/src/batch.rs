//! The records of one lane between reading and committing.
//!
//! A batch keeps its records until they are committed, so that it can be cut anywhere: exactness never
//! depends on where a batch ends. Its rows are folded as records come in.

mod age;
mod summary;
mod verdict;

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::event::{Checked, Event, Reason, Reject, Rules};
use rollup::fold::{Delta, Fold, Grouping};
use rollup::journal::{self, Change, Packer, Place};

use crate::decide::{Decision, Time, decide, reused};
use crate::decode::{Payload, Source, check_document, document_identity};
use crate::dedupe::{ExistingId, RejectedIdState, Scope, Windows};
use crate::identity::{CountedId, IdentityHash, Quantities};
use crate::lane::{LastRecord, Position};
use crate::ledger::ReplayRequest;
use crate::source::Record;

pub use age::Age;
pub use verdict::Gaps;
use verdict::{Entry, Origin, Verdict, place_in_journal, place_of_letter, reject_as};

/// When a batch is committed, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records in it.
    pub max_events: usize,
    /// Age of its oldest record here.
    pub max_age: Duration,
    /// Bytes of its records.
    pub max_bytes: usize,
    /// Statements of its transaction: rows, rollups, ids, letters. Fewer where a server takes fewer.
    pub max_rows: usize,
    /// How long that part of a commit should take that grows with its statements.
    pub commit_target: Duration,
}

/// What records are judged by.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The rules that do not depend on the clock.
    pub rules: Rules,
    /// How long ago an event may have completed; `None`: any time since 2000.
    pub max_age: Option<TimeDelta>,
    /// The length of the window in which duplicates are recognised, in time of the source.
    pub window: Duration,
    /// How far a duplicate is looked for.
    pub scope: Scope,
}

impl Policy {
    /// The length of the window in milliseconds.
    #[must_use]
    pub fn window_ms(&self) -> i64 {
        i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The records of one lane that are folded and not yet committed.
#[derive(Debug)]
pub struct LaneBatch {
    entries: Vec<Entry>,
    /// By the rules that held when the lane was taken: who changes them takes it away.
    fold: Fold,
    /// What was counted, event by event.
    journal: Packer,
    bytes: usize,
    /// Statements beside those of the rows: letters that are kept and closed, ids that are unique in the ledger.
    others: usize,
    /// Where the lane goes on after this batch, beyond its last record.
    idle: Option<(Position, Option<i64>)>,
}

impl LaneBatch {
    /// A batch without records.
    #[must_use]
    pub fn new(grouping: &Grouping) -> Self {
        Self {
            entries: Vec::new(),
            fold: Fold::new(grouping.clone()),
            journal: Packer::default(),
            bytes: 0,
            others: 0,
            idle: None,
        }
    }

    /// Another one without records, of the same lane.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.fold.grouping())
    }

    /// Judges a record, and folds it if it counts.
    ///
    /// A document's insert that the stream brings after the scan has taken the document in is the same record
    /// again: only the position moves.
    pub fn push(&mut self, mut record: Record, policy: &Policy, windows: &mut Windows, now: DateTime<Utc>) {
        // Nothing was taken in later than now. A window is measured in this time, and one record from a clock
        // that is years ahead must not empty it.
        record.source_time_ms = record.source_time_ms.min(now.timestamp_millis());
        let scanned = match record.historical || !windows.scanned.is_empty() {
            true => record
                .payload
                .document_id()
                .map(|id| IdentityHash::of_document(&id)),
            false => None,
        };
        // One that was deleted since is not the one that the scan took in.
        let is_scanned = |id| windows.scanned.contains(id) && !windows.deleted.contains(id);
        if !record.historical && scanned.is_some_and(is_scanned) {
            self.idle(record.next, record.as_of_ms);
            return;
        }
        let scanned = scanned.filter(|_| record.historical);
        if let Some(id) = scanned {
            windows.scanned.insert(CountedId::of_document(id));
        }
        let time = Time::of_record(&record, policy.max_age, now);
        let taken_in_ms = record.source_time_ms;
        let at = place_in_journal(&record);
        let (source, verdict) = self.judge(&record.payload, at, taken_in_ms, policy, time, windows);
        let deleted = deleted(&record.payload, policy).filter(|id| windows.delete(*id));
        // What was known of the lane before this record is known with it.
        let known = self.idle.take().and_then(|(_, as_of_ms)| as_of_ms);
        record.as_of_ms = record.as_of_ms.max(known);
        self.enter(
            Entry {
                origin: Origin::Record(record),
                source,
                verdict,
                scanned,
                deleted,
            },
            policy,
        );
    }

    /// Judges a dead letter again, and folds it if it counts now.
    ///
    /// One that is no longer open, since an event with its id was counted after it was looked up, is left alone.
    pub fn replay(
        &mut self,
        letter: ReplayRequest,
        policy: &Policy,
        windows: &mut Windows,
        now: DateTime<Utc>,
    ) {
        if letter
            .identity
            .is_some_and(|id| windows.rejected.state(id).is_none())
        {
            return;
        }
        let time = Time::of_letter(&letter, policy.max_age, now);
        let taken_in_ms = letter.source_time_ms;
        let at = place_of_letter(&letter.place);
        let (source, verdict) = self.judge(&letter.payload, at, taken_in_ms, policy, time, windows);
        self.enter(
            Entry {
                origin: Origin::DeadLetter {
                    place: letter.place,
                    payload: letter.payload,
                    at_ms: now.timestamp_millis(),
                },
                source,
                verdict,
                scanned: None,
                deleted: None,
            },
            policy,
        );
    }

    /// Takes in what was judged, and folded where it counts.
    fn enter(&mut self, entry: Entry, policy: &Policy) {
        self.bytes += entry.origin.payload().size();
        self.others += entry.statements(policy.scope);
        self.entries.push(entry);
    }

    /// Judges a payload, and folds it if it counts.
    fn judge(
        &mut self,
        payload: &Payload,
        at: Place,
        taken_in_ms: i64,
        policy: &Policy,
        time: Time,
        windows: &mut Windows,
    ) -> (Source, Verdict) {
        let decided = decide(payload, &policy.rules, time, |identity| windows.counted(identity));
        let verdict = match decided.decision {
            Decision::Duplicate => Verdict::Duplicate,
            Decision::Skip(_) => Verdict::Skipped,
            Decision::Reject(reject) => reject_as(reject, payload, &decided.name, windows),
            Decision::Count {
                event,
                identity,
                quantities,
            } => {
                self.add(&event, at);
                Verdict::Counted {
                    identity,
                    quantities,
                    closes: windows.count(identity, quantities),
                    late: Age::of_late(
                        taken_in_ms.saturating_sub(event.completed_at_ms),
                        policy.window_ms(),
                    ),
                    gaps: Gaps::of(&event),
                }
            }
        };
        (decided.source, verdict)
    }

    fn add(&mut self, event: &Event<'_>, place: Place) {
        let folded = self.fold.add(event);
        let row = folded.expect("an event that counts completed between 2000 and now");
        self.journal.push(&journal::Entry {
            commit: 0,
            change: Change::Completed,
            place,
            completed_at_ms: event.completed_at_ms,
            row,
            counters: event.counters,
            id: event.identity.clone(),
        });
    }

    /// The lane is idle at this position.
    pub fn idle(&mut self, position: Position, as_of_ms: Option<i64>) {
        let known = self.idle.take().and_then(|(_, as_of_ms)| as_of_ms);
        self.idle = Some((position, as_of_ms.max(known)));
    }

    /// Records in the batch.
    #[must_use]
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    /// Whether it judged anything.
    #[must_use]
    pub fn has_verdicts(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether there is nothing to commit, not even a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.idle.is_none()
    }

    /// Bytes of the records.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Statements that a commit would have, at most.
    #[must_use]
    pub fn statements(&self) -> usize {
        self.fold.statements() + self.others
    }

    /// Where the lane goes on after this batch.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        let idle = self.idle.as_ref().map(|(position, _)| position);
        idle.or_else(|| self.last_record().map(|record| &record.next))
    }

    /// Every event that reached the source up to this instant (ms) is counted after this batch.
    #[must_use]
    pub fn watermark_ms(&self) -> Option<i64> {
        let mut records = self.entries.iter().rev();
        let records = records.find_map(|entry| entry.origin.record()?.as_of_ms);
        let idle = self.idle.as_ref().and_then(|(_, as_of)| *as_of);
        idle.max(records)
    }

    /// What recognises the last record later.
    #[must_use]
    pub fn last(&self) -> Option<LastRecord> {
        self.last_record().and_then(|record| record.last)
    }

    fn last_record(&self) -> Option<&Record> {
        self.entries.iter().rev().find_map(|entry| entry.origin.record())
    }

    /// The source time of the oldest record.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        let records = self.entries.iter().filter_map(|entry| entry.origin.record());
        records.map(|record| record.source_time_ms).min()
    }

    /// The source time of the oldest record, or of the moment in which the lane was idle.
    #[must_use]
    pub fn oldest_or_idle_ms(&self) -> Option<i64> {
        self.oldest_ms().or(self.watermark_ms())
    }

    /// Adds the rows of this batch to a commit.
    pub fn close_into(&self, delta: &mut Delta) {
        self.fold.close_into(delta);
    }

    /// Cuts the batch in two, each of which may be committed alone, in this order.
    ///
    /// # Errors
    /// Gives the batch back where it has a single record or none.
    pub fn split(mut self, policy: &Policy) -> Result<(Self, Self), Box<Self>> {
        if self.entries.len() < 2 {
            return Err(Box::new(self));
        }
        let tail = self.entries.split_off(self.entries.len() / 2);
        let first = self.anew().rebuilt(self.entries, None, policy);
        let second = first.anew().rebuilt(tail, self.idle, policy);
        Ok((first, second))
    }

    /// Rejects the records that were counted: they cannot be booked. Called when a batch has been cut down to one
    /// record.
    #[must_use]
    pub fn reject_counted(mut self, reason: Reason, policy: &Policy, windows: &mut Windows) -> Self {
        for entry in &mut self.entries {
            reject_counted(entry, reason, policy, windows);
        }
        self.anew().rebuilt(self.entries, self.idle, policy)
    }

    /// The server refuses what follows from these records: what was counted is rejected, and what was rejected is
    /// kept in a form that more servers take. Whether anything is left to be changed. Called when a batch has been cut
    /// down to one record.
    #[must_use]
    pub fn reject_unstorable(mut self, policy: &Policy, windows: &mut Windows) -> (Self, bool) {
        let mut is_changed = false;
        for entry in &mut self.entries {
            is_changed |= reject_counted(entry, Reason::Unstorable, policy, windows);
            let is_read = entry.origin.record().is_some();
            if let (false, true, Verdict::DeadLetter { keep, .. }) = (is_changed, is_read, &mut entry.verdict)
                && let Some(next) = keep.next()
            {
                *keep = next;
                is_changed = true;
            }
        }
        (self.anew().rebuilt(self.entries, self.idle, policy), is_changed)
    }

    /// Judges the events whose ids the ledger holds already by what it holds. The batch is not in any ledger yet.
    #[must_use]
    pub fn held(
        mut self,
        held: &HashMap<IdentityHash, ExistingId>,
        policy: &Policy,
        windows: &mut Windows,
    ) -> Self {
        for entry in &mut self.entries {
            let Verdict::Counted {
                identity,
                quantities,
                closes,
                ..
            } = &mut entry.verdict
            else {
                continue;
            };
            let (identity, quantities) = (*identity, *quantities);
            let Some(id) = identity.event() else { continue };
            match held.get(&id) {
                None => {}
                Some(ExistingId::Rejected) => *closes = true,
                Some(ExistingId::Counted(known)) => {
                    // It is not this lane's to remember.
                    windows.events.forget(id);
                    let is_duplicate = known.agree(quantities);
                    if *closes || !is_duplicate {
                        // Those that waited were told by another lane; and this one is told.
                        windows.rejected.open_id(id, RejectedIdState::Counted(*known));
                    }
                    entry.verdict = match is_duplicate {
                        true => Verdict::Duplicate,
                        false => reject_again(entry, reused(identity), policy, windows),
                    };
                }
            }
        }
        self.anew().rebuilt(self.entries, self.idle, policy)
    }

    /// Folds again what was counted before; the verdicts stand.
    fn rebuilt(
        mut self,
        entries: Vec<Entry>,
        idle: Option<(Position, Option<i64>)>,
        policy: &Policy,
    ) -> Self {
        self.idle = idle;
        for entry in entries {
            if let (Verdict::Counted { .. }, Ok(Checked::Event(event))) = (
                &entry.verdict,
                entry.origin.payload().check(&policy.rules).checked,
            ) {
                self.add(&event, entry.origin.place_in_journal());
            }
            self.enter(entry, policy);
        }
        self
    }
}

/// Rejects a record that was counted. Whether it was.
fn reject_counted(entry: &mut Entry, reason: Reason, policy: &Policy, windows: &mut Windows) -> bool {
    let Verdict::Counted { identity, .. } = entry.verdict else {
        return false;
    };
    windows.uncount(identity);
    entry.verdict = reject_again(entry, Reject::record(reason), policy, windows);
    true
}

/// The verdict on a record that was judged before, and is rejected after all.
fn reject_again(entry: &Entry, reject: Reject, policy: &Policy, windows: &mut Windows) -> Verdict {
    let payload = entry.origin.payload();
    let read = payload.check(&policy.rules);
    reject_as(reject, payload, &read.name, windows)
}

/// The document that this record deletes, if it was usage: where its content is known, only if that would count.
fn deleted(payload: &Payload, policy: &Policy) -> Option<CountedId> {
    let (key, before) = payload.deleted()?;
    let id = document_identity(key)?;
    let Some(before) = before else {
        return Some(CountedId::of_document(id));
    };
    match check_document(before, &policy.rules).checked {
        // It is asked for only where an `_id` is the identity.
        Ok(Checked::Event(event)) if matches!(event.identity, rollup::event::Identity::Document(_)) => {
            Some(CountedId {
                id,
                quantities: Quantities::of(event.dimensions.kind, &event.counters),
            })
        }
        Ok(_) | Err(_) => None,
    }
}
