//! How many events were counted of which something is not known.

use prometheus::IntCounter;

use super::maker::Maker;
use crate::batch::Gaps;

/// A counter for each kind of gap.
#[derive(Debug, Clone)]
pub(super) struct GapCounters {
    unpriced: IntCounter,
    unmetered: IntCounter,
    unattributed: IntCounter,
    rounded: IntCounter,
}

impl GapCounters {
    pub(super) fn new(made: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            unpriced: made.counter("unpriced_events_total", "Events counted whose cost nobody knows")?,
            unmetered: made.counter(
                "unmetered_events_total",
                "Events counted that completed and carry no quantity: their fields may have other names",
            )?,
            unattributed: made.counter("unattributed_events_total", "Events counted that name no agent")?,
            rounded: made.counter(
                "rounded_costs_total",
                "Events counted whose cost had more than nine decimals, and was rounded",
            )?,
        })
    }

    pub(super) fn add(&self, events: impl Iterator<Item = Gaps>) {
        let mut counts = [0_u64; 4];
        for gaps in events {
            let found = [
                gaps.is_unpriced,
                gaps.is_unmetered,
                gaps.is_unattributed,
                gaps.is_rounded,
            ];
            for (count, found) in counts.iter_mut().zip(found) {
                *count += u64::from(found);
            }
        }
        let counters = [&self.unpriced, &self.unmetered, &self.unattributed, &self.rounded];
        for (counter, count) in counters.into_iter().zip(counts) {
            counter.inc_by(count);
        }
    }
}
