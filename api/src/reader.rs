//! The port through which stored rows are read.
//!
//! One answer is about one [`Snapshot`], how fresh it is included: everything it asks is answered from the same
//! instant of the store, so that parents equal the sum of their children while writers run, and freshness is that of
//! the rows. Groups arrive as a stream, so that memory stays bounded however many users there are.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::Stream;
use rollup::counters::{Counter, Counters};
use rollup::kept::Kept;
use rollup::period::{Granularity, Period};

use crate::rows::{Dimension, Rows, dimensions};

/// Opens snapshots of a ledger.
pub trait Reader: Clone + Send + Sync + 'static {
    /// What is opened.
    type Snapshot: Snapshot;

    /// Opens a snapshot of all that is committed now, and reads how fresh it is.
    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot, ReadError>> + Send;
}

/// The ledger at one instant, as it was committed for good. It is to be had for as long as the store keeps it: then
/// reads fail with [`ReadError::Gone`]. Clones are the same snapshot. Its reads may have to wait for each other: a stream
/// of sums is read to its end, or dropped, before anything else is awaited.
pub trait Snapshot: Clone + Send + Sync + 'static {
    /// How fresh it is, and a version of all that it holds.
    fn freshness(&self) -> &Freshness;

    /// The same instant for another question. `None`: whoever asks opens a snapshot of its own.
    fn for_others(&self) -> Option<Self>;

    /// The sums of the rows that a query selects, one item per group. A group without rows has no item.
    fn sums(&self, query: Query) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static;

    /// The totals of an organization in each of these periods, in any order. A period without rows has
    /// no item.
    fn period_totals(
        &self,
        organization: &str,
        span: Span,
    ) -> impl Future<Output = Result<Vec<PeriodTotals>, ReadError>> + Send;

    /// How many events wait as dead letters that are counted in these days, by the code of the reason.
    fn rejected(
        &self,
        whose: &Whose,
        days: Span,
    ) -> impl Future<Output = Result<BTreeMap<String, u64>, ReadError>> + Send;

    /// The oldest and the newest day with rows.
    fn bounds(
        &self,
        scope: &Scope,
    ) -> impl Future<Output = Result<Option<(NaiveDate, NaiveDate)>, ReadError>> + Send;
}

/// What the fences and the description of the ledger say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The lanes that the source has, whether or not anything was ever read from them.
    pub lanes: Vec<Lane>,
    /// The granularities that were switched on later.
    pub later: Vec<Kept>,
    /// A version of the whole ledger: two snapshots with equal versions hold equal rows.
    pub version: Version,
    /// The same of its dead letters: with equal versions, the same ones wait.
    pub letters: Version,
    /// What the last comparison of rows with their entries has found, where there was one.
    pub verified: Option<Verified>,
}

/// Rows were compared with their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verified {
    /// When.
    pub at: DateTime<Utc>,
    /// The first day whose rows were compared.
    pub from: NaiveDate,
    /// The last one.
    pub to: NaiveDate,
    /// Whether every one of them was what its entries say.
    pub is_clean: bool,
}

/// One lane of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// The instant up to which everything that reached the lane is counted.
    pub watermark: Option<DateTime<Utc>>,
    /// Whether its history is still being taken in.
    pub scanning: bool,
    /// Spans of time whose events an operator accepted to lose.
    pub gaps: Vec<Gap>,
}

/// A span of time with events missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gap {
    /// Its begin.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
}

/// Stands for a state of rows: equal versions, equal rows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Version(pub [u8; 32]);

impl Debug for Version {
    /// In hexadecimal digits, written at once: keys of what is remembered are made of versions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self
            .0
            .map(|byte| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        f.write_str(str::from_utf8(digits.as_flattened()).unwrap_or_default())
    }
}

/// The totals of an organization in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodTotals {
    /// The period.
    pub period: Period,
    /// The sums.
    pub counters: Counters,
    /// A version of all rows of the organization in this period, of whatever marginal: two snapshots with equal
    /// versions hold equal rows there.
    pub version: Version,
}

/// Which rows are summed, and how they are grouped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The collection.
    pub rows: Rows,
    /// Whose rows.
    pub scope: Scope,
    /// The periods. They do not overlap, whatever their granularity.
    pub cover: Vec<Span>,
    /// Values that a dimension may have; a dimension that is not named may have any.
    pub filters: BTreeMap<Dimension, Vec<String>>,
    /// The dimensions of a group, in the order of its key.
    pub group_by: Vec<Dimension>,
    /// Whether each period is a group of its own.
    pub by_period: bool,
    /// Only these groups.
    pub keys: Option<Vec<Key>>,
    /// The counters that are summed. The others are zero.
    pub counters: Vec<Counter>,
    /// In which order the groups arrive. `None`: any.
    pub order: Option<Order>,
    /// More rows than this are not read: the stream ends with [`ReadError::TooManyRows`].
    pub row_limit: u64,
}

impl Query {
    /// Whether each row is a group by itself: those of one marginal and one organization are, where periods are kept
    /// apart and the groups are by all that the marginal is by.
    #[must_use]
    pub fn rows_are_groups(&self) -> bool {
        let (Rows::Rollups(marginal), Scope::Organizations(organizations)) = (self.rows, &self.scope) else {
            return false;
        };
        let is_one_period = matches!(self.cover.as_slice(), [span] if span.first == span.last);
        let mut own = dimensions(marginal).iter();
        organizations.len() == 1
            && (self.by_period || is_one_period)
            && self.keys.is_none()
            && own.all(|dimension| self.group_by.contains(dimension))
    }
}

/// Whose rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of these organizations.
    Organizations(Vec<String>),
    /// Everybody's, except for these organizations.
    AllExcept(Vec<String>),
}

/// Whose dead letters are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Those that name one of these organizations.
    Of(Scope),
    /// Those of which it could not be read whose they are.
    Nobody,
}

/// Consecutive periods of one granularity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first.
    pub first: Period,
    /// The last, included.
    pub last: Period,
}

impl Span {
    /// Days, both included.
    #[must_use]
    pub fn of_days(first: NaiveDate, last: NaiveDate) -> Self {
        Self {
            first: Period::holding(Granularity::Daily, first),
            last: Period::holding(Granularity::Daily, last),
        }
    }

    /// The hours of days, both included. Among them may be hours that a clock skipped: these have no rows.
    #[must_use]
    pub fn of_hours(first: NaiveDate, last: NaiveDate) -> Self {
        Self {
            first: Period::holding(Granularity::Hourly, first),
            last: Period::last_hour(last),
        }
    }

    /// Its periods, oldest first.
    pub fn periods(self) -> impl Iterator<Item = Period> {
        std::iter::successors(Some(self.first), |period| Some(period.next()))
            .take_while(move |period| *period <= self.last)
    }
}

/// The values of a group's dimensions.
pub type Key = Box<[Box<str>]>;

/// The sums of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The values of [`Query::group_by`].
    pub key: Key,
    /// The period, where groups are by period.
    pub period: Option<Period>,
    /// The sums.
    pub counters: Counters,
}

/// The largest first: by this counter, then by tokens, then by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order(pub Counter);

/// Why a read gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be reached, not in time, or refused or broke off the read. Asking again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The store keeps the snapshot no longer. The same can be asked of a newer one at once.
    #[error("the store keeps the snapshot no longer")]
    Gone(#[source] Arc<dyn Error + Send + Sync>),
    /// What is stored is not what this version stores.
    #[error("a stored row is malformed: {0}")]
    Malformed(String),
    /// More rows than [`Query::row_limit`].
    #[error("more than {0} rows would have to be read")]
    TooManyRows(u64),
    /// A sum does not fit 64 bits.
    #[error("the sum of `{}` does not fit 64 bits", .0.name())]
    Overflow(Counter),
}
