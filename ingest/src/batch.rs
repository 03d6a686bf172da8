//! The records of one lane between reading and committing.
//!
//! A batch keeps its records until they are committed, so that it can be cut anywhere: exactness never
//! depends on where a batch ends. Its rows are folded as records come in.

mod verdict;

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::event::{Checked, Event, Reason, Reject, Rules};
use rollup::fold::{Delta, Fold, Grouping};

use crate::decide::{Decision, Time, decide};
use crate::decode::{Payload, Source};
use crate::dedupe::{EventHash, ExistingId, Generation, RejectedIdState, Scope, Windows};
use crate::lane::{LastRecord, Position};
use crate::ledger::{DeadLetter, ReplayRequest, ReplayResult};
use crate::outcome::{Outcome, Tally};
use crate::source::Record;

pub use verdict::Gaps;
use verdict::{Entry, Origin, Verdict, place, reject_as};

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
    /// Which rows an event is booked to.
    pub grouping: Grouping,
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
    fold: Fold,
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
            bytes: 0,
            others: 0,
            idle: None,
        }
    }

    /// Judges a record, and folds it if it counts.
    ///
    /// A document's insert that the stream brings after the scan has taken the document in is the same record
    /// again: only the position moves.
    pub fn push(&mut self, mut record: Record, policy: &Policy, windows: &mut Windows, now: DateTime<Utc>) {
        // Nothing was taken in later than now. A window is measured in this time, and one record from a clock
        // that is years ahead must not empty it.
        record.source_time_ms = record.source_time_ms.min(now.timestamp_millis());
        let scanned = match record.payload.document_id() {
            Some(id) if record.historical => Some(EventHash::of_document(&id)),
            Some(id)
                if !windows.scanned.is_empty() && windows.scanned.contains(EventHash::of_document(&id)) =>
            {
                self.idle(record.next, record.as_of_ms);
                return;
            }
            _ => None,
        };
        if let Some(id) = scanned {
            windows.scanned.insert(id);
        }
        let time = Time::of_record(&record, policy.max_age, now);
        let taken_in_ms = record.source_time_ms;
        let (source, verdict) = self.judge(&record.payload, taken_in_ms, policy, time, windows);
        // What was known of the lane before this record is known with it.
        let known = self.idle.take().and_then(|(_, as_of_ms)| as_of_ms);
        record.as_of_ms = record.as_of_ms.max(known);
        self.enter(
            Entry {
                origin: Origin::Record(record),
                source,
                verdict,
                scanned,
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
        let id = letter.event_id;
        if id.is_some_and(|id| !windows.rejected.contains_key(&id)) {
            return;
        }
        let time = Time::of_letter(&letter, policy.max_age, now);
        let taken_in_ms = letter.source_time_ms;
        let (source, verdict) = self.judge(&letter.payload, taken_in_ms, policy, time, windows);
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
        taken_in_ms: i64,
        policy: &Policy,
        time: Time,
        windows: &mut Windows,
    ) -> (Source, Verdict) {
        let decided = decide(payload, &policy.rules, time, |id| windows.is_known(id));
        let verdict = match decided.decision {
            Decision::Duplicate => Verdict::Duplicate,
            Decision::Skip(_) => Verdict::Skipped,
            Decision::Reject(reject) => reject_as(reject, payload, decided.event_id.as_deref(), windows),
            Decision::Count { event, id } => {
                self.add(&event);
                Verdict::Counted {
                    id,
                    closes: id.is_some_and(|id| windows.count(id)),
                    is_late: taken_in_ms.saturating_sub(event.completed_at_ms) > policy.window_ms(),
                    gaps: Gaps::of(&event),
                }
            }
        };
        (decided.source, verdict)
    }

    fn add(&mut self, event: &Event<'_>) {
        let folded = self.fold.add(event);
        folded.expect("an event that counts completed between 2000 and now");
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

    /// The emitting service and the outcome of each record that was read.
    pub fn outcomes(&self) -> impl Iterator<Item = (Source, Outcome)> + '_ {
        let records = self
            .entries
            .iter()
            .filter(|entry| entry.origin.record().is_some());
        records.map(|entry| (entry.source, entry.verdict.outcome()))
    }

    /// What became of the records. A dead letter that is closed moves from one counter to another, so that the
    /// four still add up to the records read.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (_, outcome) in self.outcomes() {
            tally.add(outcome, 1);
        }
        for replayed in self.replayed() {
            if let Ok(outcome) = replayed.result {
                tally.add(Outcome::DeadLetter, -1);
                tally.add(outcome, 1);
            }
        }
        tally
    }

    /// The ids that were counted, and the newest source time among their records.
    #[must_use]
    pub fn ids(&self) -> Generation {
        Generation::of(self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted { id: Some(id), .. } => Some((id, entry.origin.remembered_ms())),
            _ => None,
        }))
    }

    /// The documents that the history scan found, and the newest source time among them.
    #[must_use]
    pub fn scanned(&self) -> Generation {
        Generation::of(
            self.entries
                .iter()
                .filter_map(|entry| Some((entry.scanned?, entry.origin.remembered_ms()))),
        )
    }

    /// The source time of the oldest record, or of the moment in which the lane was idle.
    #[must_use]
    pub fn oldest_or_idle_ms(&self) -> Option<i64> {
        self.oldest_ms().or(self.watermark_ms())
    }

    /// The rejected records.
    #[must_use]
    pub fn letters(&self) -> Vec<DeadLetter> {
        let letter = |entry: &Entry| match (&entry.origin, &entry.verdict) {
            (
                Origin::Record(record),
                Verdict::DeadLetter {
                    reject,
                    event_id,
                    letter,
                    keep,
                },
            ) => Some(DeadLetter {
                place: place(record),
                reject: reject.clone(),
                about: record.payload.about(),
                payload: record.payload.clone(),
                event_id: event_id.clone(),
                letter: *letter,
                keep: *keep,
                source_time_ms: record.source_time_ms,
            }),
            _ => None,
        };
        self.entries.iter().filter_map(letter).collect()
    }

    /// The dead letters that were judged again.
    pub fn replayed(&self) -> impl Iterator<Item = ReplayResult> + '_ {
        self.entries.iter().filter_map(|entry| match &entry.origin {
            Origin::Record(_) => None,
            Origin::DeadLetter { place, .. } => Some(ReplayResult {
                place: place.clone(),
                result: match &entry.verdict {
                    Verdict::DeadLetter { reject, .. } => Err(reject.clone()),
                    closed => Ok(closed.outcome()),
                },
            }),
        })
    }

    /// How many events were counted that had completed before the window began: had they been counted before,
    /// nobody would know.
    #[must_use]
    pub fn late(&self) -> usize {
        let is_late = |entry: &&Entry| {
            matches!(
                entry.verdict,
                Verdict::Counted {
                    id: Some(_),
                    is_late: true,
                    ..
                }
            )
        };
        self.entries.iter().filter(is_late).count()
    }

    /// What is not known of each event that was counted.
    pub fn gaps(&self) -> impl Iterator<Item = Gaps> + '_ {
        self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted { gaps, .. } => Some(gaps),
            _ => None,
        })
    }

    /// Whether dead letters were judged again.
    #[must_use]
    pub fn has_replays(&self) -> bool {
        self.replayed().next().is_some()
    }

    /// The ids of counted events that close dead letters.
    #[must_use]
    pub fn closes(&self) -> Vec<EventHash> {
        let closes = self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted { id, closes: true, .. } => id,
            _ => None,
        });
        closes.collect()
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
        let first = Self::rebuilt(self.entries, None, policy);
        let second = Self::rebuilt(tail, self.idle, policy);
        Ok((first, second))
    }

    /// Rejects the records that were counted: they cannot be booked. Called when a batch has been cut down to one
    /// record.
    #[must_use]
    pub fn reject_counted(mut self, reason: Reason, policy: &Policy, windows: &mut Windows) -> Self {
        for entry in &mut self.entries {
            reject_counted(entry, reason, policy, windows);
        }
        Self::rebuilt(self.entries, self.idle, policy)
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
        (Self::rebuilt(self.entries, self.idle, policy), is_changed)
    }

    /// Judges the events whose ids the ledger holds already by what it holds. The batch is not in any ledger yet.
    #[must_use]
    pub fn held(
        mut self,
        held: &HashMap<EventHash, ExistingId>,
        policy: &Policy,
        windows: &mut Windows,
    ) -> Self {
        for entry in &mut self.entries {
            let Verdict::Counted {
                id: Some(id), closes, ..
            } = &mut entry.verdict
            else {
                continue;
            };
            match held.get(id) {
                None => {}
                Some(ExistingId::Rejected) => *closes = true,
                Some(ExistingId::Counted) => {
                    // It is not this lane's to remember.
                    windows.events.forget(*id);
                    if *closes {
                        windows.rejected.insert(*id, RejectedIdState::Counted);
                    }
                    entry.verdict = Verdict::Duplicate;
                }
            }
        }
        Self::rebuilt(self.entries, self.idle, policy)
    }

    /// Folds again what was counted before; the verdicts stand.
    fn rebuilt(entries: Vec<Entry>, idle: Option<(Position, Option<i64>)>, policy: &Policy) -> Self {
        let mut batch = Self {
            idle,
            ..Self::new(&policy.grouping)
        };
        for entry in entries {
            if let (Verdict::Counted { .. }, Ok(Checked::Event(event))) = (
                &entry.verdict,
                entry.origin.payload().check(&policy.rules).checked,
            ) {
                batch.add(&event);
            }
            batch.enter(entry, policy);
        }
        batch
    }
}

/// Rejects a record that was counted. Whether it was.
fn reject_counted(entry: &mut Entry, reason: Reason, policy: &Policy, windows: &mut Windows) -> bool {
    let Verdict::Counted { id, .. } = entry.verdict else {
        return false;
    };
    if let Some(id) = id {
        windows.events.forget(id);
        // Whatever a record behind this one was told.
        windows.rejected.insert(id, RejectedIdState::Uncounted);
    }
    let payload = entry.origin.payload();
    let event_id = payload.check(&policy.rules).event_id;
    let verdict = reject_as(Reject::record(reason), payload, event_id.as_deref(), windows);
    entry.verdict = verdict;
    true
}
