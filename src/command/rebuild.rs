//! `rebuild`: rows become what their entries say.

use clap::Args;
use ingest::lane::LaneId;

use super::running::{execute, say};
use super::settings::Settings;
use super::verify::Which;
use crate::app;
use crate::config::Verify;
use crate::failure::Failure;
use crate::rebuild::{Done, Rebuild};
use crate::store::{FENCES, Store};
use crate::verify::progress::Progress;
use crate::verify::report::sentence;
use crate::verify::scope::Scope;

/// What `rebuild` is asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Each row that is not the sum of its entries in `usageJournal` gets what it lacks, its parents with it, at most 1,000 \
statements a transaction. Workers may go on, readers see it at once, and whoever is interrupted simply begins again. \
Where documents of the journal are lost, nothing is taken away from rows that they may be a part of. It needs the rights \
of `deploy/roles/rebuild.json`.

  usage-ledger verify              what is wrong
  usage-ledger rebuild --dry-run   what would be changed
  usage-ledger rebuild             changes it
  usage-ledger rebuild --lane L    only lets a lane go on that stopped as `fence_behind`")]
pub(super) struct Order {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    settings: Settings<Verify>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Arguments")]
struct How {
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Only set the fence of this lane right, as `lanes list` shows it
    #[arg(long, conflicts_with_all = ["from", "to", "organization"])]
    lane: Option<String>,
}

pub(super) fn dispatch(order: Order) -> Result<(), Failure> {
    let settings = order.settings.load()?;
    let scope = order.which.scope()?;
    execute(rebuild(settings, scope, order.how))
}

async fn rebuild(settings: Verify, scope: Scope, how: How) -> Result<(), Failure> {
    let store = Store::open(&settings.database).await?;
    let rebuild = Rebuild {
        store: &store,
        scope,
        memory: settings.memory,
        is_dry: how.dry_run,
        now: app::now,
    };
    let lane = how.lane.map(LaneId::from_stored);
    let fences = rebuild.fences(lane.as_ref(), progress()).await?;
    let verb = if how.dry_run { "would be set" } else { "was set" };
    for fence in &fences {
        say(&format!("the fence of {fence}, {verb} to where its journal ends"))?;
    }
    if lane.is_some() {
        return match fences.is_empty() {
            true => say("its fence is where its journal ends: nothing was changed"),
            false => Ok(()),
        };
    }
    let mut done = rebuild.rows(progress).await?;
    if how.dry_run && !fences.is_empty() {
        // They would have been set right before.
        done.findings.retain(|finding| finding.collection != FENCES);
    }
    tell(&done, how.dry_run)
}

/// Tells on standard error how far it is.
fn progress() -> Progress {
    Progress::new(|line| eprintln!("rebuild: {line}"))
}

fn tell(done: &Done, is_dry: bool) -> Result<(), Failure> {
    let verb = if is_dry { "would be" } else { "were" };
    say(&format!(
        "{} rows and rollups {verb} changed, and {} that are nobody's {verb} removed, in {} transactions",
        done.rows, done.strays, done.steps
    ))?;
    if done.kept > 0 {
        let taken = if is_dry { "would be" } else { "was" };
        say(&format!(
            "from {} rows nothing {taken} taken away: documents of the journal are lost, and what these counted may be in \
             them",
            done.kept
        ))?;
    }
    for id in &done.unreadable {
        say(&format!(
            "left as it is, since a counter is no whole number of 64 bits: {id}"
        ))?;
    }
    for finding in &done.findings {
        say(&format!(
            "not to be mended from the journal: {}",
            sentence(finding)
        ))?;
    }
    for (what, why) in &done.not_compared {
        say(&format!("not compared: {what}: {why}"))?;
    }
    Ok(())
}
