//! Asking one state of the ledger: from a question about days to sums per group.
//!
//! Rows are remembered under the version of their period: an event that arrives late changes the version, and with it
//! the answer.

mod context;
mod groups;
mod marginal_rows;
mod part;
mod view;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use rollup::counters::Sums;
use rollup::fold::Marginal;
use rollup::period::Period;

pub(crate) use self::context::{GroupQuery, QueryContext};
use self::groups::each_of;
pub(crate) use self::part::{Part, Reasons, Remembered};
pub(crate) use self::view::View;
use crate::cache::CacheKey;
use crate::key_interner::KeyInterner;
use crate::problem::Problem;
use crate::range::Range;
use crate::ranking::{Page, Position, RankedGroups, Sort, TopGroups};
use crate::reader::{Key, Scope, Snapshot};
use crate::rows::{Answering, Dimension, Filters, Rows, answering};

/// Where sums come from.
enum Source<'a> {
    /// The totals of one organization.
    Whole(&'a str),
    /// The remembered rows of one marginal of one organization.
    Marginal(&'a str, Marginal),
    /// Remembered groups of one organization.
    Groups(&'a str),
    /// The store: the rows of several organizations, and rows that are as quickly read as looked up.
    Store,
}

impl<S: Snapshot> QueryContext<S> {
    /// The sums over a range.
    pub(crate) async fn total(&self, range: Range, filters: &Filters) -> Result<Sums, Problem> {
        let mut total = Sums::default();
        let group_query = GroupQuery::groups(filters, &[]);
        self.each(range, &group_query, |_, _, sums| {
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
        group_query: &GroupQuery<'_>,
        mut take: impl FnMut(&Key, Option<Period>, &Sums) -> Result<(), Problem> + Send,
    ) -> Result<(), Problem> {
        let bucket = |period: Period| group_query.bucket.map(|bucket| period.widened(bucket));
        match self.source(group_query) {
            Source::Whole(organization) => {
                let query = self.query(range, group_query);
                let mut sums = BTreeMap::<_, Sums>::new();
                for totals in self.period_totals(organization, &query.cover).await? {
                    sums.entry(bucket(totals.period))
                        .or_default()
                        .add(&totals.counters);
                }
                let key: Key = Box::default();
                return sums
                    .iter()
                    .try_for_each(|(bucket, sums)| take(&key, *bucket, sums));
            }
            Source::Marginal(organization, marginal) => {
                if let Some(marginal_rows) = self
                    .marginal_rows(organization, marginal, range, group_query)
                    .await?
                {
                    return marginal_rows.each(group_query, take);
                }
            }
            Source::Groups(organization) => {
                if let Some(parts) = self.parts(organization, range, group_query).await? {
                    return each_of(&parts, group_query, take);
                }
            }
            Source::Store => {}
        }
        let mut stream = pin!(self.stream(range, group_query, None));
        while let Some(group) = stream.try_next().await? {
            let bucket = group.period.and_then(bucket);
            take(&group.key, bucket, &group.counters.into())?;
        }
        Ok(())
    }

    /// So many groups after a position, and what the others come to.
    pub(crate) async fn page(
        &self,
        range: Range,
        group_query: &GroupQuery<'_>,
        sort: Sort,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Problem> {
        if let Some(part) = self.ranked(range, group_query, sort).await?
            && let Some(ranked) = part.ranked()
        {
            return Ok(ranked.page(after.as_ref(), limit));
        }
        let mut top = TopGroups::new(sort, after, limit);
        self.each(range, group_query, |key, _, sums| Ok(top.take(key, sums)?))
            .await?;
        Ok(top.finish())
    }

    /// All groups with usage, ranked. `None`: they do not fit in memory, or are as quickly read as looked up.
    pub(crate) async fn ranked(
        &self,
        range: Range,
        group_query: &GroupQuery<'_>,
        sort: Sort,
    ) -> Result<Option<Arc<Part>>, Problem> {
        let (organization, marginal) = match self.source(group_query) {
            Source::Marginal(organization, marginal) => (organization, Some(marginal)),
            Source::Groups(organization) => (organization, None),
            Source::Whole(_) | Source::Store => return Ok(None),
        };
        let query = self.query(range, group_query);
        let version = self.version(organization, &query.cover).await?;
        let key = CacheKey::of(&(
            "ranked",
            sort,
            query,
            version,
            self.remembered.interners.edition(),
        ));
        let made = self.remembered.rankings.get_or_make(key, async {
            if let Some(marginal) = marginal {
                let marginal_rows = self
                    .marginal_rows(organization, marginal, range, group_query)
                    .await?;
                return Ok::<_, Problem>(match marginal_rows {
                    Some(marginal_rows) => Part::Ranked(marginal_rows.ranked(group_query, sort)?.into()),
                    None => Part::TooLarge,
                });
            }
            let Some(parts) = self.parts(organization, range, group_query).await? else {
                return Ok(Part::TooLarge);
            };
            let (mut found, mut counters) = (Vec::new(), Vec::new());
            each_of(&parts, group_query, |key, _, sums| {
                if !sums.is_zero() {
                    found.push(key.clone());
                    counters.push(sums.narrow()?);
                }
                Ok(())
            })?;
            let keys = Arc::<KeyInterner>::default();
            let groups: Vec<_> = keys.numbers(found).into_iter().zip(counters).collect();
            Ok(Part::Ranked(RankedGroups::of(sort, keys, &groups).into()))
        });
        let made = Box::pin(made).await?;
        Ok(made.ranked().is_some().then_some(made))
    }

    /// How many of these have requests, what no event named left out. `None`: it is not told apart from the
    /// other counters.
    pub(crate) async fn active(
        &self,
        range: Range,
        group_query: &GroupQuery<'_>,
    ) -> Result<Option<u64>, Problem> {
        match self.source(group_query) {
            Source::Marginal(organization, marginal) if group_query.filters.is_empty() => {
                let marginal_rows = self
                    .marginal_rows(organization, marginal, range, group_query)
                    .await?;
                Ok(marginal_rows.and_then(|marginal_rows| marginal_rows.active()))
            }
            _ => Ok(None),
        }
    }

    /// Where the sums come from. Not worth to be remembered are the rows of one user: they are as quickly
    /// read.
    fn source(&self, group_query: &GroupQuery<'_>) -> Source<'_> {
        let Scope::Organizations(organizations) = &self.scope else {
            return Source::Store;
        };
        let [organization] = organizations.as_slice() else {
            return Source::Store;
        };
        if group_query.group_by.contains(&Dimension::Organization) {
            return Source::Store;
        }
        let Answering { rows, are_few } = answering(group_query.filters, group_query.group_by);
        let once = !group_query.is_worth_remembering;
        match rows {
            Rows::Rollups(Marginal::Organization) => Source::Whole(organization),
            Rows::Rollups(Marginal::User) if once && group_query.filters.contains_key(&Dimension::User) => {
                Source::Store
            }
            Rows::Ledger if once && are_few => Source::Store,
            Rows::Rollups(marginal) => Source::Marginal(organization, marginal),
            Rows::Ledger => Source::Groups(organization),
        }
    }
}
