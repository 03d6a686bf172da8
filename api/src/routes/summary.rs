//! `GET /v1/usage/summary` and `GET /v1/usage/me`: totals, and what they were before.

use chrono::NaiveDate;
use rollup::counters::{Counter, Sums};
use rollup::event::UNATTRIBUTED;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Grant, Rule};
use crate::ask::{Ask, Sought};
use crate::by::is_sentinel;
use crate::parameter::{Parameter, Parameters};
use crate::problem::Problem;
use crate::question::{
    AGENT, API_KEY, FROM, KIND, MODEL, OPTIONAL_ORGANIZATION, ORGANIZATION, PRESET, PROVIDER, SOURCE, TEAM,
    TIME_ZONE, TO, USER,
};
use crate::range::Range;
use crate::reader::{Dimension, Snapshot};
use crate::route::{Common, Route, Sheet, totals_cells, totals_columns};
use crate::totals::{Money, Totals};

/// Totals of an organization.
pub(crate) struct Summary(Common);

/// The caller's own usage.
pub(crate) struct Me(Common);

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
    /// What came without a cost.
    unpriced: Unpriced,
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
    /// Null where there are requests and all of them came without a cost.
    cost: Option<Money>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Unpriced {
    requests: i64,
}

impl Route for Summary {
    const PATH: &'static str = "/v1/usage/summary";
    const TITLE: &'static str = "Totals of an organization, and of the span of equal length before";
    const PARAMETERS: &'static [&'static Parameter] = &[
        &ORGANIZATION,
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
    type Answer = SummaryAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Organization
    }

    fn parse(_: &Parameters, common: Common) -> Result<Self, Problem> {
        Ok(Self(common))
    }

    fn common(&self) -> &Common {
        &self.0
    }

    async fn answer<S: Snapshot>(&self, ask: &Ask<S>) -> Result<SummaryAnswer, Problem> {
        summary(&self.0, ask).await
    }

    async fn sheet<S: Snapshot>(&self, ask: Ask<S>) -> Result<Sheet, Problem> {
        let answer = summary(&self.0, &ask).await?;
        ask.snapshot.finish().await?;
        Ok(sheet(&self.0, &answer))
    }
}

impl Route for Me {
    const PATH: &'static str = "/v1/usage/me";
    const TITLE: &'static str = "The caller's own usage";
    const PARAMETERS: &'static [&'static Parameter] = &[
        &OPTIONAL_ORGANIZATION,
        &FROM,
        &TO,
        &PRESET,
        &TIME_ZONE,
        &AGENT,
        &PROVIDER,
        &MODEL,
        &TEAM,
        &API_KEY,
        &SOURCE,
        &KIND,
    ];
    type Answer = SummaryAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Own
    }

    fn parse(_: &Parameters, mut common: Common) -> Result<Self, Problem> {
        let Grant::Own { subject, .. } = &common.grant else {
            return Err(Problem::new(crate::problem::Kind::Forbidden, "expected a person"));
        };
        common.filters.insert(Dimension::User, vec![subject.clone()]);
        Ok(Self(common))
    }

    fn common(&self) -> &Common {
        &self.0
    }

    async fn answer<S: Snapshot>(&self, ask: &Ask<S>) -> Result<SummaryAnswer, Problem> {
        summary(&self.0, ask).await
    }

    async fn sheet<S: Snapshot>(&self, ask: Ask<S>) -> Result<Sheet, Problem> {
        let answer = summary(&self.0, &ask).await?;
        ask.snapshot.finish().await?;
        Ok(sheet(&self.0, &answer))
    }
}

async fn summary<S: Snapshot>(common: &Common, ask: &Ask<S>) -> Result<SummaryAnswer, Problem> {
    let range = common.days.range;
    let before = range.previous();
    let (totals, previous, active_users, active_agents, unattributed) = tokio::try_join!(
        ask.total(range, &common.filters),
        ask.total(before, &common.filters),
        active(common, ask, Dimension::User),
        active(common, ask, Dimension::Agent),
        unattributed(common, ask, range),
    )?;
    let totals = common.totals(&totals)?;
    let unattributed = common.totals(&unattributed)?;
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
        active_agents,
        unattributed: Unattributed {
            requests: unattributed.get(Counter::Requests),
            total_tokens: unattributed.get(Counter::TotalTokens),
            cost: unattributed.cost(),
        },
        unpriced: Unpriced {
            requests: totals.get(Counter::UnpricedRequests),
        },
    })
}

/// How many named values of a dimension had requests.
async fn active<S: Snapshot>(common: &Common, ask: &Ask<S>, dimension: Dimension) -> Result<u64, Problem> {
    let group_by = [dimension];
    let sought = Sought {
        counters: &[Counter::Requests],
        ..Sought::groups(&common.filters, &group_by)
    };
    let mut count = 0;
    ask.each(common.days.range, &sought, |key, _, sums| {
        let named = key.iter().all(|part| !is_sentinel(part));
        count += u64::from(named && sums[Counter::Requests] > 0);
        Ok(())
    })
    .await?;
    Ok(count)
}

/// What no agent is named for.
async fn unattributed<S: Snapshot>(common: &Common, ask: &Ask<S>, range: Range) -> Result<Sums, Problem> {
    let mut filters = common.filters.clone();
    let excluded = filters
        .insert(Dimension::Agent, vec![UNATTRIBUTED.to_owned()])
        .is_some_and(|agents| agents.iter().all(|agent| agent != UNATTRIBUTED));
    if excluded {
        return Ok(Sums::default());
    }
    ask.total(range, &filters).await
}

fn sheet(common: &Common, answer: &SummaryAnswer) -> Sheet {
    let mut columns = vec!["span", "from", "to", "activeUsers", "activeAgents"];
    columns.extend(totals_columns());
    let range = common.days.range;
    let row = |span: &str, from: NaiveDate, to: NaiveDate, active: [String; 2], totals: &Totals| {
        let mut row = vec![span.to_owned(), from.to_string(), to.to_string()];
        row.extend(active);
        row.extend(totals_cells(totals, common.currency));
        row
    };
    let active = [answer.active_users.to_string(), answer.active_agents.to_string()];
    let before = &answer.previous.range;
    let rows = [
        row("current", range.from, range.to, active, &answer.totals),
        row(
            "previous",
            before.from,
            before.to,
            Default::default(),
            &answer.previous.totals,
        ),
    ];
    Sheet::of(columns, rows)
}
