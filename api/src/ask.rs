//! Asking one snapshot: from a question about days to sums per group.
//!
//! A range is split at today. The days before rarely change, so their sums are remembered under the mark
//! of their rows; an event that arrives late changes the mark, and with it the answer.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::{Stream, TryStreamExt};
use rollup::counters::{Counter, Sums};
use rollup::fold::Set;
use rollup::period::{Granularity, Period};
use tokio::sync::{Mutex, OnceCell};

use crate::bucket::cover;
use crate::by::rows_for;
use crate::cache::{Cache, CacheKey, Weighed};
use crate::problem::Problem;
use crate::question::Filters;
use crate::range::Range;
use crate::reader::{
    Dimension, Freshness, Group, Key, Mark, Order, Query, ReadError, Rows, Scope, Snapshot, Span,
};

/// Remembered sums, by what was asked and the mark of the rows.
pub(crate) type Parts = Cache<Part>;

/// The sums of a part of a range.
pub(crate) enum Part {
    /// Every group.
    Groups(Vec<Group>),
    /// More groups than are kept in memory.
    TooLarge,
}

impl Part {
    /// The groups, as far as they are held.
    pub(crate) fn groups(&self) -> &[Group] {
        match self {
            Part::Groups(groups) => groups,
            Part::TooLarge => &[],
        }
    }
}

impl Weighed for Part {
    fn weight(&self) -> usize {
        self.groups().iter().map(group_bytes).sum()
    }
}

fn group_bytes(group: &Group) -> usize {
    let key: usize = group
        .key
        .iter()
        .map(|part| part.len() + size_of::<Box<str>>())
        .sum();
    size_of::<Group>() + key
}

/// What is sought in a range.
#[derive(Debug, Clone)]
pub(crate) struct Sought<'a> {
    pub(crate) filters: &'a Filters,
    pub(crate) group_by: &'a [Dimension],
    /// Sums per bucket of this length.
    pub(crate) bucket: Option<Granularity>,
    /// Only these groups.
    pub(crate) keys: Option<Vec<Key>>,
    pub(crate) counters: &'a [Counter],
}

impl<'a> Sought<'a> {
    /// Every counter of every group.
    pub(crate) fn groups(filters: &'a Filters, group_by: &'a [Dimension]) -> Self {
        Self {
            filters,
            group_by,
            bucket: None,
            keys: None,
            counters: &Counter::ALL,
        }
    }
}

/// One question to one snapshot.
pub(crate) struct Ask<S> {
    pub(crate) snapshot: S,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) scope: Scope,
    pub(crate) today: NaiveDate,
    /// The name of the ledger's time zone.
    pub(crate) zone: &'static str,
    pub(crate) granularities: Arc<[Granularity]>,
    pub(crate) row_limit: u64,
    pub(crate) parts: Arc<Parts>,
    pub(crate) marks: Mutex<HashMap<Vec<Span>, Arc<OnceCell<Mark>>>>,
}

impl<S: Snapshot> Ask<S> {
    /// The sums over a range.
    pub(crate) async fn total(&self, range: Range, filters: &Filters) -> Result<Sums, Problem> {
        let mut total = Sums::default();
        let sought = Sought::groups(filters, &[]);
        self.each(range, &sought, |_, _, sums| {
            total.merge(sums);
            Ok(())
        })
        .await?;
        Ok(total)
    }

    /// Hands over every group, in any order: once, or where sums are per bucket in pieces that add up.
    pub(crate) async fn each(
        &self,
        range: Range,
        sought: &Sought<'_>,
        mut take: impl FnMut(&Key, Option<Period>, &Sums) -> Result<(), Problem> + Send,
    ) -> Result<(), Problem> {
        let bucket = |group: &Group| Some(group.period?.widened(sought.bucket?));
        let Some(parts) = self.parts(range, sought).await? else {
            let mut stream = pin!(self.stream(range, sought, None));
            while let Some(group) = stream.try_next().await? {
                take(&group.key, bucket(&group), &group.counters.into())?;
            }
            return Ok(());
        };
        let mut groups = parts.iter().flat_map(|part| part.groups());
        if sought.bucket.is_some() || parts.len() == 1 {
            return groups.try_for_each(|group| take(&group.key, bucket(group), &group.counters.into()));
        }
        let mut merged: HashMap<&Key, Sums> = HashMap::new();
        for group in groups {
            merged.entry(&group.key).or_default().add(&group.counters);
        }
        merged
            .into_iter()
            .try_for_each(|(key, sums)| take(key, None, &sums))
    }

    /// The groups straight from the store, over the whole range.
    pub(crate) fn stream(
        &self,
        range: Range,
        sought: &Sought<'_>,
        order: Option<Order>,
    ) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
        let query = Query {
            order,
            ..self.query(range, sought)
        };
        self.snapshot.sums(query)
    }

    /// The parts of a range, remembered ones among them. `None`: they do not fit in memory, or are as
    /// quickly read as looked up.
    pub(crate) async fn parts(
        &self,
        range: Range,
        sought: &Sought<'_>,
    ) -> Result<Option<Vec<Arc<Part>>>, Problem> {
        let Scope::Organizations(organizations) = &self.scope else {
            return Ok(None);
        };
        let ([organization], false) = (organizations.as_slice(), is_total(sought)) else {
            return Ok(None);
        };
        let (past, current) = range.split(self.today);
        let part = async |range: Option<Range>| match range {
            Some(range) => Box::pin(self.part(organization, self.query(range, sought)))
                .await
                .map(Some),
            None => Ok(None),
        };
        let (past, current) = tokio::try_join!(part(past), part(current))?;
        let parts: Vec<_> = past.into_iter().chain(current).collect();
        let fits = parts.iter().all(|part| matches!(**part, Part::Groups(_)));
        Ok(fits.then_some(parts))
    }

    async fn part(&self, organization: &str, query: Query) -> Result<Arc<Part>, Problem> {
        let mark = self.mark(organization, &query.cover).await?;
        let key = CacheKey::of(&(&query, mark));
        let made = self.parts.get_or_make(key, async {
            let (mut groups, mut bytes) = (Vec::new(), 0);
            let mut stream = pin!(self.snapshot.sums(query));
            while let Some(group) = stream.try_next().await? {
                bytes += group_bytes(&group);
                if bytes <= self.parts.largest() {
                    groups.push(group);
                } else {
                    // Read on all the same: whether there are too many rows shows at the end.
                    groups = Vec::new();
                }
            }
            let fits = bytes <= self.parts.largest();
            Ok(if fits {
                Part::Groups(groups)
            } else {
                Part::TooLarge
            })
        });
        made.await
    }

    /// The mark of an organization's rows in these periods, read once for all that asks for it.
    async fn mark(&self, organization: &str, cover: &[Span]) -> Result<Mark, ReadError> {
        let cell = Arc::clone(self.marks.lock().await.entry(cover.to_vec()).or_default());
        cell.get_or_try_init(|| self.snapshot.mark(organization, cover))
            .await
            .copied()
    }

    fn query(&self, range: Range, sought: &Sought<'_>) -> Query {
        let dimensions = sought.filters.keys().chain(sought.group_by).copied();
        Query {
            rows: rows_for(dimensions),
            scope: self.scope.clone(),
            cover: cover(range, &self.granularities, sought.bucket),
            filters: sought.filters.clone(),
            group_by: sought.group_by.to_vec(),
            by_period: sought.bucket.is_some(),
            keys: sought.keys.clone(),
            counters: sought.counters.to_vec(),
            order: None,
            row_limit: self.row_limit,
        }
    }
}

/// Whether one row per period answers it.
fn is_total(sought: &Sought<'_>) -> bool {
    let dimensions = sought.filters.keys().chain(sought.group_by).copied();
    rows_for(dimensions) == Rows::Rollups(Set::Organization)
}
