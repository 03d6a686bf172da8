//! `health`: asks a process that runs how it is. It is what an image without a shell is probed with.

use api::admin::ask::{Question, ask};
use clap::Args;

use super::running::{block_on, say};
use super::settings::Settings;
use crate::config::Admin;
use crate::failure::Failure;

/// What `health` is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Arguments")]
pub(super) struct Health {
    /// Ask whether it makes progress (`/readyz`), and not only whether it is alive; says why it does not
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    settings: Settings<Admin>,
}

/// Without telemetry: what it found is all that it says, however often it is asked.
pub(super) fn dispatch(health: &Health) -> Result<(), Failure> {
    let Admin { address } = health.settings.load()?;
    let (question, good, bad) = match health.ready {
        true => (Question::Ready, "ready", "not ready"),
        false => (Question::Alive, "alive", "not well"),
    };
    let place = format!("{address} (USAGE_LEDGER_ADMIN_ADDR)");
    block_on(async {
        let answer = ask(address, question).await;
        let answer = answer.map_err(|error| Failure::Failed(format!("{bad}: {place}: {error}")))?;
        if answer.is_yes {
            return say(&format!("{good}: {place}"));
        }
        Err(Failure::Failed(format!("{bad}: {place}: {}", answer.words)))
    })
}
