//! Many events to few rows.
//!
//! A [`Fold`] holds one row per distinct (finest period, dimensions): events only touch that row. The
//! other granularities and the rollups are sums of those rows, so they are made once, when the fold is
//! closed into a [`Delta`], and cannot disagree with it. This is why parents equal the sum of their children.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use chrono::DateTime;
use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};

use crate::counters::{Overflow, Sums};
use crate::event::{Dimensions, Event};
use crate::key;
pub use crate::marginal::Marginal;
use crate::period::{Calendar, Granularity, Period};

/// Which rows an event is booked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    calendar: Calendar,
    /// Sorted, without repetition, with [`Granularity::Daily`] among them.
    granularities: Vec<Granularity>,
}

/// The granularities do not contain `daily`, which totals are computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `daily` among the granularities: totals are computed from days")]
pub struct DailyMissing;

impl Grouping {
    /// Books to these granularities, in this calendar.
    ///
    /// # Errors
    /// When `daily` is missing.
    pub fn new(calendar: Calendar, granularities: &[Granularity]) -> Result<Self, DailyMissing> {
        let mut granularities = granularities.to_vec();
        granularities.sort_unstable();
        granularities.dedup();
        if granularities.contains(&Granularity::Daily) {
            Ok(Self {
                calendar,
                granularities,
            })
        } else {
            Err(DailyMissing)
        }
    }

    /// The calendar of the ledger's zone.
    #[must_use]
    pub const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The granularities, finest first.
    #[must_use]
    pub fn granularities(&self) -> &[Granularity] {
        &self.granularities
    }

    /// The finest granularity.
    #[must_use]
    pub fn finest(&self) -> Granularity {
        self.granularities[0]
    }
}

impl Default for Grouping {
    /// Days, weeks and months of UTC.
    fn default() -> Self {
        Self {
            calendar: Calendar::UTC,
            granularities: vec![Granularity::Daily, Granularity::Weekly, Granularity::Monthly],
        }
    }
}

/// The change of one row: sums, and the first and last completion (ms).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDelta {
    /// Exact sums.
    pub sums: Sums,
    /// The earliest completion, in milliseconds.
    pub first_event_ms: i64,
    /// The latest completion, in milliseconds.
    pub last_event_ms: i64,
}

impl RowDelta {
    /// Nothing, at no time: whatever it is added to stays as it is.
    pub const NOTHING: Self = Self {
        sums: Sums::ZERO,
        first_event_ms: i64::MAX,
        last_event_ms: i64::MIN,
    };

    /// Adds other bookings.
    pub fn merge(&mut self, other: &RowDelta) {
        self.sums.merge(&other.sums);
        self.first_event_ms = self.first_event_ms.min(other.first_event_ms);
        self.last_event_ms = self.last_event_ms.max(other.last_event_ms);
    }
}

/// A row of the ledger to be added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The period.
    pub period: Period,
    /// Who used what.
    pub dimensions: Dimensions<Box<str>>,
    /// What is added.
    pub booked: RowDelta,
}

/// A rollup to be added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupRow {
    /// The period.
    pub period: Period,
    /// Whose usage.
    pub organization: Box<str>,
    /// Which marginal.
    pub marginal: Marginal,
    /// The agent, model, user, source or organization.
    pub value: Box<str>,
    /// The provider, where the marginal is [`Marginal::Model`].
    pub provider: Option<Box<str>>,
    /// What is added.
    pub booked: RowDelta,
}

/// Everything that one commit adds to the stored rows, by `_id` and in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Rows of the ledger.
    pub ledger: BTreeMap<String, LedgerRow>,
    /// Rollups.
    pub rollups: BTreeMap<String, RollupRow>,
}

impl Delta {
    /// Checks that each sum fits a stored counter.
    ///
    /// # Errors
    /// Names the first counter that does not.
    pub fn check(&self) -> Result<(), Overflow> {
        let ledger = self.ledger.values().map(|row| &row.booked);
        let rollups = self.rollups.values().map(|row| &row.booked);
        ledger
            .chain(rollups)
            .try_for_each(|booked| booked.sums.narrow().map(drop))
    }

    /// Adds a row of the finest of these granularities to all rows and rollups that it is a part of: itself, and its
    /// parents.
    pub fn book(
        &mut self,
        granularities: &[Granularity],
        period: Period,
        dimensions: &Dimensions<Box<str>>,
        booked: &RowDelta,
    ) {
        for &granularity in granularities {
            let period = period.widened(granularity);
            self.add_row(period, dimensions, booked);
            for marginal in Marginal::ALL {
                self.add_rollup(period, dimensions, marginal, booked);
            }
        }
    }

    /// Adds to a row.
    pub fn add_row(&mut self, period: Period, dimensions: &Dimensions<Box<str>>, booked: &RowDelta) {
        self.ledger
            .entry(key::ledger(period, dimensions))
            .and_modify(|row| row.booked.merge(booked))
            .or_insert_with(|| LedgerRow {
                period,
                dimensions: dimensions.clone(),
                booked: *booked,
            });
    }

    fn add_rollup(
        &mut self,
        period: Period,
        dimensions: &Dimensions<Box<str>>,
        marginal: Marginal,
        booked: &RowDelta,
    ) {
        let (value, provider) = marginal.of(dimensions);
        let provider = provider.map(|provider| &**provider);
        self.rollups
            .entry(key::rollup(
                &dimensions.organization,
                period,
                marginal,
                value,
                provider,
            ))
            .and_modify(|row| row.booked.merge(booked))
            .or_insert_with(|| RollupRow {
                period,
                organization: dimensions.organization.clone(),
                marginal,
                value: value.clone(),
                provider: provider.map(Into::into),
                booked: *booked,
            });
    }
}

/// Events folded into rows of the finest granularity.
#[derive(Debug, Clone)]
pub struct Fold {
    grouping: Grouping,
    hasher: DefaultHashBuilder,
    index: HashTable<usize>,
    rows: Vec<LedgerRow>,
    /// The rollups of the finest granularity, by their hashes: to know how many there are.
    rollups: HashSet<u64, BuildHasherDefault<Hashed>>,
}

/// What is a hash already.
#[derive(Debug, Clone, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The instant of an event lies outside the calendar: it was folded without being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the completion at {0} ms is outside the calendar")]
pub struct OutsideCalendar(pub i64);

impl Fold {
    /// A fold without events.
    #[must_use]
    pub fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            rows: Vec::new(),
            rollups: HashSet::default(),
        }
    }

    /// Adds one event. Which of the [rows](Fold::rows) it was added to.
    ///
    /// # Errors
    /// When its instant is outside the calendar, which no event is that was checked.
    pub fn add(&mut self, event: &Event<'_>) -> Result<usize, OutsideCalendar> {
        let at_ms = event.completed_at_ms;
        let instant = DateTime::from_timestamp_millis(at_ms).ok_or(OutsideCalendar(at_ms))?;
        let period = self.grouping.calendar.period_of(self.grouping.finest(), instant);
        let booked = RowDelta {
            sums: event.counters.into(),
            first_event_ms: at_ms,
            last_event_ms: at_ms,
        };
        let rows = &mut self.rows;
        let hasher = &self.hasher;
        let entry = self.index.entry(
            hash(hasher, period, &event.dimensions),
            |at| rows[*at].period == period && same(&rows[*at].dimensions, &event.dimensions),
            |at| hash(hasher, rows[*at].period, &rows[*at].dimensions),
        );
        match entry {
            Entry::Occupied(at) => {
                rows[*at.get()].booked.merge(&booked);
                Ok(*at.get())
            }
            Entry::Vacant(slot) => {
                slot.insert(rows.len());
                let dimensions = event
                    .dimensions
                    .map(|text: &Cow<'_, str>| Box::from(text.as_ref()));
                for marginal in Marginal::ALL {
                    let (value, provider) = marginal.of(&dimensions);
                    let rollup = (period, &dimensions.organization, marginal, value, provider);
                    self.rollups.insert(hasher.hash_one(rollup));
                }
                rows.push(LedgerRow {
                    period,
                    dimensions,
                    booked,
                });
                Ok(rows.len() - 1)
            }
        }
    }

    /// Which rows events are booked to.
    #[must_use]
    pub const fn grouping(&self) -> &Grouping {
        &self.grouping
    }

    /// The granularity of the rows.
    #[must_use]
    pub fn finest(&self) -> Granularity {
        self.grouping.finest()
    }

    /// The rows, all of the finest granularity, in the order of their first events.
    #[must_use]
    pub fn rows(&self) -> &[LedgerRow] {
        &self.rows
    }

    /// An upper bound of the rows and rollups that this fold adds to, over all granularities: a commit has a statement
    /// for each.
    #[must_use]
    pub fn statements(&self) -> usize {
        (self.rows.len() + self.rollups.len()) * self.grouping.granularities.len()
    }

    /// Adds this fold to what a commit adds: every granularity, and every marginal of each.
    pub fn close_into(&self, delta: &mut Delta) {
        let granularities = &self.grouping.granularities;
        for row in &self.rows {
            delta.book(granularities, row.period, &row.dimensions, &row.booked);
        }
    }
}

fn hash<S: AsRef<str>>(hasher: &DefaultHashBuilder, period: Period, dimensions: &Dimensions<S>) -> u64 {
    let mut state = hasher.build_hasher();
    period.hash(&mut state);
    dimensions.map(|text| text.as_ref().hash(&mut state));
    dimensions.kind.hash(&mut state);
    state.finish()
}

fn same(row: &Dimensions<Box<str>>, event: &Dimensions<Cow<'_, str>>) -> bool {
    // The parts that differ most often come first.
    *row.user == *event.user
        && *row.agent == *event.agent
        && *row.model == *event.model
        && *row.organization == *event.organization
        && *row.provider == *event.provider
        && *row.team == *event.team
        && *row.api_key == *event.api_key
        && *row.source == *event.source
        && row.kind == event.kind
}

#[cfg(test)]
mod tests;
