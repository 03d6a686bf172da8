//! The commands of the program.
//!
//! Arguments and environment are read here and nowhere else. Exit codes: 0 clean, 64 a setting or argument
//! is wrong, 2 `verify` found drift, 1 any other failure.

mod check;
mod dead_letters;
mod health;
mod lanes;
mod migrate;
mod rebuild;
mod running;
mod settings;
mod verify;

use std::process::ExitCode;

use clap::builder::styling::Styles;
use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{Database, Identity, Process, Reader, Source, Worker};
use crate::failure::{BAD_CONFIGURATION, Failure};
use running::execute;
use settings::Settings;

/// An exact usage ledger for AI platforms: who used what, to the token and the nano-dollar
///
/// Consumes request-completed events from a MongoDB change stream or Kafka, merges them into exact rows and rollups in
/// MongoDB, and serves them.
///
/// Try it:  USAGE_LEDGER_AUTH=off usage-ledger run
///
/// Then insert events into the collection `requestEvents` and open
/// http://127.0.0.1:8080/v1/usage/summary?organizationId=…
#[derive(Debug, Parser)]
#[command(
    name = "usage-ledger",
    version,
    styles = Styles::plain(),
    after_help = "Exit codes: 0 clean, 64 a setting is wrong, 2 `verify` found drift, 1 any other failure.\n\
                  RUST_LOG chooses what is logged (default: info)."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ingest and serve, in one process
    Run(Settings<(Process, Worker, Reader)>),
    /// Consume events into the ledger
    Ingest(Settings<(Process, Worker)>),
    /// Answer readers
    Serve(Settings<(Process, Reader)>),
    /// Create the ledger's collections, validators and indexes, or complete them
    Migrate(Settings<(Database, Identity, Source)>),
    /// Ask a process that runs on this machine how it is: exit code 0, or 1 where it is not well
    Health(health::Health),
    /// Compare every row with the sum of its entries
    Verify(verify::Order),
    /// Make rows what their entries say
    Rebuild(rebuild::Order),
    /// Look at settings
    #[command(subcommand)]
    Config(Config),
    /// Look at the lanes of the source, and let a stopped one go on
    #[command(subcommand)]
    Lanes(lanes::Command),
    /// Look at rejected records, and have them judged again
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Check all settings and print those in force, without secrets
    Check(Settings<check::All>),
}

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { BAD_CONFIGURATION } else { 0 };
            // Where not even that can be printed, the exit code has to do.
            return error.print().map_or(ExitCode::FAILURE, |()| ExitCode::from(code));
        }
    };
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(settings) => {
            let (process, worker, reader) = settings.load()?;
            execute(app::run(process, Some(worker), Some(reader)))
        }
        Command::Ingest(settings) => {
            let (process, worker) = settings.load()?;
            execute(app::run(process, Some(worker), None))
        }
        Command::Serve(settings) => {
            let (process, reader) = settings.load()?;
            execute(app::run(process, None, Some(reader)))
        }
        Command::Migrate(settings) => {
            let (database, identity, source) = settings.load()?;
            execute(migrate::migrate(database, identity, source))
        }
        Command::Health(health) => health::dispatch(&health),
        Command::Verify(order) => verify::dispatch(order),
        Command::Rebuild(order) => rebuild::dispatch(order),
        Command::Config(Config::Check(settings)) => check::check(&settings),
        Command::Lanes(command) => lanes::dispatch(command),
        Command::DeadLetters(command) => dead_letters::dispatch(command),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    fn help(arguments: &[&str]) -> String {
        let arguments = ["usage-ledger"].iter().chain(arguments).chain(&["--help"]);
        let help = Arguments::try_parse_from(arguments).expect_err("help");
        help.to_string()
    }

    #[test]
    fn each_command_shows_the_settings_that_it_uses_and_no_others() {
        for (command, uses, uses_not) in [
            (
                &["run"][..],
                &["--jwt-secret-file", "--lease", "--api-addr", "--verify-every"][..],
                &[][..],
            ),
            (
                &["ingest"],
                &[
                    "--kafka-topic",
                    "--admin-addr",
                    "--verify-days",
                    "--verify-memory",
                ],
                &["--jwt-secret", "--api-addr"],
            ),
            (
                &["serve"],
                &["--jwt-secret", "--time-zone"],
                &["--kafka-topic", "--lease", "--start-at", "--verify-every"],
            ),
            (
                &["migrate"],
                &["--granularities", "--events-collection"],
                &["--lease", "--admin-addr"],
            ),
            (
                &["lanes", "list"],
                &["--mongodb-uri-file"],
                &["--source", "--currency"],
            ),
            (
                &["lanes", "resume"],
                &["--lane", "--kafka-brokers"],
                &["--currency", "--lease"],
            ),
            (
                &["health"],
                &["--ready", "--admin-addr"],
                &["--admin-max-connections", "--drain-timeout", "--mongodb-uri"],
            ),
            (
                &["verify"],
                &[
                    "--organization",
                    "--json",
                    "--verify-memory",
                    "--mongodb-uri-file",
                ],
                &["--source", "--currency", "--time-zone", "--verify-every"],
            ),
            (
                &["rebuild"],
                &["--organization", "--dry-run", "--lane", "--verify-memory"],
                &["--json", "--source", "--currency"],
            ),
            (&["dead-letters", "list"], &["--state"], &["--currency"]),
            (
                &["dead-letters", "replay"],
                &["--dry-run", "--max-age"],
                &["--source", "--lease"],
            ),
        ] {
            let help = help(command);
            let shows = |flag: &&&str| help.split_whitespace().any(|word| word == **flag);
            assert!(uses.iter().all(|flag| shows(&flag)), "{command:?}: {help}");
            assert!(!uses_not.iter().any(|flag| shows(&flag)), "{command:?}: {help}");
        }
    }

    #[test]
    fn a_setting_is_a_flag_of_the_commands_that_use_it() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from(["usage-ledger"].iter().chain(arguments));
        let Ok(Arguments {
            command: Command::Migrate(settings),
        }) = parse(&["migrate", "--mongodb-database", "books"])
        else {
            panic!("valid");
        };
        let (database, ..) = settings.load().expect("valid");
        assert_eq!(database.name, "books");
        assert!(parse(&["migrate", "--lease", "1s"]).is_err());
    }
}
