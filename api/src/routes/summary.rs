//! `GET /v1/usage/summary` and `GET /v1/usage/me`: totals, and those of the span before.

use std::collections::HashMap;

use chrono::NaiveDate;
use rollup::counters::{Counter, Sums};
use rollup::event::UNATTRIBUTED;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Grant, Rule};
use crate::csv_table::{CsvTable, Line, cost_cell, text_cell, totals_cells, totals_columns};
use crate::group_by::GroupBy;
use crate::parameter::{Parameter, Parameters};
use crate::problem::{Kind, Problem};
use crate::query::{GroupQuery, QueryContext};
use crate::question::{DAYS, FILTERS, FORMAT, OPTIONAL_ORGANIZATION, ORGANIZATION, USER};
use crate::range::Range;
use crate::reader::{Key, Snapshot};
use crate::route::{Common, Route, Tells};
use crate::rows::{Dimension, answering, is_sentinel};
use crate::totals::{Money, Totals};

/// The dimensions that the rows of some users are grouped by.
const OF_USERS: [Dimension; 2] = [Dimension::User, Dimension::Agent];

/// Totals of an organization.
pub(crate) struct Summary;

/// The caller's own usage.
pub(crate) struct Me;

/// Totals, and what they were before.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SummaryAnswer {
    /// Whose usage it is, where it is one person's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<String>,
    /// The sums over the range.
    totals: Totals,
    /// The span of equal length right before.
    previous: Previous,
    /// How many named users had requests.
    active_users: u64,
    /// How many named agents had requests.
    active_agents: u64,
    /// What no agent is named for.
    unattributed: Unattributed,
    /// Requests whose cost nobody knows.
    unpriced: Unknown,
    /// Completed requests whose usage nobody knows.
    unmetered: Unknown,
    /// What the ledger's own prices say, a part of the totals.
    priced: Priced,
}

#[derive(Debug, Serialize, ToSchema)]
struct Previous {
    range: Dates,
    totals: Totals,
}

/// Two days, both included.
#[derive(Debug, Serialize, ToSchema)]
struct Dates {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Unattributed {
    requests: i64,
    total_tokens: i64,
    /// Null where there are requests and all of them are unpriced.
    cost: Option<Money>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Unknown {
    requests: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Priced {
    requests: i64,
    /// Null where the cost of the totals is.
    cost: Option<Money>,
}

impl Route for Summary {
    const PATH: &'static str = "/v1/usage/summary";
    const TITLE: &'static str = "Totals of an organization, and of the span of equal length before";
    const PARAMETERS: &'static [&'static [&'static Parameter]] =
        &[&[&ORGANIZATION, &USER, &FORMAT], DAYS, FILTERS];
    type Answer = SummaryAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Organization
    }

    fn parse(_: &Parameters, _: &mut Common) -> Result<Self, Problem> {
        Ok(Self)
    }

    async fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<SummaryAnswer, Problem> {
        summary(common, context).await
    }

    async fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> Result<CsvTable, Problem> {
        Ok(csv_table(common, &self.answer(common, &context).await?))
    }
}

impl Route for Me {
    const PATH: &'static str = "/v1/usage/me";
    const TITLE: &'static str = "The caller's own usage";
    const PARAMETERS: &'static [&'static [&'static Parameter]] =
        &[&[&OPTIONAL_ORGANIZATION, &FORMAT], DAYS, FILTERS];
    const REJECTED: Tells = Tells::Nothing;
    type Answer = SummaryAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Own
    }

    fn parse(_: &Parameters, common: &mut Common) -> Result<Self, Problem> {
        let Grant::Own { subject, .. } = &common.grant else {
            return Err(Problem::new(Kind::Forbidden, "expected a person"));
        };
        common.filters.insert(Dimension::User, vec![subject.clone()]);
        Ok(Self)
    }

    async fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<SummaryAnswer, Problem> {
        summary(common, context).await
    }

    async fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> Result<CsvTable, Problem> {
        Ok(csv_table(common, &self.answer(common, &context).await?))
    }
}

async fn summary<S: Snapshot>(common: &Common, context: &QueryContext<S>) -> Result<SummaryAnswer, Problem> {
    let range = common.days.range;
    let before = range.previous();
    let Current {
        totals,
        active_users,
        agents,
    } = current(common, context).await?;
    let previous = previous(common, context, before).await?;
    let totals = common.totals(&totals)?;
    let unattributed = common.totals(&agents.unattributed)?;
    let user_id = match &common.grant {
        Grant::Own { subject, .. } => Some(subject.clone()),
        _ => None,
    };
    Ok(SummaryAnswer {
        user_id,
        totals,
        previous: Previous {
            range: Dates {
                from: before.from,
                to: before.to,
            },
            totals: common.totals(&previous)?,
        },
        active_users,
        active_agents: agents.active,
        unattributed: Unattributed {
            requests: unattributed.get(Counter::Requests),
            total_tokens: unattributed.get(Counter::TotalTokens),
            cost: unattributed.cost(),
        },
        unpriced: Unknown {
            requests: totals.get(Counter::UnpricedRequests),
        },
        unmetered: Unknown {
            requests: totals.get(Counter::UnmeteredRequests),
        },
        priced: Priced {
            requests: totals.get(Counter::PricedRequests),
            cost: totals.priced_cost(),
        },
    })
}

/// The figures of the range itself.
struct Current {
    totals: Sums,
    active_users: u64,
    agents: Agents,
}

async fn current<S: Snapshot>(common: &Common, context: &QueryContext<S>) -> Result<Current, Problem> {
    if answering(&common.filters, &OF_USERS).are_few {
        return of_users(common, context, common.days.range).await;
    }
    Ok(Current {
        totals: context.total(common.days.range, &common.filters).await?,
        active_users: active_users(common, context).await?,
        agents: agents(common, context).await?,
    })
}

/// Where the range is read from rows of some users, so is the span before.
async fn previous<S: Snapshot>(
    common: &Common,
    context: &QueryContext<S>,
    range: Range,
) -> Result<Sums, Problem> {
    if answering(&common.filters, &OF_USERS).are_few {
        return Ok(of_users(common, context, range).await?.totals);
    }
    context.total(range, &common.filters).await
}

/// The agents of some users are found in rows that tell all the rest as well: they are read once.
async fn of_users<S: Snapshot>(
    common: &Common,
    context: &QueryContext<S>,
    range: Range,
) -> Result<Current, Problem> {
    let group_query = GroupQuery::groups(&common.filters, &OF_USERS);
    let mut totals = Sums::default();
    let mut values = OF_USERS.map(|_| HashMap::<Key, Sums>::new());
    context
        .each(range, &group_query, |key, _, sums| {
            totals.merge(sums);
            for (values, part) in values.iter_mut().zip(key) {
                values.entry(Box::new([part.clone()])).or_default().merge(sums);
            }
            Ok(())
        })
        .await?;
    let [users, agents] = values;
    let active = |values: &HashMap<Key, Sums>| {
        let active = values.iter().filter(|(key, sums)| is_active(key, sums));
        active.count() as u64
    };
    let unattributed: Key = Box::new([UNATTRIBUTED.into()]);
    Ok(Current {
        totals,
        active_users: active(&users),
        agents: Agents {
            active: active(&agents),
            unattributed: agents.get(&unattributed).copied().unwrap_or_default(),
        },
    })
}

/// How many named users had requests.
async fn active_users<S: Snapshot>(common: &Common, context: &QueryContext<S>) -> Result<u64, Problem> {
    let group_query = GroupQuery {
        counters: &[Counter::Requests],
        ..GroupQuery::groups(&common.filters, GroupBy::User.dimensions())
    };
    if let Some(count) = context.active(common.days.range, &group_query).await? {
        return Ok(count);
    }
    let mut count = 0;
    context
        .each(common.days.range, &group_query, |key, _, sums| {
            count += u64::from(is_active(key, sums));
            Ok(())
        })
        .await?;
    Ok(count)
}

/// The figures about agents.
#[derive(Default)]
struct Agents {
    /// How many named ones had requests.
    active: u64,
    /// What none is named for.
    unattributed: Sums,
}

async fn agents<S: Snapshot>(common: &Common, context: &QueryContext<S>) -> Result<Agents, Problem> {
    let group_query = GroupQuery::groups(&common.filters, GroupBy::Agent.dimensions());
    let mut agents = Agents::default();
    context
        .each(common.days.range, &group_query, |key, _, sums| {
            agents.active += u64::from(is_active(key, sums));
            if key.iter().any(|part| **part == *UNATTRIBUTED) {
                agents.unattributed.merge(sums);
            }
            Ok(())
        })
        .await?;
    Ok(agents)
}

fn is_active(key: &Key, sums: &Sums) -> bool {
    key.iter().all(|part| !is_sentinel(part)) && sums[Counter::Requests] > 0
}

/// A line for each span. What is only known of the current one is an empty cell in the other.
fn csv_table(common: &Common, answer: &SummaryAnswer) -> CsvTable {
    let own = [
        "activeUsers",
        "activeAgents",
        "unattributedRequests",
        "unattributedTotalTokens",
        "unattributedCost",
    ];
    let user = answer.user_id.as_deref().map(|_| "userId");
    let columns = user.into_iter().chain(["span", "from", "to"]).chain(own);
    let line = |span: &str, from: NaiveDate, to: NaiveDate, own: [String; 5], totals: &Totals| -> Line {
        let user = answer.user_id.as_deref().map(text_cell);
        let span = [span.to_owned(), from.to_string(), to.to_string()];
        let cells = user.into_iter().chain(span).chain(own);
        cells.chain(totals_cells(totals)).collect()
    };
    let own = [
        answer.active_users.to_string(),
        answer.active_agents.to_string(),
        answer.unattributed.requests.to_string(),
        answer.unattributed.total_tokens.to_string(),
        cost_cell(answer.unattributed.cost),
    ];
    let (range, before) = (common.days.range, &answer.previous);
    let (from, to) = (before.range.from, before.range.to);
    let lines = [
        line("current", range.from, range.to, own, &answer.totals),
        line("previous", from, to, Default::default(), &before.totals),
    ];
    CsvTable::of(columns.chain(totals_columns()).collect(), lines)
}
