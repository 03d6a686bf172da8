//! The state of the ledger that an answer is about.
//!
//! What is remembered of a state with the mark of its snapshot needs no reading.

use std::collections::HashMap;

use rollup::period::Period;
use tokio::sync::Mutex;

use super::part::Known;
use crate::cache::{Cache, CacheKey};
use crate::reader::{Booked, ReadError, Snapshot, Span};

/// Of a span with more periods than this each is not remembered by itself: it may be millennia without usage.
const MOST_REMEMBERED: usize = 1_100;

/// One state of the ledger.
pub(crate) struct Moment<S> {
    snapshot: S,
    /// What was read of it about whole periods. `None`: nothing was booked.
    read: Mutex<HashMap<(String, Period), Option<Booked>>>,
}

impl<S: Snapshot> Moment<S> {
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

    /// What was booked for an organization in these periods, oldest first. Periods without rows are left out.
    pub(crate) async fn booked(
        &self,
        organization: &str,
        cover: &[Span],
        states: &Cache<Known>,
    ) -> Result<Vec<Booked>, ReadError> {
        let mut found = Vec::new();
        let mut read = self.read.lock().await;
        for span in cover {
            if span.periods().nth(MOST_REMEMBERED).is_some() {
                let mut rows = self.snapshot.booked(organization, *span).await?;
                rows.sort_unstable_by_key(|row| row.period);
                found.extend(rows);
                continue;
            }
            let mut known = Vec::new();
            for period in span.periods() {
                let place = (organization.to_owned(), period);
                let booked = match read.get(&place) {
                    Some(booked) => Some(*booked),
                    None => states.get(self.key(&place)).map(|known| known.0),
                };
                let Some(booked) = booked else { break };
                known.push((place, booked));
            }
            if known.len() < span.periods().count() {
                let rows = self.snapshot.booked(organization, *span).await?;
                let rows: HashMap<Period, Booked> = rows.into_iter().map(|row| (row.period, row)).collect();
                let place = |period| ((organization.to_owned(), period), rows.get(&period).copied());
                known = span.periods().map(place).collect();
                for (place, booked) in &known {
                    states.put(self.key(place), Known(*booked));
                }
            }
            found.extend(known.iter().filter_map(|(_, booked)| *booked));
            read.extend(known);
        }
        Ok(found)
    }

    fn key(&self, place: &(String, Period)) -> CacheKey {
        CacheKey::of(&("booked", self.snapshot.freshness().mark, place))
    }
}
