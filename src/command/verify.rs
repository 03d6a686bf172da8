//! `verify`: rows against entries.

use chrono::{Datelike, NaiveDate};
use clap::Args;

use super::running::{execute, say};
use super::settings::Settings;
use crate::config::Verify;
use crate::failure::Failure;
use crate::store::Store;
use crate::verify::pace::Pace;
use crate::verify::pass::Error;
use crate::verify::report::{self, Question};
use crate::verify::scope::{Days, Scope};

/// What `verify` is asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Every counter of every row and rollup is compared with the sum of its entries in `usageJournal`, in one snapshot each: \
workers may go on. Also looked at: whether each row's fields are those of its `_id`, whether the journal is whole, and \
whether fences and letters agree with it. Nothing is written: the role `deploy/roles/verification.json` is enough.

  usage-ledger verify                                      everything
  usage-ledger verify --from 2026-01-01 --to 2026-01-31    what has one of these days
  usage-ledger verify --json                               for programs

Exit codes: 0 clean, 2 something is not what it must be, 1 nothing could be compared, 64 a setting is wrong.")]
pub(super) struct Order {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    settings: Settings<Verify>,
}

/// Which rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which rows")]
pub(super) struct Which {
    /// Rows of periods that end on or after this day (2026-01-31)
    #[arg(long, value_name = "DAY")]
    from: Option<NaiveDate>,
    /// Rows of periods that begin on or before this day
    #[arg(long, value_name = "DAY")]
    to: Option<NaiveDate>,
    /// Rows of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct Output {
    /// As JSON: `clean`, `differences`, `differenceCount`, `notCompared`
    #[arg(long)]
    json: bool,
}

impl Which {
    pub(super) fn scope(self) -> Result<Scope, Failure> {
        for (name, day) in [("--from", self.from), ("--to", self.to)] {
            if day.is_some_and(|day| !(1..=9_999).contains(&day.year())) {
                return Err(Failure::argument(name, "expected a day of the years 1 to 9999"));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Failure::argument(
                "--to",
                format!("expected a day from {from} on"),
            ));
        }
        Ok(Scope {
            organization: self.organization,
            days: Days {
                from: self.from,
                to: self.to,
            },
            ..Scope::default()
        })
    }
}

pub(super) fn dispatch(order: Order) -> Result<(), Failure> {
    let settings = order.settings.load()?;
    let scope = order.which.scope()?;
    execute(verify(settings, scope, order.output.json))
}

async fn verify(settings: Verify, scope: Scope, as_json: bool) -> Result<(), Failure> {
    let store = Store::open(&settings.database).await?;
    let is_all = scope.is_all();
    let question = Question {
        store: &store,
        scope,
        memory: settings.memory,
        pace: Pace::FULL,
        tell: |line| eprintln!("verify: {line}"),
    };
    let report = report::report(&question).await?;
    match as_json {
        true => say(&report.json().to_string())?,
        false => say(report.text().trim_end())?,
    }
    match report.is_clean() {
        // There are entries, and none of these.
        true if report.rows() == 0 && report.entries() > 0 && !is_all => Err(Failure::Failed(
            "nothing was compared: there are no rows, and no entries, of that organization and these days"
                .into(),
        )),
        true => Ok(()),
        false => Err(Failure::Drift),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            other => Failure::Failed(other.to_string()),
        }
    }
}
