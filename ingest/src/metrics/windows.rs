//! The windows in which duplicates are recognised.

use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGauge};

use super::count;
use super::maker::Maker;
use crate::batch::Age;
use crate::dedupe::Windows;

/// How much is remembered, how far that reaches, and what came too late for it.
#[derive(Debug, Clone)]
pub(super) struct WindowMetrics {
    ids: IntGauge,
    bytes: IntGauge,
    letter_ids: IntGauge,
    reach: Gauge,
    late: IntCounterVec,
}

impl WindowMetrics {
    pub(super) fn new(made: &Maker<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            ids: made.int_gauge(
                "dedupe_ids",
                "Event ids in the windows in which duplicates are recognised",
            )?,
            bytes: made.int_gauge(
                "dedupe_bytes",
                "About how much memory the ids of `usage_ledger_dedupe_ids` take, with the places that are kept free for more",
            )?,
            letter_ids: made.int_gauge(
                "dead_letter_ids",
                "Event ids of open dead letters, which are remembered for as long as they are open",
            )?,
            reach: made.gauge(
                "dedupe_window_seconds",
                "How far back, in the source's time, duplicates are recognised in every lane: the configured window, or \
                 what the most ids that are remembered leave of it",
            )?,
            late: made.counters(
                "late_events_total",
                "Events counted that completed longer before they reached the source than the window of ids is long, by \
                 how long before: if they were counted before, that is not known any more",
                &["age"],
            )?,
        };
        for age in Age::ALL {
            metrics.late.with_label_values(&[age.name()]);
        }
        Ok(metrics)
    }

    /// How the windows of all lanes are now; they should be so long.
    pub(super) fn observe<'a>(&self, windows: impl Iterator<Item = &'a Windows> + Clone, length_ms: i64) {
        let events = || windows.clone().map(|windows| &windows.events);
        self.ids.set(count(events().map(|window| window.len()).sum()));
        self.bytes.set(count(events().map(|window| window.bytes()).sum()));
        let rejected = windows.clone().map(|windows| windows.rejected.len());
        self.letter_ids.set(count(rejected.sum()));
        let reach_ms = events().map(|window| window.reach_ms(length_ms)).min();
        let reach_ms = u64::try_from(reach_ms.unwrap_or(length_ms)).unwrap_or(0);
        self.reach.set(Duration::from_millis(reach_ms).as_secs_f64());
    }

    pub(super) fn late(&self, ages: impl Iterator<Item = Age>) {
        let mut counts = [0_u64; Age::ALL.len()];
        for age in ages {
            counts[age as usize] += 1;
        }
        for (age, count) in Age::ALL.into_iter().zip(counts) {
            if count > 0 {
                self.late.with_label_values(&[age.name()]).inc_by(count);
            }
        }
    }
}
