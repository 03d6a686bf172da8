//! `GET /v1/usage/meta`: the values that questions can have.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use rollup::counters::Counter;
use rollup::period::{Granularity, Period};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Rule;
use crate::csv_table::{CsvTable, text_cell};
use crate::envelope::Instant;
use crate::group_by::GroupBy;
use crate::parameter::{Parameter, Parameters};
use crate::problem::Problem;
use crate::query::{GroupQuery, QueryContext};
use crate::question::{DAYS, FILTERED, FORMAT, OPTIONAL_ORGANIZATION};
use crate::range::Preset;
use crate::reader::{Snapshot, Verified};
use crate::route::{Common, Route, Tells};
use crate::rows::Filters;
use crate::totals::shown_name;

/// What there is to ask for.
pub(crate) struct Meta;

/// What there is to ask for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetaAnswer {
    /// The filters.
    dimensions: Vec<&'static str>,
    /// The counters of totals.
    metrics: Vec<&'static str>,
    /// The granularities that are stored.
    granularities: Vec<&'static str>,
    /// The names of ranges.
    presets: Vec<&'static str>,
    /// The time zone that periods are in.
    time_zone: String,
    /// The currency of costs.
    currency: String,
    /// The oldest day with usage.
    oldest_period: Option<String>,
    /// The newest day with usage.
    newest_period: Option<String>,
    /// The services that emitted usage in the range.
    sources: Vec<String>,
    /// What the last comparison of the rows with the entries behind them has found, on the ledger's schedule; null where
    /// there was none.
    verified: Option<ShownVerified>,
    /// To staff: the lanes that usage comes through.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lanes: Option<Vec<String>>,
}

/// Rows were compared with the entries behind them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verified)]
struct ShownVerified {
    /// When that ended.
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    /// The first day whose figures were compared.
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    /// Whether each of them was the sum of its entries.
    clean: bool,
}

impl From<Verified> for ShownVerified {
    fn from(verified: Verified) -> Self {
        Self {
            at: Instant(verified.at),
            from: verified.from,
            to: verified.to,
            clean: verified.is_clean,
        }
    }
}

impl Route for Meta {
    const PATH: &'static str = "/v1/usage/meta";
    const TITLE: &'static str = "What there is to ask for";
    const PARAMETERS: &'static [&'static [&'static Parameter]] = &[&[&OPTIONAL_ORGANIZATION, &FORMAT], DAYS];
    const REJECTED: Tells = Tells::OfAll;
    const VERIFIED: bool = true;
    type Answer = MetaAnswer;

    fn rule(_: &Parameters) -> Rule {
        Rule::Description
    }

    fn parse(_: &Parameters, _: &mut Common) -> Result<Self, Problem> {
        Ok(Self)
    }

    async fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<MetaAnswer, Problem> {
        let bounds = context.snapshot().bounds(&context.scope).await?;
        let sources = sources(common, context).await?;
        let day = |day| Period::holding(Granularity::Daily, day).to_string();
        Ok(MetaAnswer {
            dimensions: FILTERED.iter().map(|dimension| dimension.name()).collect(),
            metrics: Counter::ALL.into_iter().map(shown_name).collect(),
            granularities: context.kept.iter().map(|kept| kept.granularity.name()).collect(),
            presets: Preset::NAMES.to_vec(),
            time_zone: context.calendar.zone_name().to_owned(),
            currency: common.currency.as_str().to_owned(),
            oldest_period: bounds.map(|(oldest, _)| day(oldest)),
            newest_period: bounds.map(|(_, newest)| day(newest)),
            sources: sources.into_iter().collect(),
            verified: context.snapshot().freshness().verified.map(ShownVerified::from),
            // They name hosts and collections, which are nothing to organizations.
            lanes: common.is_staff.then(|| {
                let lanes = &context.snapshot().freshness().lanes;
                lanes.iter().map(|lane| lane.name.clone()).collect()
            }),
        })
    }

    async fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> Result<CsvTable, Problem> {
        let answer = self.answer(common, &context).await?;
        let list = |name: &str, values: Vec<String>| {
            let name = name.to_owned();
            values
                .into_iter()
                .map(move |value| vec![name.clone(), text_cell(&value)])
                .collect::<Vec<_>>()
        };
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let verified = answer.verified.as_ref();
        let of_verified = |told: fn(&ShownVerified) -> String| verified.map(told).into_iter().collect();
        let rows = [
            list("dimension", owned(answer.dimensions)),
            list("metric", owned(answer.metrics)),
            list("granularity", owned(answer.granularities)),
            list("preset", owned(answer.presets)),
            list("timeZone", vec![answer.time_zone]),
            list("currency", vec![answer.currency]),
            list("oldestPeriod", answer.oldest_period.into_iter().collect()),
            list("newestPeriod", answer.newest_period.into_iter().collect()),
            list("source", answer.sources),
            list("verifiedAt", of_verified(|verified| verified.at.text())),
            list("verifiedFrom", of_verified(|verified| verified.from.to_string())),
            list("verifiedTo", of_verified(|verified| verified.to.to_string())),
            list(
                "verifiedClean",
                of_verified(|verified| verified.clean.to_string()),
            ),
            list("lane", answer.lanes.unwrap_or_default()),
        ];
        Ok(CsvTable::of(vec!["name", "value"], rows.into_iter().flatten()))
    }
}

async fn sources<S: Snapshot>(
    common: &Common,
    context: &QueryContext<S>,
) -> Result<BTreeSet<String>, Problem> {
    let filters = Filters::new();
    let group_query = GroupQuery {
        counters: &[Counter::Requests],
        ..GroupQuery::groups(&filters, GroupBy::Source.dimensions())
    };
    let mut sources = BTreeSet::new();
    context
        .each(common.days.range, &group_query, |key, _, _| {
            sources.extend(key.iter().map(ToString::to_string));
            Ok(())
        })
        .await?;
    Ok(sources)
}
