//! What a route is: its path, its parameters, who may ask, and how it is answered.

mod cell;

use std::future::Future;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use rollup::counters::{Counter, Sums};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::cell::text_cell;
use crate::access::{Grant, Rule};
use crate::parameter::{Parameter, Parameters};
use crate::problem::Problem;
use crate::query::QueryContext;
use crate::question::{Days, Filters};
use crate::reader::{Key, Scope, Snapshot};
use crate::settings::Limits;
use crate::totals::{Currency, Money, Totals, shown_name};

/// A route under `/v1`. There is none without a rule.
pub(crate) trait Route: Sized + Send + Sync + 'static {
    const PATH: &'static str;
    const TITLE: &'static str;
    const PARAMETERS: &'static [&'static [&'static Parameter]];
    type Answer: Serialize + ToSchema + Send + Sync;

    /// Who may ask this.
    fn rule(parameters: &Parameters) -> Rule;

    /// Reads what is the route's own, and narrows what it has in common with the others.
    fn parse(parameters: &Parameters, common: &mut Common) -> Result<Self, Problem>;

    /// Answers from one snapshot.
    fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;

    /// The whole answer as a table.
    fn sheet<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> impl Future<Output = Result<Sheet, Problem>> + Send;

    /// An answer that counts, for a table that is made from it.
    fn finished<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> impl Future<Output = Result<Self::Answer, Problem>> + Send {
        async move {
            let answer = self.answer(common, &context).await?;
            context.finish().await?;
            Ok(answer)
        }
    }
}

/// What every question has in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) grant: Grant,
    /// Who asks belongs to the platform.
    pub(crate) is_staff: bool,
    pub(crate) days: Days,
    pub(crate) filters: Filters,
    pub(crate) currency: Currency,
    pub(crate) limits: Limits,
    pub(crate) excluded: Vec<String>,
}

impl Common {
    /// Whose rows are read.
    pub(crate) fn scope(&self) -> Scope {
        match &self.grant {
            Grant::Organization(organization) | Grant::Own { organization, .. } => {
                Scope::Organizations(vec![organization.clone()])
            }
            Grant::Several(organizations) => Scope::Organizations(organizations.clone()),
            Grant::Everybody => Scope::AllExcept(self.excluded.clone()),
        }
    }

    /// The organization that the answer is about.
    pub(crate) fn organization(&self) -> Option<&str> {
        match &self.grant {
            Grant::Organization(organization) | Grant::Own { organization, .. } => Some(organization),
            Grant::Several(_) | Grant::Everybody => None,
        }
    }

    pub(crate) fn totals(&self, sums: &Sums) -> Result<Totals, Problem> {
        Ok(Totals::of(sums, self.currency)?)
    }
}

/// A line of a table.
pub(crate) type Line = Vec<String>;

/// A table of texts, line by line.
pub(crate) struct Sheet {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) lines: BoxStream<'static, Result<Line, Problem>>,
}

impl Sheet {
    /// A table that is in memory already.
    pub(crate) fn of(
        columns: Vec<&'static str>,
        lines: impl IntoIterator<Item = Line, IntoIter: Send + 'static>,
    ) -> Self {
        let lines = stream::iter(lines.into_iter().map(Ok)).boxed();
        Self { columns, lines }
    }

    /// A table that is still being read. It is whole only when the snapshot ends well.
    pub(crate) fn read_from<S: Snapshot>(
        columns: Vec<&'static str>,
        snapshot: S,
        lines: impl Stream<Item = Result<Line, Problem>> + Send + 'static,
    ) -> Self {
        let end = stream::once(async move { snapshot.finish().await })
            .filter_map(async |ended| ended.err().map(|error| Err(error.into())));
        let lines = lines.chain(end).boxed();
        Self { columns, lines }
    }
}

/// The parts of a group's key as cells.
pub(crate) fn key_cells(key: &Key) -> impl Iterator<Item = String> {
    key.iter().map(|part| text_cell(part))
}

/// The columns of [`totals_cells`].
pub(crate) fn totals_columns() -> impl Iterator<Item = &'static str> {
    Counter::ALL.into_iter().map(shown_name).chain(["currency"])
}

/// The counters of a line of a table. A cost that nobody knows is an empty cell.
pub(crate) fn totals_cells(totals: &Totals) -> impl Iterator<Item = String> {
    let counters = Counter::ALL.map(|counter| match counter {
        Counter::CostNanos => cost_cell(totals.cost()),
        counter => totals.get(counter).to_string(),
    });
    counters
        .into_iter()
        .chain([totals.currency().as_str().to_owned()])
}

/// Money as a cell, without its currency.
pub(crate) fn cost_cell(cost: Option<Money>) -> String {
    cost.map(|cost| cost.amount().to_string()).unwrap_or_default()
}
