//! `GET /v1/usage/breakdown`: groups by their usage, ranked.

mod teams;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rollup::counters::Sums;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use self::teams::Teams;
use crate::access::Rule;
use crate::csv_table::{CsvTable, Line, key_cells, totals_cells, totals_columns};
use crate::cursor::{self, Fingerprint};
use crate::group_by::{GroupBy, Row, keyed_object};
use crate::parameter::{Form, Parameter, Parameters};
use crate::problem::Problem;
use crate::query::{GroupQuery, QueryContext};
use crate::question::{DAYS, FILTERS, FORMAT, ORGANIZATION, USER};
use crate::ranking::{Page, Position, Ranked, RankedGroups, Sort};
use crate::reader::{Order, Snapshot};
use crate::route::{Common, Route};
use crate::totals::{Currency, Totals};

/// Rows of a page, unless it is said how many.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;
/// Rows whose teams are read at once for CSV.
const CSV_PAGE: usize = 10_000;

const BY: Parameter = Parameter::required("by", Form::Choice(&GroupBy::BREAKDOWN), "What the rows are.");
const SORT: Parameter = Parameter::optional(
    "sort",
    Form::Choice(&Sort::NAMES),
    "What the rows are ranked by, largest first; then by tokens, then by name.",
);
const LIMIT: Parameter = Parameter::optional(
    "limit",
    Form::Number {
        min: 1,
        max: MAX_LIMIT,
    },
    "Rows of this page, 50 unless given. CSV is whole and takes no limit.",
);
const CURSOR: Parameter = Parameter::optional(
    "cursor",
    Form::Cursor,
    "The `nextCursor` of the page before. CSV is whole and takes no cursor.",
);
const INCLUDE: Parameter = Parameter::optional(
    "include",
    Form::Choice(&["teams"]),
    "Together with `by=user`: also the teams under which each user of the page has usage.",
);

/// Ranked rows.
#[derive(Clone)]
pub(crate) struct Breakdown {
    by: GroupBy,
    sort: Sort,
    with_teams: bool,
    limit: Option<u32>,
    after: Option<Position>,
    fingerprint: Fingerprint,
}

/// Ranked rows, and what follows them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BreakdownAnswer {
    /// What the rows are.
    by: &'static str,
    /// What they are ranked by.
    sort: &'static str,
    /// The rows of this page.
    rows: Vec<RankedRow>,
    /// The rows after this page.
    other: Option<Other>,
    /// The sums over all rows, on whatever page.
    totals: Totals,
    /// Where the next page starts, if there is one.
    next_cursor: Option<String>,
}

/// A row, with the teams of its user where they were asked for.
#[derive(Debug)]
struct RankedRow {
    row: Row,
    teams: Option<Teams>,
}

/// The rows after a page.
#[derive(Debug, Serialize, ToSchema)]
struct Other {
    /// How many they are.
    count: u64,
    /// Their sums.
    totals: Totals,
}

impl Route for Breakdown {
    const PATH: &'static str = "/v1/usage/breakdown";
    const TITLE: &'static str = "Who or what used how much, ranked, in pages";
    const PARAMETERS: &'static [&'static [&'static Parameter]] = &[
        &[
            &ORGANIZATION,
            &BY,
            &SORT,
            &LIMIT,
            &CURSOR,
            &INCLUDE,
            &USER,
            &FORMAT,
        ],
        DAYS,
        FILTERS,
    ];
    type Answer = BreakdownAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Organization
    }

    fn parse(parameters: &Parameters, common: &mut Common) -> Result<Self, Problem> {
        let by: GroupBy = parameters
            .typed(BY.name)?
            .ok_or_else(|| Problem::parameter(BY.name, "this parameter is required"))?;
        let with_teams = parameters.one(INCLUDE.name).is_some();
        if with_teams && by != GroupBy::User {
            return Err(Problem::parameter(
                INCLUDE.name,
                "only users have teams: expected it together with `by=user`",
            ));
        }
        let sort: Sort = parameters.typed(SORT.name)?.unwrap_or_default();
        let question = format!(
            "{:?} {:?} {:?} {by:?} {sort:?}",
            common.organization(),
            common.days.range,
            common.filters
        );
        let fingerprint = Fingerprint::of(&question);
        let after = parameters
            .one(CURSOR.name)
            .map(|text| cursor::decode(fingerprint, by.dimensions().len(), text))
            .transpose()?;
        Ok(Self {
            by,
            sort,
            with_teams,
            limit: parameters.typed(LIMIT.name)?,
            after,
            fingerprint,
        })
    }

    async fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<BreakdownAnswer, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT) as usize;
        let page = self.page(common, context, self.after.clone(), limit).await?;
        let next_cursor = match (&page.other, page.rows.last()) {
            (Some(_), Some(last)) => Some(cursor::encode(self.fingerprint, &last.position)?),
            _ => None,
        };
        let other = match page.other {
            Some((count, sums)) => Some(Other {
                count,
                totals: common.totals(&sums)?,
            }),
            None => None,
        };
        let mut teams = self.teams(common, context, &page.rows, true).await?;
        let row = |ranked: Ranked| {
            let teams = teams.as_mut().map(|teams| teams.of(&ranked.position.key));
            let row = Row {
                by: self.by,
                totals: common.totals(&ranked.counters.into())?,
                key: ranked.position.key,
            };
            Ok(RankedRow { row, teams })
        };
        Ok(BreakdownAnswer {
            by: self.by.name(),
            sort: self.sort.name(),
            rows: page.rows.into_iter().map(row).collect::<Result<_, Problem>>()?,
            other,
            totals: common.totals(&page.totals)?,
            next_cursor,
        })
    }

    async fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> Result<CsvTable, Problem> {
        for (parameter, given) in [(LIMIT, self.limit.is_some()), (CURSOR, self.after.is_some())] {
            if given {
                return Err(Problem::parameter(
                    parameter.name,
                    "CSV is whole: ask for it without this parameter",
                ));
            }
        }
        let key = self.by.dimensions().iter().map(|dimension| dimension.name());
        let teams = self.with_teams.then_some(Teams::COLUMNS).into_iter().flatten();
        let columns = key.chain(teams).chain(totals_columns()).collect();
        if self.with_teams {
            let lines = self.clone().lines_with_teams(common.clone(), context);
            return Ok(CsvTable::read(columns, lines));
        }
        self.lines(common, context, columns).await
    }
}

impl Breakdown {
    /// So many groups after a position.
    async fn page<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Problem> {
        let group_query = GroupQuery::groups(&common.filters, self.by.dimensions());
        context
            .page(common.days.range, &group_query, self.sort, after, limit)
            .await
    }

    /// The teams of a page, where they were asked for.
    async fn teams<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
        page: &[Ranked],
        again: bool,
    ) -> Result<Option<teams::OfUsers>, Problem> {
        if !self.with_teams {
            return Ok(None);
        }
        teams::read(common, context, page, again).await.map(Some)
    }

    /// Every group as a line of CSV.
    async fn lines<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
        columns: Vec<&'static str>,
    ) -> Result<CsvTable, Problem> {
        let (sort, range, currency) = (self.sort, common.days.range, common.currency);
        let group_query = GroupQuery::groups(&common.filters, self.by.dimensions());
        if let Some(part) = context.ranked(range, &group_query, sort).await? {
            let count = part.ranked().map_or(0, RankedGroups::len);
            let group = move |at| part.ranked().map(|ranked| ranked.group(at));
            let lines = (0..count).filter_map(group);
            let lines = stream::iter(lines.map(move |ranked| line(&ranked, None, currency))).boxed();
            return Ok(CsvTable { columns, lines });
        }
        // Not held in memory: the store ranks them, and they pass through.
        let lines = context
            .stream(range, &group_query, Some(Order(sort.counter())))
            .map_err(Problem::from)
            .try_filter(|group| std::future::ready(!Sums::from(group.counters).is_zero()))
            .and_then(move |group| {
                let ranked = Ranked::new(sort, group.key, group.counters);
                std::future::ready(line(&ranked, None, currency))
            });
        Ok(CsvTable::read(columns, lines))
    }

    /// Every group as a line of CSV with its teams, page by page: a snapshot is not asked for teams while its groups
    /// still stream.
    fn lines_with_teams<S: Snapshot>(
        self,
        common: Common,
        context: QueryContext<S>,
    ) -> impl Stream<Item = Result<Line, Problem>> + Send + 'static {
        let currency = common.currency;
        let start = Some(None);
        let pages = stream::try_unfold(
            (self, common, context, start),
            move |(breakdown, common, context, next)| async move {
                let Some(after) = next else {
                    return Ok::<_, Problem>(None);
                };
                let page = breakdown.page(&common, &context, after, CSV_PAGE).await?;
                let mut teams = breakdown.teams(&common, &context, &page.rows, false).await?;
                let last = page.rows.last().map(|last| last.position.clone());
                let next = page.other.and(last).map(Some);
                let lines = page.rows.into_iter().map(move |ranked| {
                    let teams = teams.as_mut().map(|teams| teams.of(&ranked.position.key));
                    line(&ranked, teams, currency)
                });
                Ok(Some((stream::iter(lines), (breakdown, common, context, next))))
            },
        );
        pages.try_flatten()
    }
}

fn line(ranked: &Ranked, teams: Option<Teams>, currency: Currency) -> Result<Line, Problem> {
    let totals = Totals::of(&ranked.counters.into(), currency)?;
    let teams = teams.map(|teams| teams.cells()).transpose()?;
    Ok(key_cells(&ranked.position.key)
        .chain(teams.into_iter().flatten())
        .chain(totals_cells(&totals))
        .collect())
}

impl Serialize for RankedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        Row::serialize_key(self.row.by, &self.row.key, &mut map)?;
        if let Some(teams) = &self.teams {
            map.serialize_entry("teams", &teams.named)?;
            map.serialize_entry("teamCount", &teams.count)?;
        }
        map.serialize_entry("totals", &self.row.totals)?;
        map.end()
    }
}

impl PartialSchema for RankedRow {
    fn schema() -> RefOr<Schema> {
        let names = ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(Type::String))
            .max_items(Some(teams::NAMED))
            .description(Some(
                "Where `include=teams` asks for it: the first teams by name under which the user has usage. What \
                 came without a team is none of them.",
            ));
        let count = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0.0))
            .description(Some("How many teams there are, named or not."));
        keyed_object()
            .property("teams", names)
            .property("teamCount", count)
            .property("totals", Ref::from_schema_name(Totals::name()))
            .required("totals")
            .description(Some("A group under the names of its dimensions, and its sums."))
            .into()
    }
}

impl ToSchema for RankedRow {
    fn name() -> std::borrow::Cow<'static, str> {
        "BreakdownRow".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Row::schemas(schemas);
    }
}
