//! The state of the ledger that an answer is about.
//!
//! Its version is known from the start. Nothing is read that is remembered of a state with this version. The
//! snapshot is opened only when something must be read; when the ledger has moved on by then, nothing that was
//! remembered of the older state may be put beside it: the answer begins again, from what the snapshot holds.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use rollup::period::Period;
use tokio::sync::{Mutex, OnceCell};

use super::part::Known;
use crate::cache::{Cache, CacheKey};
use crate::reader::{PeriodTotals, ReadError, Snapshot, Span, Version};

/// Of a span with more periods than this each is not remembered by itself: it may be millennia without usage.
const MOST_REMEMBERED: usize = 1_100;

/// Opens a snapshot of all that is committed now.
pub(crate) type Opener<S> = Arc<dyn Fn() -> BoxFuture<'static, Result<S, ReadError>> + Send + Sync>;

/// One state of the ledger.
pub(crate) struct View<S> {
    version: Version,
    open: Opener<S>,
    snapshot: OnceCell<S>,
    /// A snapshot that turned out to be of another state.
    newer: OnceLock<(S, Version)>,
    /// The totals of periods that were read of it. `None`: the period has no rows.
    read: Mutex<HashMap<(String, Period), Option<PeriodTotals>>>,
}

impl<S: Snapshot> View<S> {
    /// The state with this version, of which nothing has to be read yet.
    pub(crate) fn at(version: Version, open: Opener<S>) -> Self {
        Self {
            version,
            open,
            snapshot: OnceCell::new(),
            newer: OnceLock::new(),
            read: Mutex::default(),
        }
    }

    /// The state of now.
    pub(crate) async fn now(open: Opener<S>) -> Result<Self, ReadError> {
        let snapshot = open().await?;
        let version = snapshot.version().await?;
        Ok(Self::of(snapshot, version, open))
    }

    fn of(snapshot: S, version: Version, open: Opener<S>) -> Self {
        Self {
            snapshot: OnceCell::new_with(Some(snapshot)),
            ..Self::at(version, open)
        }
    }

    /// The state that was met in place of this one, where an answer failed for it.
    pub(crate) fn newer(&self) -> Option<Self> {
        let (snapshot, version) = self.newer.get()?;
        Some(Self::of(snapshot.clone(), *version, Arc::clone(&self.open)))
    }

    /// The snapshot of this state.
    ///
    /// # Errors
    /// Also when the ledger is in another state by now: see [`View::newer`].
    pub(crate) async fn snapshot(&self) -> Result<&S, ReadError> {
        let opened = self.snapshot.get_or_try_init(async || {
            let snapshot = (self.open)().await?;
            let version = snapshot.version().await?;
            if version == self.version {
                return Ok(snapshot);
            }
            // Only the first is of use: whoever failed for it fails the whole answer.
            self.newer.get_or_init(|| (snapshot, version));
            Err(ReadError::Moved)
        });
        opened.await
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
                let mut rows = self.snapshot().await?.period_totals(organization, *span).await?;
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
                let rows = self.snapshot().await?.period_totals(organization, *span).await?;
                let rows: HashMap<Period, PeriodTotals> =
                    rows.into_iter().map(|row| (row.period, row)).collect();
                let place = |period| ((organization.to_owned(), period), rows.get(&period).copied());
                known = span.periods().map(place).collect();
            }
            found.extend(known.iter().filter_map(|(_, totals)| *totals));
            read.extend(known);
        }
        Ok(found)
    }

    /// Ends the snapshot, where there is one. Only then what was read of whole periods is remembered: until
    /// then it might be something that a failing server takes back.
    pub(crate) async fn finish(&self, states: &Cache<Known>) -> Result<(), ReadError> {
        let Some(snapshot) = self.snapshot.get() else {
            return Ok(());
        };
        snapshot.clone().finish().await?;
        for (place, totals) in self.read.lock().await.drain() {
            let key = self.key(&place);
            states.put(key, Known(totals));
        }
        Ok(())
    }

    fn key(&self, place: &(String, Period)) -> CacheKey {
        CacheKey::of(&("booked", self.version, place))
    }
}
