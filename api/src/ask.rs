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
use rollup::period::{Granularity, Period};
use tokio::sync::{Mutex, OnceCell};

use crate::bucket::cover;
use crate::by::rows_for;
use crate::cache::{Cache, CacheKey, Weighed};
use crate::problem::Problem;
use crate::question::Filters;
use crate::range::Range;
use crate::ranking::{Page, Position, Ranked, Ranking, Sort};
use crate::reader::{
    Dimension, Freshness, Group, Key, Mark, Order, Query, ReadError, Rows, Scope, Snapshot, Span,
};

/// Remembered sums, by what was asked and the mark of the rows.
pub(crate) type Parts = Cache<Part>;

/// What is remembered of a range.
pub(crate) enum Part {
    /// Every group of a part of it.
    Groups(Vec<Group>),
    /// Every group with usage of the whole of it, ranked.
    Ranked(Vec<Ranked>),
    /// More groups than are kept in memory.
    TooLarge,
}

impl Part {
    /// The groups, as far as they are held.
    pub(crate) fn groups(&self) -> &[Group] {
        match self {
            Part::Groups(groups) => groups,
            Part::Ranked(_) | Part::TooLarge => &[],
        }
    }

    /// The ranked groups, as far as they are held.
    pub(crate) fn ranked(&self) -> &[Ranked] {
        match self {
            Part::Ranked(ranked) => ranked,
            Part::Groups(_) | Part::TooLarge => &[],
        }
    }
}

impl Weighed for Part {
    fn weight(&self) -> usize {
        let groups: usize = self.groups().iter().map(group_bytes).sum();
        let ranked = self.ranked().iter();
        let ranked: usize = ranked
            .map(|ranked| size_of::<Ranked>() + key_bytes(&ranked.position.key))
            .sum();
        groups + ranked
    }
}

fn group_bytes(group: &Group) -> usize {
    size_of::<Group>() + key_bytes(&group.key)
}

fn key_bytes(key: &Key) -> usize {
    key.iter().map(|part| part.len() + size_of::<Box<str>>()).sum()
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

    /// So many groups after a position, and what the others come to.
    pub(crate) async fn page(
        &self,
        range: Range,
        sought: &Sought<'_>,
        sort: Sort,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Problem> {
        if let Some(part) = self.ranked(range, sought, sort).await? {
            return Ok(Page::of(part.ranked(), after.as_ref(), limit));
        }
        let mut ranking = Ranking::new(sort, after, limit);
        self.each(range, sought, |key, _, sums| Ok(ranking.take(key, sums)?))
            .await?;
        Ok(ranking.finish())
    }

    /// All groups with usage, ranked. `None`: they do not fit in memory, or are as quickly read as looked up.
    pub(crate) async fn ranked(
        &self,
        range: Range,
        sought: &Sought<'_>,
        sort: Sort,
    ) -> Result<Option<Arc<Part>>, Problem> {
        let Some(organization) = self.remembered(sought) else {
            return Ok(None);
        };
        let mut depends_on = Vec::new();
        for range in self.split(range) {
            let query = self.query(range, sought);
            let mark = self.mark(organization, &query.cover).await?;
            depends_on.push((query, mark));
        }
        let key = CacheKey::of(&(sort, depends_on));
        let made = self.parts.get_or_make(key, async {
            if self.parts(range, sought).await?.is_none() {
                return Ok::<_, Problem>(Part::TooLarge);
            }
            let mut ranked = Vec::new();
            self.each(range, sought, |key, _, sums| {
                if !sums.is_zero() {
                    ranked.push(Ranked::new(sort, key.clone(), sums.narrow()?));
                }
                Ok(())
            })
            .await?;
            ranked.sort_unstable();
            Ok(Part::Ranked(ranked))
        });
        let made = Box::pin(made).await?;
        Ok(matches!(*made, Part::Ranked(_)).then_some(made))
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
        let Some(organization) = self.remembered(sought) else {
            return Ok(None);
        };
        let mut parts = Vec::new();
        for range in self.split(range) {
            parts.push(Box::pin(self.part(organization, self.query(range, sought))).await?);
        }
        let fits = parts.iter().all(|part| matches!(**part, Part::Groups(_)));
        Ok(fits.then_some(parts))
    }

    /// The days before today, and those from today on.
    fn split(&self, range: Range) -> impl Iterator<Item = Range> + use<S> {
        let (past, current) = range.split(self.today);
        past.into_iter().chain(current)
    }

    /// Whose sums these are, where it is worth to remember them: those of one organization that are not read
    /// as quickly as looked up. One row per period is, and so are rows that a filter names.
    fn remembered(&self, sought: &Sought<'_>) -> Option<&str> {
        let Scope::Organizations(organizations) = &self.scope else {
            return None;
        };
        let [organization] = organizations.as_slice() else {
            return None;
        };
        let dimensions = sought.filters.keys().chain(sought.group_by).copied();
        let is_few = match rows_for(dimensions) {
            Rows::Rollups(set) => Dimension::of(set).is_none_or(|own| sought.filters.contains_key(&own)),
            Rows::Ledger => sought.filters.contains_key(&Dimension::User),
        };
        (!is_few).then_some(organization)
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
