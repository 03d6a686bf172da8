//! What all commands run in, and how they answer.

use std::io::Write as _;

use rollup::inert::inert_lines;

use crate::config::SETTINGS;
use crate::failure::Failure;
use crate::telemetry;

/// Prints a line. Whoever no longer listens has what they wanted.
pub(super) fn say(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{}", inert_lines(line)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the answer cannot be printed: {error}")))
        }
        _ => Ok(()),
    }
}

/// Runs a command to its end, with telemetry and a runtime.
pub(super) fn execute(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    telemetry::init();
    for variable in unknown_variables() {
        tracing::warn!(
            variable,
            "this is no setting, and is ignored; `usage-ledger run --help` lists them all"
        );
    }
    block_on(command)
}

/// Runs a command to its end, without telemetry: whatever it has to say it says itself.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    let result = runtime.block_on(command);
    // Whatever is still under way was given its time to end.
    runtime.shutdown_background();
    result
}

/// Variables that look like settings and are none: most likely a name was mistyped.
fn unknown_variables() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| {
        let setting = name.strip_prefix("USAGE_LEDGER_");
        setting.is_some_and(|name| !SETTINGS.iter().any(|setting| setting.name == name))
    })
}
