//! What a batch tells of its records when it is committed.

use super::LaneBatch;
use super::age::Age;
use super::verdict::{Entry, Gaps, Origin, Verdict, place};
use crate::decode::Source;
use crate::dedupe::Generation;
use crate::identity::{CountedId, Identity};
use crate::lane::JournalId;
use crate::ledger::{DeadLetter, ReplayResult};
use crate::outcome::{Outcome, Tally};
use rollup::journal::Packed;

impl LaneBatch {
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
            tally.count(outcome, 1);
        }
        for replayed in self.replayed() {
            if let Ok(outcome) = replayed.result {
                tally.count(Outcome::DeadLetter, -1);
                tally.count(outcome, 1);
            }
        }
        tally
    }

    /// What was counted, event by event, as the journal has it.
    #[must_use]
    pub fn journal(&self) -> Packed {
        let rows = self.fold.rows().iter().map(|row| (row.period, &row.dimensions));
        self.journal.pack(self.fold.finest(), &rows.collect::<Vec<_>>())
    }

    /// The ids that were counted, and the newest source time among their records.
    #[must_use]
    pub fn ids(&self, written: JournalId) -> Generation {
        Generation::of(
            written,
            self.entries.iter().filter_map(|entry| match entry.verdict {
                Verdict::Counted {
                    identity, quantities, ..
                } => {
                    let id = identity.remembered()?;
                    Some((CountedId { id, quantities }, entry.origin.remembered_ms()))
                }
                _ => None,
            }),
        )
    }

    /// Of the ids that were counted, those that are unique in the whole ledger.
    pub fn unique_ids(&self) -> impl Iterator<Item = CountedId> + '_ {
        self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted {
                identity: Identity::Event(id),
                quantities,
                ..
            } => Some(CountedId { id, quantities }),
            _ => None,
        })
    }

    /// The documents that the history scan found, and the newest source time among them.
    #[must_use]
    pub fn scanned(&self, written: JournalId) -> Generation {
        Generation::of(
            written,
            self.entries.iter().filter_map(|entry| {
                Some((
                    CountedId::of_document(entry.scanned?),
                    entry.origin.remembered_ms(),
                ))
            }),
        )
    }

    /// The documents that were deleted after they were counted, and the newest source time of their deletions.
    #[must_use]
    pub fn deleted(&self, written: JournalId) -> Generation {
        Generation::of(
            written,
            self.entries
                .iter()
                .filter_map(|entry| Some((entry.deleted?, entry.origin.remembered_ms()))),
        )
    }

    /// The rejected records.
    #[must_use]
    pub fn letters(&self) -> Vec<DeadLetter> {
        let letter = |entry: &Entry| match (&entry.origin, &entry.verdict) {
            (
                Origin::Record(record),
                Verdict::DeadLetter {
                    reject,
                    identity,
                    document,
                    names,
                    known,
                    keep,
                },
            ) => Some(DeadLetter {
                place: place(record),
                reject: reject.clone(),
                about: record.payload.about(),
                payload: record.payload.clone(),
                identity: *identity,
                document: *document,
                names: names.clone(),
                known: *known,
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

    /// How old each event was that was counted although it had completed before the window began: had it been counted
    /// before, nobody would know.
    pub fn late(&self) -> impl Iterator<Item = Age> + '_ {
        self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted { identity, late, .. } if identity.remembered().is_some() => late,
            _ => None,
        })
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
    pub fn closes(&self) -> Vec<Identity> {
        let closes = self.entries.iter().filter_map(|entry| match entry.verdict {
            Verdict::Counted {
                identity,
                closes: true,
                ..
            } => Some(identity),
            _ => None,
        });
        closes.collect()
    }
}
