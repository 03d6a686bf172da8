//! A route: its path, its parameters, the right that it needs, and its answer.

use std::future::Future;

use rollup::counters::Sums;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Grant, Rule};
use crate::csv_table::CsvTable;
use crate::parameter::{Parameter, Parameters};
use crate::problem::Problem;
use crate::query::QueryContext;
use crate::question::Days;
use crate::reader::{Scope, Snapshot};
use crate::rows::Filters;
use crate::settings::Limits;
use crate::totals::{Currency, Totals};

/// A route under `/v1`. There is none without a rule.
pub(crate) trait Route: Sized + Send + Sync + 'static {
    const PATH: &'static str;
    const TITLE: &'static str;
    const PARAMETERS: &'static [&'static [&'static Parameter]];
    const REJECTED: Tells = Tells::OfTheirs;
    /// Whether its answers tell when rows were last compared with their entries.
    const VERIFIED: bool = false;
    type Answer: Serialize + ToSchema + Send + Sync;

    /// The right that the question needs.
    fn rule(parameters: &Parameters) -> Rule;

    /// Reads the route's own parameters, and narrows the common ones.
    fn parse(parameters: &Parameters, common: &mut Common) -> Result<Self, Problem>;

    /// Answers from one snapshot.
    fn answer<S: Snapshot>(
        &self,
        common: &Common,
        context: &QueryContext<S>,
    ) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;

    /// The whole answer as a table.
    fn csv_table<S: Snapshot>(
        &self,
        common: &Common,
        context: QueryContext<S>,
    ) -> impl Future<Output = Result<CsvTable, Problem>> + Send;
}

/// What the answers of a route tell of events that were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// Nothing: whose usage a person's refused event is, nobody knows.
    Nothing,
    /// Those of the organizations that the answer is about. Where that is the whole platform, also those that name none.
    OfTheirs,
    /// To staff, also those that name none: they may be of this organization, too.
    OfAll,
}

/// The part that all questions share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) grant: Grant,
    /// Whether the caller belongs to the platform.
    pub(crate) is_staff: bool,
    pub(crate) days: Days,
    pub(crate) filters: Filters,
    pub(crate) currency: Currency,
    pub(crate) limits: Limits,
    pub(crate) excluded: Vec<String>,
}

impl Common {
    /// The owners of the rows that are read.
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
