//! A question to one state of the ledger, with all that it needs.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::Stream;
use rollup::counters::Counter;
use rollup::kept::Kept;
use rollup::period::{Calendar, Granularity, Period};
use sha2::{Digest, Sha256};

use super::part::Remembered;
use super::view::View;
use crate::bucket::{cover, quickest};
use crate::range::Range;
use crate::reader::{Group, Key, Order, PeriodTotals, Query, ReadError, Scope, Snapshot, Span, Version};
use crate::rows::{Answering, Dimension, Filters, answering};

/// The groups that are sought in a range.
#[derive(Debug, Clone)]
pub(crate) struct GroupQuery<'a> {
    pub(crate) filters: &'a Filters,
    pub(crate) group_by: &'a [Dimension],
    /// Sums per bucket of this length.
    pub(crate) bucket: Option<Granularity>,
    /// Only this hour of a range, which is its day.
    pub(crate) hour: Option<Period>,
    /// Only these groups.
    pub(crate) keys: Option<Vec<Key>>,
    pub(crate) counters: &'a [Counter],
    /// Whether other questions are about the same few rows.
    pub(crate) is_worth_remembering: bool,
}

impl<'a> GroupQuery<'a> {
    /// Every counter of every group.
    pub(crate) fn groups(filters: &'a Filters, group_by: &'a [Dimension]) -> Self {
        Self {
            filters,
            group_by,
            bucket: None,
            hour: None,
            keys: None,
            counters: &Counter::ALL,
            is_worth_remembering: false,
        }
    }
}

/// One question to one state of the ledger.
pub(crate) struct QueryContext<S> {
    pub(crate) view: View<S>,
    pub(crate) scope: Scope,
    pub(crate) now: DateTime<Utc>,
    pub(crate) today: NaiveDate,
    pub(crate) calendar: Calendar,
    /// The granularities, and from when on each is whole.
    pub(crate) kept: Vec<Kept>,
    pub(crate) row_limit: u64,
    pub(crate) remembered: Arc<Remembered>,
}

impl<S: Snapshot> QueryContext<S> {
    /// The snapshot of this state.
    pub(crate) fn snapshot(&self) -> &S {
        self.view.snapshot()
    }

    /// The groups straight from the store, over the whole range.
    pub(crate) fn stream(
        &self,
        range: Range,
        group_query: &GroupQuery<'_>,
        order: Option<Order>,
    ) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
        let query = Query {
            order,
            ..self.query(range, group_query)
        };
        self.snapshot().sums(query)
    }

    /// The totals of an organization in these periods.
    pub(super) async fn period_totals(
        &self,
        organization: &str,
        cover: &[Span],
    ) -> Result<Vec<PeriodTotals>, ReadError> {
        self.view
            .period_totals(organization, cover, &self.remembered.states)
            .await
    }

    /// The version of an organization's rows in these periods.
    pub(super) async fn version(&self, organization: &str, cover: &[Span]) -> Result<Version, ReadError> {
        let mut digest = Sha256::new();
        for totals in self.period_totals(organization, cover).await? {
            digest.update(totals.version.0);
        }
        Ok(Version(digest.finalize().into()))
    }

    /// The question to the store, over the periods that cover the range.
    pub(super) fn query(&self, range: Range, group_query: &GroupQuery<'_>) -> Query {
        let Answering { rows, are_few } = answering(group_query.filters, group_query.group_by);
        let cover = if are_few { quickest } else { cover };
        let cover = match group_query.hour {
            Some(hour) => vec![Span {
                first: hour,
                last: hour,
            }],
            None => cover(range, &self.kept, group_query.bucket),
        };
        Query {
            rows,
            scope: self.scope.clone(),
            cover,
            filters: group_query.filters.clone(),
            group_by: group_query.group_by.to_vec(),
            by_period: group_query.bucket.is_some(),
            keys: group_query.keys.clone(),
            counters: group_query.counters.to_vec(),
            order: None,
            row_limit: self.row_limit,
        }
    }
}
