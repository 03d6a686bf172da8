//! The rows of one marginal, period by period: any question about the marginal is a sum of them.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use rollup::counters::{Counter, Overflow, Sums};
use rollup::fold::Marginal;
use rollup::period::{Granularity, Period};

use super::context::{GroupQuery, QueryContext};
use super::part::Part;
use crate::cache::CacheKey;
use crate::key_interner::KeyInterner;
use crate::period_columns::{Merged, Numbers, Rows};
use crate::problem::Problem;
use crate::range::Range;
use crate::ranking::{RankedGroups, Sort};
use crate::reader::{Key, PeriodTotals, Query, ReadError, Snapshot, Span};
use crate::rows::{self, Dimension, Filters, dimensions};

/// The rows of the periods that cover a range.
pub(crate) struct MarginalRows {
    marginal: Marginal,
    keys: Arc<KeyInterner>,
    /// The periods and their rows, oldest first.
    parts: Vec<(Period, Arc<Part>)>,
}

impl<S: Snapshot> QueryContext<S> {
    /// The rows of a marginal over a range. `None`: they do not fit in memory together.
    pub(super) async fn marginal_rows(
        &self,
        organization: &str,
        marginal: Marginal,
        range: Range,
        group_query: &GroupQuery<'_>,
    ) -> Result<Option<MarginalRows>, Problem> {
        let cover = self.query(range, group_query).cover;
        let totals = self.period_totals(organization, &cover).await?;
        if totals.is_empty() {
            // Whatever name somebody asks for: nothing is kept of it.
            return Ok(Some(MarginalRows {
                marginal,
                keys: Arc::default(),
                parts: Vec::new(),
            }));
        }
        let Some((keys, edition)) = self.remembered.interner(organization, marginal) else {
            return Ok(None);
        };
        let key = |of: &PeriodTotals| {
            CacheKey::of(&("columns", organization, marginal, of.period, of.version, edition))
        };
        let periods: Vec<(Period, CacheKey)> = totals.iter().map(|of| (of.period, key(of))).collect();
        for span in read_at_once(marginal, &cover) {
            self.read_ahead(marginal, span, &periods, &keys).await?;
        }
        let (mut parts, mut rows, mut bytes) = (Vec::new(), 0, 0);
        for (period, key) in periods {
            let made = self
                .remembered
                .parts
                .get_or_make(key, self.period_columns(marginal, period, &keys));
            let part = Box::pin(made).await?;
            let Some(columns) = part.period_columns() else {
                return Ok(None);
            };
            rows += columns.len() as u64;
            bytes += columns.bytes();
            if rows > self.row_limit {
                let are_all_sought = group_query.filters.is_empty() && group_query.keys.is_none();
                if are_all_sought {
                    return Err(ReadError::TooManyRows(self.row_limit).into());
                }
                // The store counts those that are.
                return Ok(None);
            }
            if bytes > self.remembered.parts.capacity() {
                return Ok(None);
            }
            parts.push((period, part));
        }
        Ok(Some(MarginalRows {
            marginal,
            keys,
            parts,
        }))
    }

    /// Reads the periods of a span that are not remembered, where there are several, with one question.
    async fn read_ahead(
        &self,
        marginal: Marginal,
        span: Span,
        periods: &[(Period, CacheKey)],
        keys: &KeyInterner,
    ) -> Result<(), Problem> {
        let parts = &self.remembered.parts;
        let is_missing = |(period, key): &&(Period, CacheKey)| {
            span.first <= *period && *period <= span.last && parts.get(*key).is_none()
        };
        let missing: Vec<(Period, CacheKey)> = periods.iter().filter(is_missing).copied().collect();
        let [(first, _), .., (last, _)] = missing.as_slice() else {
            return Ok(());
        };
        let span = Span {
            first: *first,
            last: *last,
        };
        let made = parts.get_or_make(CacheKey::of(&("ahead", &missing)), async {
            let mut found: HashMap<Period, Rows> = HashMap::new();
            let mut bytes = 0;
            let mut groups = pin!(self.snapshot().sums(self.rows_of(marginal, span)));
            while let Some(group) = groups.try_next().await? {
                let Some(period) = group.period else { continue };
                bytes += Rows::bytes_of(&group.key);
                if bytes > parts.largest() {
                    return Ok::<_, Problem>(Part::TooLarge);
                }
                found.entry(period).or_default().push(group.key, &group.counters);
            }
            for (period, key) in &missing {
                let columns = found.remove(period).unwrap_or_default().finish(keys);
                if self.remembered.interners.holds(keys) {
                    parts.put(*key, Part::PeriodColumns(columns.into()));
                }
            }
            Ok(Part::Ahead)
        });
        Box::pin(made).await.map(drop)
    }

    /// Reads the rows of one period.
    async fn period_columns(
        &self,
        marginal: Marginal,
        period: Period,
        keys: &KeyInterner,
    ) -> Result<Part, Problem> {
        let span = Span {
            first: period,
            last: period,
        };
        let query = self.rows_of(marginal, span);
        let mut rows = Rows::default();
        let mut groups = pin!(self.snapshot().sums(query));
        while let Some(group) = groups.try_next().await? {
            rows.push(group.key, &group.counters);
            if rows.bytes() > self.remembered.parts.largest() {
                return Ok(Part::TooLarge);
            }
        }
        let columns = rows.finish(keys);
        let fits = self.remembered.interners.holds(keys);
        Ok(if fits {
            Part::PeriodColumns(columns.into())
        } else {
            Part::TooLarge
        })
    }

    fn rows_of(&self, marginal: Marginal, span: Span) -> Query {
        Query {
            rows: rows::Rows::Rollups(marginal),
            scope: self.scope.clone(),
            cover: vec![span],
            filters: Filters::new(),
            group_by: dimensions(marginal).to_vec(),
            by_period: true,
            keys: None,
            counters: Counter::ALL.to_vec(),
            order: None,
            row_limit: self.row_limit,
        }
    }
}

impl MarginalRows {
    /// Hands over every group that is sought, once for each bucket.
    pub(super) fn each(
        &self,
        group_query: &GroupQuery<'_>,
        mut take: impl FnMut(&Key, Option<Period>, &Sums) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let bucket = |period: Period| group_query.bucket.map(|bucket| period.widened(bucket));
        let same = |one: &(Period, _), other: &(Period, _)| bucket(one.0) == bucket(other.0);
        let own = dimensions(self.marginal);
        let wanted = Wanted::of(own, group_query);
        let interned = self.keys.interned();
        for parts in self.parts.chunk_by(same) {
            let bucket = bucket(parts[0].0);
            let merged = merged(parts, group_query);
            let mut rows = merged
                .iter()
                .map(|(number, sums)| (interned.key(number), sums))
                .filter(|(key, _)| wanted.has_row(key));
            if group_query.group_by == own {
                rows.filter(|(key, _)| wanted.has_group(key))
                    .try_for_each(|(key, sums)| take(key, bucket, &sums))?;
                continue;
            }
            // The keys of the groups have fewer parts than those of the rows.
            let mut groups: HashMap<Key, Sums> = HashMap::new();
            for (key, sums) in rows.by_ref() {
                let place = |dimension| own.iter().position(|own| own == dimension);
                let key = group_query
                    .group_by
                    .iter()
                    .filter_map(place)
                    .map(|at| key[at].clone());
                groups.entry(key.collect()).or_default().merge(&sums);
            }
            groups
                .iter()
                .filter(|(key, _)| wanted.has_group(key))
                .try_for_each(|(key, sums)| take(key, bucket, sums))?;
        }
        Ok(())
    }

    /// Every group with usage that is sought, ranked. The groups are by what the rows are by.
    pub(super) fn ranked(&self, group_query: &GroupQuery<'_>, sort: Sort) -> Result<RankedGroups, Overflow> {
        let wanted = Wanted::of(dimensions(self.marginal), group_query);
        let mut groups = Vec::new();
        let interned = self.keys.interned();
        for (number, sums) in merged(&self.parts, group_query).iter() {
            let key = interned.key(number);
            if !sums.is_zero() && wanted.has_row(key) && wanted.has_group(key) {
                groups.push((number, sums.narrow()?));
            }
        }
        drop(interned);
        Ok(RankedGroups::of(sort, Arc::clone(&self.keys), &groups))
    }

    /// How many keys have requests, what no event named left out. `None`: requests were taken back, so that it
    /// takes sums to tell.
    pub(super) fn active(&self) -> Option<u64> {
        let mut active = Numbers::default();
        for columns in self.parts.iter().filter_map(|(_, part)| part.period_columns()) {
            active.extend(columns.active()?);
        }
        let interned = self.keys.interned();
        let unnamed = interned
            .unnamed()
            .iter()
            .filter(|number| active.contains(**number));
        Some((active.len() - unnamed.count()) as u64)
    }
}

/// The spans whose periods are read with one question. Users are many: days and what is longer are read one by one, and
/// others who need one wait for that one only; hours are read day by day.
fn read_at_once(marginal: Marginal, cover: &[Span]) -> Vec<Span> {
    if marginal != Marginal::User {
        return cover.to_vec();
    }
    let hours = cover
        .iter()
        .filter(|span| span.first.granularity() == Granularity::Hourly);
    let days = hours.flat_map(|span| {
        let days = span.first.first_day().iter_days();
        days.take_while(|day| *day <= span.last.first_day())
    });
    days.map(|day| Span::of_hours(day, day)).collect()
}

fn merged(parts: &[(Period, Arc<Part>)], group_query: &GroupQuery<'_>) -> Merged {
    let columns = parts.iter().filter_map(|(_, part)| part.period_columns());
    Merged::of(columns, group_query.counters)
}

/// Which rows and which groups are sought.
struct Wanted<'a> {
    /// The values that each part of a row's key may have, where not any.
    values: Vec<Option<HashSet<&'a str>>>,
    keys: Option<HashSet<&'a Key>>,
}

impl<'a> Wanted<'a> {
    fn of(own: &[Dimension], group_query: &'a GroupQuery<'_>) -> Self {
        let values = own.iter().map(|dimension| group_query.filters.get(dimension));
        Self {
            values: values
                .map(|values| Some(values?.iter().map(String::as_str).collect()))
                .collect(),
            keys: group_query.keys.as_ref().map(|keys| keys.iter().collect()),
        }
    }

    fn has_row(&self, key: &Key) -> bool {
        let mut parts = self.values.iter().zip(key);
        parts.all(|(values, part)| values.as_ref().is_none_or(|values| values.contains(&**part)))
    }

    fn has_group(&self, key: &Key) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }
}
