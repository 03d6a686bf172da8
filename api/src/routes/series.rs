//! `GET /v1/usage/series`: usage over time.

mod lines;

use std::collections::HashMap;

use rollup::counters::Sums;
use rollup::period::{Granularity, Period};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::periods::{Head, buckets_of};
use crate::access::Rule;
use crate::csv_table::{CsvTable, Line, totals_cells, totals_columns};
use crate::group_by::{GroupBy, Row, keyed_object};
use crate::parameter::{Form, Parameter, Parameters};
use crate::problem::{Kind, Problem};
use crate::query::{GroupQuery, QueryContext};
use crate::question::{DAYS, FILTERS, FORMAT, GRANULARITY, ORGANIZATION, USER, granularity};
use crate::ranking::{Page, Sort};
use crate::reader::{Key, Snapshot};
use crate::route::{Common, Route};
use crate::totals::Totals;

/// How many groups are shown by name.
const GROUPS: usize = 20;

const GROUP_BY: Parameter = Parameter::optional(
    "groupBy",
    Form::Choice(&GroupBy::SERIES),
    "Also the 20 largest groups by cost over the range, and what is left as `other`. CSV has every group.",
);

/// Usage over time.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    granularity: Granularity,
    group_by: Option<GroupBy>,
}

/// Usage over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesAnswer {
    /// The length of a bucket.
    granularity: &'static str,
    /// Every bucket of the range, oldest first.
    buckets: Vec<SeriesBucket>,
    /// The sums over the range.
    totals: Totals,
}

#[derive(Debug, Serialize, ToSchema)]
struct SeriesBucket {
    #[serde(flatten)]
    head: Head,
    totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    groups: Option<Vec<Item>>,
}

/// A group, or what is left.
#[derive(Debug)]
enum Item {
    Group(Row),
    Other(Totals),
}

impl Route for Series {
    const PATH: &'static str = "/v1/usage/series";
    const TITLE: &'static str = "Usage over time: every bucket of the range, oldest first";
    const PARAMETERS: &'static [&'static [&'static Parameter]] = &[
        &[&ORGANIZATION, &GRANULARITY, &GROUP_BY, &USER, &FORMAT],
        DAYS,
        FILTERS,
    ];
    type Answer = SeriesAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Organization
    }

    fn parse(parameters: &Parameters, _: &mut Common) -> Result<Self, Problem> {
        Ok(Self {
            granularity: granularity(parameters)?,
            group_by: parameters.typed(GROUP_BY.name)?,
        })
    }

    async fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<SeriesAnswer, Problem> {
        let buckets = buckets_of(common, self.granularity, context)?;
        let sums = self.sums(common, context).await?;
        let groups = self.groups(common, context).await?;
        let cells = buckets.len() * groups.as_ref().map_or(0, Groups::shown);
        let limit = common.limits.cells;
        if cells > limit {
            let detail = format!(
                "the series has more than {limit} groups in all its buckets: ask for longer buckets, a shorter range \
                 or without `groupBy`, or ask for `text/csv`, which has no such limit"
            );
            return Err(Problem::new(Kind::TooMuch, detail));
        }
        let mut whole = Sums::default();
        let mut shown = Vec::with_capacity(buckets.len());
        for bucket in &buckets {
            let total = sums.get(&bucket.period).copied().unwrap_or_default();
            whole.merge(&total);
            shown.push(SeriesBucket {
                head: bucket.into(),
                totals: common.totals(&total)?,
                groups: groups
                    .as_ref()
                    .map(|groups| groups.items(common, bucket.period, total))
                    .transpose()?,
            });
        }
        Ok(SeriesAnswer {
            granularity: self.granularity.name(),
            buckets: shown,
            totals: common.totals(&whole)?,
        })
    }

    /// Without groups a line for each bucket; with groups a line for each of them in each bucket, and none is left out.
    async fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> Result<CsvTable, Problem> {
        let buckets = buckets_of(common, self.granularity, &context)?;
        let mut columns = Head::COLUMNS.to_vec();
        let Some(by) = self.group_by else {
            let answer = self.answer(common, &context).await?;
            let line = |bucket: SeriesBucket| -> Line {
                let head = bucket.head.cells().into_iter();
                head.chain(totals_cells(&bucket.totals)).collect()
            };
            columns.extend(totals_columns());
            return Ok(CsvTable::of(columns, answer.buckets.into_iter().map(line)));
        };
        columns.extend(by.dimensions().iter().map(|dimension| dimension.name()));
        columns.extend(totals_columns());
        let page = self.largest(common, &context, by, usize::MAX).await?;
        let keys = page.rows.into_iter().map(|row| row.position.key).collect();
        let lines = lines::lines(self.clone(), by, common.clone(), context, &buckets, keys);
        Ok(CsvTable::read(columns, lines))
    }
}

/// The largest groups of a series, and their sums per bucket.
struct Groups {
    by: GroupBy,
    largest: Vec<Key>,
    has_other: bool,
    sums: HashMap<(Key, Period), Sums>,
}

impl Groups {
    /// How many there are in each bucket.
    fn shown(&self) -> usize {
        self.largest.len() + usize::from(self.has_other)
    }

    /// The groups of one bucket, and what they leave of its total.
    fn items(&self, common: &Common, period: Period, mut left: Sums) -> Result<Vec<Item>, Problem> {
        let mut items = Vec::with_capacity(self.shown());
        for key in &self.largest {
            let sums = self.sums.get(&(key.clone(), period)).copied().unwrap_or_default();
            left = left.without(&sums);
            items.push(Item::Group(Row {
                by: self.by,
                key: key.clone(),
                totals: common.totals(&sums)?,
            }));
        }
        if self.has_other {
            items.push(Item::Other(common.totals(&left)?));
        }
        Ok(items)
    }
}

impl Series {
    async fn sums<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<HashMap<Period, Sums>, Problem> {
        let mut sums: HashMap<Period, Sums> = HashMap::new();
        let group_query = GroupQuery {
            bucket: Some(self.granularity),
            ..GroupQuery::groups(&common.filters, &[])
        };
        context
            .each(common.days.range, &group_query, |_, period, piece| {
                if let Some(period) = period {
                    sums.entry(period).or_default().merge(piece);
                }
                Ok(())
            })
            .await?;
        Ok(sums)
    }

    /// So many groups, the largest by cost over the range first.
    async fn largest<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
        by: GroupBy,
        limit: usize,
    ) -> Result<Page, Problem> {
        let group_query = GroupQuery::groups(&common.filters, by.dimensions());
        context
            .page(common.days.range, &group_query, Sort::Cost, None, limit)
            .await
    }

    async fn groups<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<Option<Groups>, Problem> {
        let Some(by) = self.group_by else {
            return Ok(None);
        };
        let page = self.largest(common, context, by, GROUPS).await?;
        let largest: Vec<Key> = page.rows.into_iter().map(|row| row.position.key).collect();
        let mut sums: HashMap<(Key, Period), Sums> = HashMap::new();
        if !largest.is_empty() {
            let group_query = GroupQuery {
                bucket: Some(self.granularity),
                keys: Some(largest.clone()),
                ..GroupQuery::groups(&common.filters, by.dimensions())
            };
            context
                .each(common.days.range, &group_query, |key, period, piece| {
                    if let Some(period) = period {
                        sums.entry((key.clone(), period)).or_default().merge(piece);
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(Some(Groups {
            by,
            largest,
            has_other: page.other.is_some(),
            sums,
        }))
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Group(row) => row.serialize(serializer),
            Item::Other(totals) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("other", &true)?;
                map.serialize_entry("totals", totals)?;
                map.end()
            }
        }
    }
}

impl PartialSchema for Item {
    fn schema() -> RefOr<Schema> {
        keyed_object()
            .property("other", ObjectBuilder::new().schema_type(Type::Boolean))
            .property("totals", Ref::from_schema_name(Totals::name()))
            .required("totals")
            .description(Some(
                "A group with its key, or `\"other\": true` with what the groups leave.",
            ))
            .into()
    }
}

impl ToSchema for Item {
    fn name() -> std::borrow::Cow<'static, str> {
        "SeriesGroup".into()
    }
}

/// The schema of a list of totals.
pub(crate) fn list_of_totals() -> ArrayBuilder {
    ArrayBuilder::new().items(Ref::from_schema_name(Totals::name()))
}
