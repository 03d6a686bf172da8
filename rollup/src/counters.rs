//! The counters that every row of the ledger and every rollup carries.

use std::ops::{Index, IndexMut};

/// One counter of a row. The order is the order in which counters are stored and printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Counter {
    /// Finished requests, whatever their outcome.
    Requests,
    /// Requests whose outcome was `failed`.
    FailedRequests,
    /// Requests whose outcome was `aborted`.
    AbortedRequests,
    /// Input tokens, cached and cache-write tokens included.
    InputTokens,
    /// Input tokens read from a cache: a part of the input tokens.
    CachedInputTokens,
    /// Input tokens written to a cache: a part of the input tokens.
    CacheWriteTokens,
    /// Output tokens, reasoning tokens included.
    OutputTokens,
    /// Output tokens spent on reasoning: a part of the output tokens.
    ReasoningTokens,
    /// Input plus output tokens, computed here and never taken from an event.
    TotalTokens,
    /// Milliseconds of audio.
    AudioMillis,
    /// Characters of speech or text.
    Characters,
    /// Images.
    Images,
    /// Cost in nano-units (1e-9) of the ledger's currency.
    CostNanos,
    /// Requests whose cost nobody knows.
    UnpricedRequests,
    /// Requests whose usage nobody knows.
    UnmeteredRequests,
    /// Requests that the price book priced.
    PricedRequests,
    /// What the price book priced them at: a part of the cost.
    PricedNanos,
}

impl Counter {
    /// Every counter, in stored order.
    pub const ALL: [Counter; 17] = [
        Counter::Requests,
        Counter::FailedRequests,
        Counter::AbortedRequests,
        Counter::InputTokens,
        Counter::CachedInputTokens,
        Counter::CacheWriteTokens,
        Counter::OutputTokens,
        Counter::ReasoningTokens,
        Counter::TotalTokens,
        Counter::AudioMillis,
        Counter::Characters,
        Counter::Images,
        Counter::CostNanos,
        Counter::UnpricedRequests,
        Counter::UnmeteredRequests,
        Counter::PricedRequests,
        Counter::PricedNanos,
    ];

    /// The name under which the counter is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Counter::Requests => "requests",
            Counter::FailedRequests => "failedRequests",
            Counter::AbortedRequests => "abortedRequests",
            Counter::InputTokens => "inputTokens",
            Counter::CachedInputTokens => "cachedInputTokens",
            Counter::CacheWriteTokens => "cacheWriteTokens",
            Counter::OutputTokens => "outputTokens",
            Counter::ReasoningTokens => "reasoningTokens",
            Counter::TotalTokens => "totalTokens",
            Counter::AudioMillis => "audioMillis",
            Counter::Characters => "characters",
            Counter::Images => "images",
            Counter::CostNanos => "costNanos",
            Counter::UnpricedRequests => "unpricedRequests",
            Counter::UnmeteredRequests => "unmeteredRequests",
            Counter::PricedRequests => "pricedRequests",
            Counter::PricedNanos => "pricedNanos",
        }
    }
}

/// What one event adds to each counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([i64; Counter::ALL.len()]);

/// A sum did not fit a stored 64-bit counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sum of `{}` does not fit 64 bits", .0.name())]
pub struct Overflow(pub Counter);

/// Exact sums of [`Counters`]. 128 bits wide, so that no number of 64-bit bookings that fits in memory can
/// wrap; narrowed with a check before it is stored or served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums([i128; Counter::ALL.len()]);

impl Sums {
    /// Nothing was counted.
    pub const ZERO: Self = Self([0; Counter::ALL.len()]);

    /// Adds one booking.
    pub fn add(&mut self, counters: &Counters) {
        for (sum, value) in self.0.iter_mut().zip(counters.0) {
            *sum += i128::from(value);
        }
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Sums) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum += value;
        }
    }

    /// What other sums leave of these.
    #[must_use]
    pub fn without(mut self, other: &Sums) -> Self {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum -= value;
        }
        self
    }

    /// The sums as 64-bit counters.
    ///
    /// # Errors
    /// Names the first counter whose sum does not fit.
    pub fn narrow(&self) -> Result<Counters, Overflow> {
        let mut counters = Counters::default();
        for counter in Counter::ALL {
            counters[counter] = i64::try_from(self[counter]).map_err(|_| Overflow(counter))?;
        }
        Ok(counters)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|sum| *sum == 0)
    }
}

impl From<Counters> for Sums {
    fn from(counters: Counters) -> Self {
        Sums(counters.0.map(i128::from))
    }
}

impl Index<Counter> for Counters {
    type Output = i64;
    fn index(&self, counter: Counter) -> &i64 {
        &self.0[counter as usize]
    }
}

impl IndexMut<Counter> for Counters {
    fn index_mut(&mut self, counter: Counter) -> &mut i64 {
        &mut self.0[counter as usize]
    }
}

impl Index<Counter> for Sums {
    type Output = i128;
    fn index(&self, counter: Counter) -> &i128 {
        &self.0[counter as usize]
    }
}

impl IndexMut<Counter> for Sums {
    fn index_mut(&mut self, counter: Counter) -> &mut i128 {
        &mut self.0[counter as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_outgrow_64_bits_without_wrapping_and_refuse_to_narrow() {
        let mut one = Counters::default();
        one[Counter::InputTokens] = i64::MAX;
        let mut sums = Sums::default();
        sums.add(&one);
        assert_eq!(sums.narrow().expect("fits")[Counter::InputTokens], i64::MAX);
        sums.add(&one);
        assert_eq!(sums[Counter::InputTokens], 2 * i128::from(i64::MAX));
        assert_eq!(sums.narrow(), Err(Overflow(Counter::InputTokens)));
    }

    #[test]
    fn negative_bookings_cancel_exactly() {
        let mut plus = Counters::default();
        plus[Counter::CostNanos] = 7;
        let mut minus = Counters::default();
        minus[Counter::CostNanos] = -7;
        let mut sums = Sums::from(plus);
        sums.add(&minus);
        assert!(sums.is_zero());
    }

    #[test]
    fn stored_names_never_change() {
        let names: Vec<_> = Counter::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(
            names.join(" "),
            "requests failedRequests abortedRequests inputTokens cachedInputTokens cacheWriteTokens outputTokens \
             reasoningTokens totalTokens audioMillis characters images costNanos unpricedRequests unmeteredRequests \
             pricedRequests pricedNanos"
        );
        assert!(
            Counter::ALL
                .iter()
                .enumerate()
                .all(|(at, counter)| *counter as usize == at)
        );
    }
}
