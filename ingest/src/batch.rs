//! The records of one lane between reading and committing.
//!
//! A batch keeps its records until they are committed, so that it can be cut anywhere: exactness never
//! depends on where a batch ends. Its rows are folded as records come in.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollup::event::{Checked, Field, Identity, Reason, Reject, Rules, judge_time};
use rollup::fold::{Delta, Fold, Grouping};

use crate::decode::Source;
use crate::dedupe::{EventHash, Generation, Windows};
use crate::lane::{LastRecord, Position};
use crate::ledger::{DeadLetter, Tally};
use crate::source::Record;

/// When a batch is committed, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records in it.
    pub max_events: usize,
    /// Age of its oldest record here.
    pub max_age: Duration,
    /// Bytes of its records.
    pub max_bytes: usize,
    /// Rows of the ledger it would write, over all granularities.
    pub max_rows: usize,
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
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Booked.
    Counted,
    /// Known already.
    Duplicate,
    /// No usage, by rule.
    Skipped,
    /// Rejected, with a reason.
    DeadLetter,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 4] = [
        Outcome::Counted,
        Outcome::Duplicate,
        Outcome::Skipped,
        Outcome::DeadLetter,
    ];

    /// The value of the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Duplicate => "duplicate",
            Outcome::Skipped => "skipped",
            Outcome::DeadLetter => "dead_letter",
        }
    }
}

/// The verdict on a record, with what a commit needs of it.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Counted(Option<EventHash>),
    Duplicate,
    Skipped,
    DeadLetter {
        reject: Reject,
        event_id: Option<String>,
    },
}

impl Verdict {
    const fn outcome(&self) -> Outcome {
        match self {
            Verdict::Counted(_) => Outcome::Counted,
            Verdict::Duplicate => Outcome::Duplicate,
            Verdict::Skipped => Outcome::Skipped,
            Verdict::DeadLetter { .. } => Outcome::DeadLetter,
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    record: Record,
    source: Source,
    verdict: Verdict,
    /// The document, where the history scan found it.
    scanned: Option<EventHash>,
}

/// The records of one lane that are folded and not yet committed.
#[derive(Debug)]
pub struct LaneBatch {
    entries: Vec<Entry>,
    fold: Fold,
    bytes: usize,
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
            Some(id) if record.historical => Some(EventHash::of_document(id)),
            Some(id)
                if !windows.scanned.is_empty() && windows.scanned.contains(EventHash::of_document(id)) =>
            {
                self.idle(record.next, record.as_of_ms);
                return;
            }
            _ => None,
        };
        if let Some(id) = scanned {
            windows.scanned.insert(id);
        }
        let judged = record.payload.judge(&policy.rules);
        let source = judged.source;
        let max_age = if record.historical { None } else { policy.max_age };
        let verdict = match judged.verdict {
            Err(reject) => Err(reject),
            Ok(Checked::Skipped(_)) => Ok(Verdict::Skipped),
            Ok(Checked::Event(event)) => {
                let id = match &event.identity {
                    Identity::EventId(id) => Some(EventHash::of(id)),
                    Identity::Document => None,
                };
                // A duplicate of a counted event is one whatever the clock says by now.
                if id.is_some_and(|id| !windows.events.insert(id)) {
                    Ok(Verdict::Duplicate)
                } else {
                    let booked = judge_time(event.completed_at_ms, now, max_age).and_then(|()| {
                        self.fold
                            .add(&event)
                            .map_err(|_| Reject::field(Reason::OutOfRange, Field::CompletedAt))
                    });
                    if let (Err(_), Some(id)) = (&booked, id) {
                        windows.events.forget(id);
                    }
                    booked.map(|()| Verdict::Counted(id))
                }
            }
        };
        let verdict = verdict.unwrap_or_else(|reject| Verdict::DeadLetter {
            reject,
            event_id: judged.event_id.map(std::borrow::Cow::into_owned),
        });
        self.bytes += record.payload.size();
        // What was known of the lane before this record is known with it.
        let known = self.idle.take().and_then(|(_, as_of_ms)| as_of_ms);
        record.as_of_ms = record.as_of_ms.max(known);
        self.entries.push(Entry {
            record,
            source,
            verdict,
            scanned,
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

    /// Rows of the ledger that a commit would write, at most.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.fold.ledger_rows()
    }

    /// Where the lane goes on after this batch.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        let idle = self.idle.as_ref().map(|(position, _)| position);
        idle.or_else(|| self.entries.last().map(|entry| &entry.record.next))
    }

    /// Every event that reached the source up to this instant (ms) is counted after this batch.
    #[must_use]
    pub fn watermark_ms(&self) -> Option<i64> {
        let records = self.entries.iter().rev().find_map(|entry| entry.record.as_of_ms);
        let idle = self.idle.as_ref().and_then(|(_, as_of)| *as_of);
        idle.max(records)
    }

    /// What recognises the last record later.
    #[must_use]
    pub fn last(&self) -> Option<LastRecord> {
        self.entries.last().and_then(|entry| entry.record.last)
    }

    /// The source time of the oldest record.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.entries.iter().map(|entry| entry.record.source_time_ms).min()
    }

    /// The emitting service and the outcome of each record.
    pub fn outcomes(&self) -> impl Iterator<Item = (Source, Outcome)> + '_ {
        self.entries
            .iter()
            .map(|entry| (entry.source, entry.verdict.outcome()))
    }

    /// What became of the records.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (_, outcome) in self.outcomes() {
            match outcome {
                Outcome::Counted => tally.counted += 1,
                Outcome::Duplicate => tally.duplicate += 1,
                Outcome::Skipped => tally.skipped += 1,
                Outcome::DeadLetter => tally.dead_letter += 1,
            }
        }
        tally
    }

    /// The ids that were counted, and the newest source time among their records.
    #[must_use]
    pub fn ids(&self) -> Generation {
        Generation::of(self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted(Some(id)) => Some((id, entry.record.source_time_ms)),
            _ => None,
        }))
    }

    /// The documents that the history scan found, and the newest source time among them.
    #[must_use]
    pub fn scanned(&self) -> Generation {
        Generation::of(
            self.entries
                .iter()
                .filter_map(|entry| Some((entry.scanned?, entry.record.source_time_ms))),
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
        let letter = |entry: &Entry| match &entry.verdict {
            Verdict::DeadLetter { reject, event_id } => Some(DeadLetter {
                place: place(&entry.record),
                reject: *reject,
                payload: entry.record.payload.clone(),
                event_id: event_id.clone(),
                source_time_ms: entry.record.source_time_ms,
            }),
            _ => None,
        };
        self.entries.iter().filter_map(letter).collect()
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

    /// Rejects the records that were counted: booking them would overflow a stored counter. Called when a
    /// batch has been cut down to one record.
    #[must_use]
    pub fn reject_overflow(mut self, policy: &Policy, windows: &mut Windows) -> Self {
        for entry in &mut self.entries {
            if let Verdict::Counted(id) = entry.verdict {
                if let Some(id) = id {
                    windows.events.forget(id);
                }
                let event_id = entry
                    .record
                    .payload
                    .judge(&policy.rules)
                    .event_id
                    .map(std::borrow::Cow::into_owned);
                entry.verdict = Verdict::DeadLetter {
                    reject: Reject::record(Reason::Overflow),
                    event_id,
                };
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
        for entry in &entries {
            batch.bytes += entry.record.payload.size();
            if let (Verdict::Counted(_), Ok(Checked::Event(event))) =
                (&entry.verdict, entry.record.payload.judge(&policy.rules).verdict)
            {
                batch.fold.add(&event).expect("it was folded before");
            }
        }
        batch.entries = entries;
        batch
    }
}

/// Where a record was in its lane.
fn place(record: &Record) -> String {
    match &record.next {
        Position::Offset(next) => (next - 1).to_string(),
        Position::Stream { .. } => record.payload.place(),
    }
}
