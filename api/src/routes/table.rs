//! `GET /v1/usage/table`: rows × buckets, from the platform down to one agent.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::stream::{self, Stream, TryStreamExt};
use rollup::counters::Sums;
use rollup::event::UNATTRIBUTED;
use rollup::period::Granularity;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::periods::{Head, buckets_of};
use super::series::list_of_totals;
use crate::access::Rule;
use crate::bucket::Bucket;
use crate::csv_table::{CsvTable, Line, key_cells, totals_cells, totals_columns};
use crate::group_by::{GroupBy, Row, keyed_object};
use crate::parameter::{Form, Parameter, Parameters};
use crate::problem::{Kind, Problem};
use crate::query::{GroupQuery, QueryContext};
use crate::question::{AGENT, DAYS, FILTERS, FORMAT, GRANULARITY, OPTIONAL_ORGANIZATION, USER, granularity};
use crate::ranking::{Position, Ranked, Sort};
use crate::reader::{Key, Snapshot};
use crate::route::{Common, Route};
use crate::rows::{Dimension, Filters, Rows};
use crate::totals::Totals;

/// About how many cells of CSV are read at once.
const CSV_CELLS: usize = 8_192;

const SCOPE: Parameter = Parameter::required(
    "scope",
    Form::Choice(&["platform", "organization", "agent"]),
    "`platform`: the rows are organizations; `organization`: the agents of one; `agent`: one agent of it.",
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableScope {
    Platform,
    Organization,
    Agent,
}

impl FromStr for TableScope {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "platform" => Ok(TableScope::Platform),
            "organization" => Ok(TableScope::Organization),
            "agent" => Ok(TableScope::Agent),
            _ => Err(()),
        }
    }
}

impl TableScope {
    const fn name(self) -> &'static str {
        match self {
            TableScope::Platform => "platform",
            TableScope::Organization => "organization",
            TableScope::Agent => "agent",
        }
    }

    const fn by(self) -> GroupBy {
        match self {
            TableScope::Platform => GroupBy::Organization,
            TableScope::Organization | TableScope::Agent => GroupBy::Agent,
        }
    }
}

/// Rows × buckets.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    scope: TableScope,
    granularity: Granularity,
}

/// Rows × buckets.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TableAnswer {
    scope: &'static str,
    granularity: &'static str,
    /// The columns.
    periods: Vec<Head>,
    /// The rows with usage, the largest first and what nobody is named for last.
    rows: Vec<TableRow>,
    /// The sums of each column.
    column_totals: Vec<Totals>,
    /// The sums over all rows and columns.
    totals: Totals,
    /// Organizations that the scope `platform` leaves out.
    excluded_organizations: Vec<String>,
}

#[derive(Debug)]
struct TableRow {
    row: Row,
    cells: Vec<Totals>,
}

impl Route for Table {
    const PATH: &'static str = "/v1/usage/table";
    const TITLE: &'static str = "Rows by buckets, from the platform down to one agent";
    const PARAMETERS: &'static [&'static [&'static Parameter]] = &[
        &[&SCOPE, &OPTIONAL_ORGANIZATION, &GRANULARITY, &USER, &FORMAT],
        DAYS,
        FILTERS,
    ];
    type Answer = TableAnswer;

    fn rule(parameters: &Parameters) -> Rule {
        match parameters.one(SCOPE.name) {
            Some("organization" | "agent") => Rule::Organization,
            _ => Rule::Platform,
        }
    }

    fn parse(parameters: &Parameters, common: &mut Common) -> Result<Self, Problem> {
        let scope = parameters
            .typed(SCOPE.name)?
            .ok_or_else(|| Problem::parameter(SCOPE.name, "this parameter is required"))?;
        if scope == TableScope::Agent && parameters.all(AGENT.name).count() != 1 {
            return Err(Problem::parameter(
                AGENT.name,
                "the scope `agent` is about exactly one agent",
            ));
        }
        if scope == TableScope::Platform {
            check_platform(&common.filters)?;
        }
        Ok(Self {
            scope,
            granularity: granularity(parameters)?,
        })
    }

    async fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<TableAnswer, Problem> {
        let buckets = buckets_of(common, self.granularity, context)?;
        let by = self.scope.by();
        let mut column_sums = vec![Sums::default(); buckets.len()];
        let mut whole = Sums::default();
        let mut rows = Vec::new();
        for (key, cells) in self.cells(common, context, &buckets, None).await? {
            let mut sums = Sums::default();
            for (column, cell) in column_sums.iter_mut().zip(&cells) {
                column.merge(cell);
                sums.merge(cell);
            }
            if sums.is_zero() && cells.iter().all(Sums::is_zero) {
                continue;
            }
            whole.merge(&sums);
            rows.push((Ranked::new(Sort::Cost, key, sums.narrow()?), cells));
        }
        rows.sort_unstable_by(|(one, _), (other, _)| place(&one.position, &other.position));
        let shown = |(ranked, cells): (Ranked, Vec<Sums>)| {
            let totals = common.totals(&ranked.counters.into())?;
            let row = Row {
                by,
                key: ranked.position.key,
                totals,
            };
            let cells = cells
                .iter()
                .map(|sums| common.totals(sums))
                .collect::<Result<_, _>>()?;
            Ok(TableRow { row, cells })
        };
        Ok(TableAnswer {
            scope: self.scope.name(),
            granularity: self.granularity.name(),
            periods: buckets.iter().map(Head::from).collect(),
            rows: rows.into_iter().map(shown).collect::<Result<_, Problem>>()?,
            column_totals: column_sums
                .iter()
                .map(|sums| common.totals(sums))
                .collect::<Result<_, _>>()?,
            totals: common.totals(&whole)?,
            excluded_organizations: match self.scope {
                TableScope::Platform => common.excluded.clone(),
                TableScope::Organization | TableScope::Agent => Vec::new(),
            },
        })
    }

    async fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> Result<CsvTable, Problem> {
        let buckets = buckets_of(common, self.granularity, &context)?;
        let mut columns: Vec<&'static str> = self.scope.by().dimensions().iter().map(|d| d.name()).collect();
        columns.extend(Head::COLUMNS);
        columns.extend(totals_columns());
        let keys = self.ranked(common, &context).await?;
        let lines = lines(self.clone(), common.clone(), context, buckets, keys);
        Ok(CsvTable::read(columns, lines))
    }
}

impl Table {
    /// The sums of every row in every bucket: of these rows, or of all as far as one answer may hold them.
    async fn cells<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
        buckets: &[Bucket],
        keys: Option<Vec<Key>>,
    ) -> Result<HashMap<Key, Vec<Sums>>, Problem> {
        let columns: HashMap<_, _> = buckets
            .iter()
            .enumerate()
            .map(|(at, bucket)| (bucket.period, at))
            .collect();
        let limit = keys.is_none().then_some(common.limits.cells);
        let mut rows: HashMap<Key, Vec<Sums>> = HashMap::new();
        let group_query = GroupQuery {
            bucket: Some(self.granularity),
            keys,
            ..GroupQuery::groups(&common.filters, self.scope.by().dimensions())
        };
        context.each(common.days.range, &group_query, |key, period, piece| {
            let Some(at) = period.and_then(|period| columns.get(&period)) else {
                return Ok(());
            };
            if let Some(cells) = rows.get_mut(key) {
                cells[*at].merge(piece);
                return Ok(());
            }
            if let Some(limit) = limit.filter(|limit| (rows.len() + 1) * buckets.len() > *limit) {
                let detail = format!(
                    "the table has more than {limit} cells: ask for longer buckets or a shorter range, page through \
                     `/v1/usage/breakdown`, or ask for `text/csv`, which has no such limit"
                );
                return Err(Problem::new(Kind::TooMuch, detail));
            }
            let mut cells = vec![Sums::default(); buckets.len()];
            cells[*at].merge(piece);
            rows.insert(key.clone(), cells);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The keys of all rows, in their order.
    async fn ranked<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<Vec<Key>, Problem> {
        let group_query = GroupQuery::groups(&common.filters, self.scope.by().dimensions());
        let mut rows: HashMap<Key, Sums> = HashMap::new();
        context
            .each(common.days.range, &group_query, |key, _, piece| {
                rows.entry(key.clone()).or_default().merge(piece);
                Ok(())
            })
            .await?;
        let position = |(key, sums): (Key, Sums)| Ok(Ranked::new(Sort::Cost, key, sums.narrow()?).position);
        let mut positions = rows
            .into_iter()
            .map(position)
            .collect::<Result<Vec<_>, Problem>>()?;
        positions.sort_unstable_by(place);
        Ok(positions.into_iter().map(|position| position.key).collect())
    }
}

/// The lines of a table, read a few rows at a time: however large it is, little of it is held.
fn lines<S: Snapshot>(
    table: Table,
    common: Common,
    context: QueryContext<S>,
    buckets: Vec<Bucket>,
    keys: Vec<Key>,
) -> impl Stream<Item = Result<Line, Problem>> + Send + 'static {
    let at_once = (CSV_CELLS / buckets.len().max(1)).max(1);
    let heads: Arc<[_]> = buckets.iter().map(|bucket| Head::from(bucket).cells()).collect();
    let state = (table, common, context, buckets, keys.into_iter());
    let pages = stream::try_unfold(state, move |(table, common, context, buckets, mut keys)| {
        let heads = Arc::clone(&heads);
        async move {
            let page: Vec<Key> = keys.by_ref().take(at_once).collect();
            if page.is_empty() {
                return Ok::<_, Problem>(None);
            }
            let mut rows = table
                .cells(&common, &context, &buckets, Some(page.clone()))
                .await?;
            let mut lines = Vec::with_capacity(page.len() * buckets.len());
            for key in page {
                let cells = rows.remove(&key).filter(|cells| !cells.iter().all(Sums::is_zero));
                let key: Vec<String> = key_cells(&key).collect();
                for (head, sums) in heads.iter().zip(cells.iter().flatten()) {
                    let (key, head) = (key.iter().cloned(), head.iter().cloned());
                    let line: Line = key
                        .chain(head)
                        .chain(totals_cells(&common.totals(sums)?))
                        .collect();
                    lines.push(line);
                }
            }
            let lines = stream::iter(lines.into_iter().map(Ok));
            Ok(Some((lines, (table, common, context, buckets, keys))))
        }
    });
    pages.try_flatten()
}

/// Refuses what would have to be read from the rows of every organization, one by one.
fn check_platform(filters: &Filters) -> Result<(), Problem> {
    let is_rolled_up = |dimensions: &[Dimension]| Rows::with(dimensions.iter().copied()) != Rows::Ledger;
    let dimensions: Vec<Dimension> = filters.keys().copied().collect();
    if is_rolled_up(&dimensions) {
        return Ok(());
    }
    let alone = dimensions.iter().find(|dimension| !is_rolled_up(&[**dimension]));
    let names = match alone {
        Some(dimension) => format!("`{}`", dimension.name()),
        None => {
            let names = dimensions
                .iter()
                .map(|dimension| format!("`{}`", dimension.name()));
            format!("{} together", names.collect::<Vec<_>>().join(" and "))
        }
    };
    let detail = format!(
        "the usage of all organizations is not kept by {names}: ask per organization, with `scope=organization` and \
         `organizationId`"
    );
    let problem = Problem::new(Kind::TooMuch, detail);
    Err(match alone {
        Some(dimension) => problem.about(dimension.name()),
        None => problem,
    })
}

/// The largest first, and what nobody is named for last.
fn place(one: &Position, other: &Position) -> Ordering {
    let unnamed = |position: &Position| position.key.iter().any(|part| **part == *UNATTRIBUTED);
    unnamed(one).cmp(&unnamed(other)).then_with(|| one.cmp(other))
}

impl Serialize for TableRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        Row::serialize_key(self.row.by, &self.row.key, &mut map)?;
        map.serialize_entry("cells", &self.cells)?;
        map.serialize_entry("totals", &self.row.totals)?;
        map.end()
    }
}

impl PartialSchema for TableRow {
    fn schema() -> RefOr<Schema> {
        keyed_object()
            .property("cells", list_of_totals())
            .property("totals", Ref::from_schema_name(Totals::name()))
            .required("cells")
            .required("totals")
            .description(Some("A row: its key, one cell per period, and their sums."))
            .into()
    }
}

impl ToSchema for TableRow {}
