//! What an event adds, and the sums that a ledger must arrive at.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Serialize, Serializer};

use super::item::{Item, Verdict};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Completed,
    /// With an error.
    Failed,
    /// Given up by the caller.
    Aborted,
}

/// Who used what in one request. `None` stands for what the event does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the event contract")]
pub struct Usage {
    pub completed_at: DateTime<Utc>,
    pub source: String,
    pub organization: String,
    pub agent: Option<String>,
    pub user: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub team: Option<String>,
    pub api_key: Option<String>,
    pub kind: &'static str,
    pub outcome: Outcome,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub images: u64,
    /// `None`: unpriced, which is not zero.
    pub cost_nanos: Option<u64>,
}

/// Sums of usage, under the names of the ledger's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the ledger's counters")]
pub struct Totals {
    pub requests: u64,
    pub failed_requests: u64,
    pub aborted_requests: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub total_tokens: u64,
    pub images: u64,
    #[serde(rename = "cost", serialize_with = "as_amount")]
    pub cost_nanos: u128,
    pub unpriced_requests: u64,
    pub unmetered_requests: u64,
}

impl Usage {
    /// Whether its event carries a quantity: one of nothing is not written.
    fn is_metered(&self) -> bool {
        [self.input_tokens, self.output_tokens, self.images] != [0; 3]
    }
}

impl AddAssign<&Usage> for Totals {
    fn add_assign(&mut self, usage: &Usage) {
        self.requests += 1;
        self.failed_requests += u64::from(usage.outcome == Outcome::Failed);
        self.aborted_requests += u64::from(usage.outcome == Outcome::Aborted);
        self.input_tokens += usage.input_tokens;
        self.cached_input_tokens += usage.cached_input_tokens;
        self.cache_write_tokens += usage.cache_write_tokens;
        self.output_tokens += usage.output_tokens;
        self.reasoning_tokens += usage.reasoning_tokens;
        self.total_tokens += usage.input_tokens + usage.output_tokens;
        self.images += usage.images;
        self.cost_nanos += u128::from(usage.cost_nanos.unwrap_or(0));
        let is_metered = usage.is_metered();
        let failed_at_once = usage.outcome == Outcome::Failed && !is_metered;
        self.unpriced_requests += u64::from(usage.cost_nanos.is_none() && !failed_at_once);
        let has_tokens = ["llm", "embedding"].contains(&usage.kind);
        let is_done = usage.outcome == Outcome::Completed;
        self.unmetered_requests += u64::from(is_done && has_tokens && !is_metered);
    }
}

impl Totals {
    /// The counters that the reader answers as JSON integers, by their names there.
    #[must_use]
    pub fn integers(&self) -> [(&'static str, u64); 12] {
        [
            ("requests", self.requests),
            ("failedRequests", self.failed_requests),
            ("abortedRequests", self.aborted_requests),
            ("inputTokens", self.input_tokens),
            ("cachedInputTokens", self.cached_input_tokens),
            ("cacheWriteTokens", self.cache_write_tokens),
            ("outputTokens", self.output_tokens),
            ("reasoningTokens", self.reasoning_tokens),
            ("totalTokens", self.total_tokens),
            ("images", self.images),
            ("unpricedRequests", self.unpriced_requests),
            ("unmeteredRequests", self.unmetered_requests),
        ]
    }

    /// The cost as the reader answers it: nine decimals, or `None` where there are requests and none of
    /// them has a price.
    #[must_use]
    pub fn cost(&self) -> Option<String> {
        let known = self.requests == 0 || self.unpriced_requests < self.requests;
        known.then(|| decimal(self.cost_nanos))
    }
}

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

/// Nano-units as an amount with nine decimals.
#[must_use]
pub fn decimal(nanos: u128) -> String {
    const UNIT: u128 = 1_000_000_000;
    format!("{}.{:09}", nanos / UNIT, nanos % UNIT)
}

fn as_amount<S: Serializer>(nanos: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&decimal(*nanos))
}
