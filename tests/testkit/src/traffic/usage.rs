//! What an event adds, and sums of it.

use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

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

/// Nano-units as an amount with nine decimals.
#[must_use]
pub fn decimal(nanos: u128) -> String {
    const UNIT: u128 = 1_000_000_000;
    format!("{}.{:09}", nanos / UNIT, nanos % UNIT)
}

fn as_amount<S: Serializer>(nanos: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&decimal(*nanos))
}
