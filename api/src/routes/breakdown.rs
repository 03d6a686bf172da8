//! `GET /v1/usage/breakdown`: who or what used how much, ranked.

use futures_util::{StreamExt, TryStreamExt};
use rollup::counters::Counter;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Rule;
use crate::ask::{Ask, Sought};
use crate::by::{By, Row};
use crate::cursor::{self, Fingerprint};
use crate::parameter::{Form, Parameter, Parameters};
use crate::problem::Problem;
use crate::question::{
    AGENT, API_KEY, FROM, KIND, MODEL, ORGANIZATION, PRESET, PROVIDER, SOURCE, TEAM, TIME_ZONE, TO, USER,
};
use crate::ranking::{Position, Ranked, Ranking, Sort};
use crate::reader::{Order, Snapshot};
use crate::route::{Common, Route, Sheet, totals_cells, totals_columns};
use crate::totals::Totals;

/// Rows of a page, unless it is said how many.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;

const BY: Parameter = Parameter::required("by", Form::Choice(&By::BREAKDOWN), "What the rows are.");
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

/// Ranked rows.
pub(crate) struct Breakdown {
    common: Common,
    by: By,
    sort: Sort,
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
    rows: Vec<Row>,
    /// The rows after this page.
    other: Option<Other>,
    /// The sums over all rows, on whatever page.
    totals: Totals,
    /// Where the next page starts, if there is one.
    next_cursor: Option<String>,
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
    const PARAMETERS: &'static [&'static Parameter] = &[
        &ORGANIZATION,
        &BY,
        &SORT,
        &LIMIT,
        &CURSOR,
        &FROM,
        &TO,
        &PRESET,
        &TIME_ZONE,
        &AGENT,
        &PROVIDER,
        &MODEL,
        &USER,
        &TEAM,
        &API_KEY,
        &SOURCE,
        &KIND,
    ];
    type Answer = BreakdownAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Organization
    }

    fn parse(parameters: &Parameters, common: Common) -> Result<Self, Problem> {
        let by: By = parameters
            .typed(BY.name)?
            .ok_or_else(|| Problem::parameter(BY.name, "this parameter is required"))?;
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
            common,
            by,
            sort,
            limit: parameters.typed(LIMIT.name)?,
            after,
            fingerprint,
        })
    }

    fn common(&self) -> &Common {
        &self.common
    }

    async fn answer<S: Snapshot>(&self, ask: &Ask<S>) -> Result<BreakdownAnswer, Problem> {
        let common = &self.common;
        let sought = Sought::groups(&common.filters, self.by.dimensions());
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT) as usize;
        let mut ranking = Ranking::new(self.sort, self.after.clone(), limit);
        ask.each(common.days.range, &sought, |key, _, sums| {
            Ok(ranking.take(key, sums)?)
        })
        .await?;
        let page = ranking.finish();
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
        let row = |ranked: Ranked| {
            Ok(Row {
                by: self.by,
                totals: common.totals(&ranked.counters.into())?,
                key: ranked.position.key,
            })
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

    async fn sheet<S: Snapshot>(&self, ask: Ask<S>) -> Result<Sheet, Problem> {
        for (parameter, given) in [(LIMIT, self.limit.is_some()), (CURSOR, self.after.is_some())] {
            if given {
                return Err(Problem::parameter(
                    parameter.name,
                    "CSV is whole: ask for it without this parameter",
                ));
            }
        }
        let (by, sort, range) = (self.by, self.sort, self.common.days.range);
        let sought = Sought::groups(&self.common.filters, by.dimensions());
        let currency = self.common.currency;
        let row = move |ranked: Ranked| {
            let totals = Totals::of(&ranked.counters.into(), currency)?;
            let key = ranked.position.key.iter().map(ToString::to_string);
            Ok(key.chain(totals_cells(&totals, currency)).collect())
        };
        let rows = if ask.parts(range, &sought).await?.is_some() {
            let mut ranked = Vec::new();
            ask.each(range, &sought, |key, _, sums| {
                if !sums.is_zero() {
                    ranked.push(Ranked::new(sort, key.clone(), sums.narrow()?));
                }
                Ok(())
            })
            .await?;
            ask.snapshot.finish().await?;
            ranked.sort_unstable();
            futures_util::stream::iter(ranked).map(row).boxed()
        } else {
            // Too many for the memory: the store ranks them, and they pass through.
            ask.stream(range, &sought, Some(Order(sort.counter())))
                .map_err(Problem::from)
                .try_filter(|group| {
                    std::future::ready(Counter::ALL.iter().any(|counter| group.counters[*counter] != 0))
                })
                .and_then(move |group| std::future::ready(row(Ranked::new(sort, group.key, group.counters))))
                .boxed()
        };
        let columns = by
            .dimensions()
            .iter()
            .map(|dimension| dimension.name())
            .chain(totals_columns());
        Ok(Sheet {
            columns: columns.collect(),
            rows,
        })
    }
}
