//! What a route is: its path, its parameters, who may ask, and how it is answered.

use std::future::Future;

use futures_util::stream::BoxStream;
use rollup::counters::{Counter, Sums};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Grant, Rule};
use crate::ask::Ask;
use crate::parameter::{Parameter, Parameters};
use crate::problem::Problem;
use crate::question::{Days, Filters};
use crate::reader::{Scope, Snapshot};
use crate::settings::Limits;
use crate::totals::{Currency, Totals, shown_name};

/// A route under `/v1`. There is none without a rule.
pub(crate) trait Route: Sized + Send + Sync + 'static {
    const PATH: &'static str;
    const TITLE: &'static str;
    const PARAMETERS: &'static [&'static Parameter];
    type Answer: Serialize + ToSchema + Send + Sync;

    /// Who may ask this.
    fn rule(parameters: &Parameters) -> Rule;

    /// Reads what is the route's own.
    fn parse(parameters: &Parameters, common: Common) -> Result<Self, Problem>;

    /// What the route has in common with the others.
    fn common(&self) -> &Common;

    /// Answers from one snapshot.
    fn answer<S: Snapshot>(&self, ask: &Ask<S>)
    -> impl Future<Output = Result<Self::Answer, Problem>> + Send;

    /// The whole answer as a table.
    fn sheet<S: Snapshot>(&self, ask: Ask<S>) -> impl Future<Output = Result<Sheet, Problem>> + Send;
}

/// What every question has in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) grant: Grant,
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

/// A table of texts, row by row.
pub(crate) struct Sheet {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: BoxStream<'static, Result<Vec<String>, Problem>>,
}

impl Sheet {
    /// A table that is in memory already.
    pub(crate) fn of(
        columns: Vec<&'static str>,
        rows: impl IntoIterator<Item = Vec<String>, IntoIter: Send + 'static>,
    ) -> Self {
        let rows = rows.into_iter().map(Ok);
        Self {
            columns,
            rows: Box::pin(futures_util::stream::iter(rows)),
        }
    }
}

/// The columns of [`totals_cells`].
pub(crate) fn totals_columns() -> impl Iterator<Item = &'static str> {
    Counter::ALL.into_iter().map(shown_name).chain(["currency"])
}

/// The counters of a row of a table. A cost that nobody knows is an empty cell.
pub(crate) fn totals_cells(totals: &Totals, currency: Currency) -> impl Iterator<Item = String> {
    let counters = Counter::ALL.map(|counter| match counter {
        Counter::CostNanos => totals
            .cost()
            .map(|cost| cost.amount().to_string())
            .unwrap_or_default(),
        counter => totals.get(counter).to_string(),
    });
    counters.into_iter().chain([currency.as_str().to_owned()])
}
