//! The state of the ledger that an answer is about.
//!
//! Totals that are remembered under the version of its snapshot are not read again.

use std::collections::HashMap;

use rollup::period::Period;
use tokio::sync::Mutex;

use super::part::Known;
use crate::cache::{Cache, CacheKey};
use crate::reader::{PeriodTotals, ReadError, Snapshot, Span};

/// Of a span with more periods than this each is not remembered by itself: it may be millennia without usage.
const MOST_REMEMBERED: usize = 1_100;

/// One state of the ledger.
pub(crate) struct View<S> {
    snapshot: S,
    /// The totals of periods that were read of it. `None`: the period has no rows.
    read: Mutex<HashMap<(String, Period), Option<PeriodTotals>>>,
}

impl<S: Snapshot> View<S> {
    /// The state that a snapshot holds.
    pub(crate) fn of(snapshot: S) -> Self {
        Self {
            snapshot,
            read: Mutex::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> &S {
        &self.snapshot
    }

    /// The totals of an organization in these periods, oldest first. Periods without rows are left out.
    pub(crate) async fn period_totals(
        &self,
        organization: &str,
        cover: &[Span],
        states: &Cache<Known>,
    ) -> Result<Vec<PeriodTotals>, ReadError> {
        let mut found = Vec::new();
        let mut read = self.read.lock().await;
        for span in cover {
            if span.periods().nth(MOST_REMEMBERED).is_some() {
                let mut rows = self.snapshot.period_totals(organization, *span).await?;
                rows.sort_unstable_by_key(|row| row.period);
                found.extend(rows);
                continue;
            }
            let mut known = Vec::new();
            for period in span.periods() {
                let place = (organization.to_owned(), period);
                let totals = match read.get(&place) {
                    Some(totals) => Some(*totals),
                    None => states.get(self.key(&place)).map(|known| known.0),
                };
                let Some(totals) = totals else { break };
                known.push((place, totals));
            }
            if known.len() < span.periods().count() {
                let rows = self.snapshot.period_totals(organization, *span).await?;
                let rows: HashMap<Period, PeriodTotals> =
                    rows.into_iter().map(|row| (row.period, row)).collect();
                let place = |period| ((organization.to_owned(), period), rows.get(&period).copied());
                known = span.periods().map(place).collect();
                for (place, period_totals) in &known {
                    states.put(self.key(place), Known(*period_totals));
                }
            }
            found.extend(known.iter().filter_map(|(_, totals)| *totals));
            read.extend(known);
        }
        Ok(found)
    }

    fn key(&self, place: &(String, Period)) -> CacheKey {
        CacheKey::of(&("booked", self.snapshot.freshness().version, place))
    }
}
