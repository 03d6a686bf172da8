//! What must have become of everything that was sent.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use super::item::{Item, Verdict};
use super::usage::Totals;

/// Everything that was sent, and what must have become of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Truth {
    /// All events.
    pub read: u64,
    /// Events that are in the totals.
    pub counted: u64,
    /// Events that had been counted before.
    pub duplicate: u64,
    /// Events that are no usage by rule.
    pub skipped: u64,
    /// Events that cannot be booked.
    pub dead_letter: u64,
    /// Why those cannot.
    pub reasons: BTreeMap<&'static str, u64>,
    /// The first day with usage (UTC).
    pub first_day: Option<NaiveDate>,
    /// The last day with usage (UTC).
    pub last_day: Option<NaiveDate>,
    /// The sums over everything.
    pub totals: Totals,
    /// The sums of each organization.
    pub organizations: BTreeMap<String, Totals>,
}

impl Truth {
    /// Adds one event.
    pub fn add(&mut self, item: &Item) {
        self.read += 1;
        match &item.verdict {
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::Skipped => self.skipped += 1,
            Verdict::Rejected { reason, .. } => {
                self.dead_letter += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
            Verdict::Counted(usage) => {
                self.counted += 1;
                self.totals += usage;
                *self.organizations.entry(usage.organization.clone()).or_default() += usage;
                let day = usage.completed_at.date_naive();
                self.first_day = Some(self.first_day.map_or(day, |first| first.min(day)));
                self.last_day = Some(self.last_day.map_or(day, |last| last.max(day)));
            }
        }
    }

    /// The four things that can become of an event, under the names of the ledger's metric.
    #[must_use]
    pub fn results(&self) -> [(&'static str, u64); 4] {
        [
            ("counted", self.counted),
            ("duplicate", self.duplicate),
            ("skipped", self.skipped),
            ("dead_letter", self.dead_letter),
        ]
    }
}

impl<'a> Extend<&'a Item> for Truth {
    fn extend<I: IntoIterator<Item = &'a Item>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.add(item));
    }
}
