//! What a person can ask of the program.
//!
//! Arguments and environment are read here and nowhere else. Exit codes: 0 clean, 64 a setting or argument
//! is wrong, 1 any other failure.

mod check;
mod dead_letters;
mod lanes;
mod migrate;
mod run;

use std::io::Write as _;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::builder::styling::Styles;
use clap::{Arg, ArgAction, ArgMatches, Command};
use rollup::event::Rules;

use crate::config::{Config, Given, Problem, SETTINGS};
use crate::inert::inert_lines;
use crate::store;
use crate::telemetry;

const BAD_CONFIGURATION: u8 = 64;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Settings are wrong: exit 64.
    Settings(Vec<Problem>),
    /// Anything else: exit 1.
    Failed(String),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Setting(problem) => Failure::Settings(vec![problem]),
            store::Error::Unusable(why) | store::Error::Passing(why) => Failure::Failed(why),
        }
    }
}

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let code = if error.use_stderr() { BAD_CONFIGURATION } else { 0 };
            // Where not even that can be printed, the exit code has to do.
            return error.print().map_or(ExitCode::FAILURE, |()| ExitCode::from(code));
        }
    };
    match dispatch(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(problems)) => {
            let settings = if problems.len() == 1 {
                "a setting is"
            } else {
                "settings are"
            };
            eprintln!("usage-ledger: {settings} wrong:");
            for problem in problems {
                eprintln!("  {}", inert_lines(&problem.to_string()));
            }
            ExitCode::from(BAD_CONFIGURATION)
        }
        Err(Failure::Failed(why)) => {
            eprintln!("usage-ledger: {}", inert_lines(&why));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, arguments) = matches.subcommand().expect("clap requires one");
    let config =
        |arguments: &ArgMatches, serves| Config::load(&given(arguments), serves).map_err(Failure::Settings);
    match name {
        "run" => execute(run::run(
            config(arguments, true)?,
            run::Parts {
                ingests: true,
                serves: true,
            },
        )),
        "ingest" => execute(run::run(
            config(arguments, false)?,
            run::Parts {
                ingests: true,
                serves: false,
            },
        )),
        "serve" => execute(run::run(
            config(arguments, true)?,
            run::Parts {
                ingests: false,
                serves: true,
            },
        )),
        "migrate" => execute(migrate::migrate(config(arguments, false)?)),
        "config" => {
            let (_, arguments) = arguments.subcommand().expect("clap requires one");
            check::check(&given(arguments))
        }
        "lanes" => {
            let (name, arguments) = arguments.subcommand().expect("clap requires one");
            let config = config(arguments, false)?;
            match name {
                "list" => execute(lanes::list(config)),
                _ => {
                    let order = lanes::Resume::read(arguments)?;
                    execute(lanes::resume(config, order))
                }
            }
        }
        "dead-letters" => {
            let (name, arguments) = arguments.subcommand().expect("clap requires one");
            let config = config(arguments, false)?;
            match name {
                "list" => execute(dead_letters::list(config, dead_letters::List::read(arguments))),
                "show" => {
                    let id = arguments.get_one::<String>("id").cloned().unwrap_or_default();
                    execute(dead_letters::show(config, id))
                }
                _ => {
                    let order = dead_letters::Replay::read(arguments)?;
                    execute(dead_letters::replay(config, order, now()))
                }
            }
        }
        other => Err(Failure::Failed(format!("`{other}` is not a command"))),
    }
}

/// Prints a line. Whoever no longer listens has what they wanted.
fn say(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{}", inert_lines(line)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the answer cannot be printed: {error}")))
        }
        _ => Ok(()),
    }
}

/// The rules that do not depend on the clock.
fn rules(config: &Config) -> Rules {
    Rules {
        currency: config.identity.currency.clone(),
        start_at_ms: config.start_at.map(|start| start.timestamp_millis()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the machine what time it is"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn execute(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    telemetry::init();
    for variable in unknown_variables() {
        tracing::warn!(
            variable,
            "this is no setting, and is ignored; `usage-ledger run --help` lists them all"
        );
    }
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

/// What was set, by flag or else by variable.
fn given(arguments: &ArgMatches) -> Given {
    let value = |name: &'static str| {
        arguments
            .get_one::<String>(name)
            .map(|value| (name, value.clone()))
    };
    SETTINGS
        .iter()
        .filter_map(|setting| value(setting.name))
        .collect()
}

fn command() -> Command {
    Command::new("usage-ledger")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An exact usage ledger for AI platforms: who used what, to the token and the nano-dollar")
        .long_about(
            "Consumes request-completed events from a MongoDB change stream or Kafka, merges them into exact rows and \
             rollups in MongoDB, and serves them.\n\n\
             Try it:  USAGE_LEDGER_AUTH=off usage-ledger run\n\
             Then insert events into the collection `requestEvents` and open \
             http://127.0.0.1:8080/v1/usage/summary?organizationId=…",
        )
        .after_help("Exit codes: 0 clean, 64 a setting is wrong, 1 any other failure.\nRUST_LOG chooses what is logged (default: info).")
        .styles(Styles::plain())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings("run", "Ingest and serve, in one process"))
        .subcommand(with_settings("ingest", "Consume events into the ledger"))
        .subcommand(with_settings("serve", "Answer readers"))
        .subcommand(with_settings("migrate", "Create the ledger's collections, validators and indexes, or complete them"))
        .subcommand(
            Command::new("config")
                .about("Look at settings")
                .subcommand_required(true)
                .subcommand(with_settings("check", "Check all settings and print those in force, without secrets")),
        )
        .subcommand(
            Command::new("lanes")
                .about("Look at the lanes of the source, and let a stopped one go on")
                .subcommand_required(true)
                .subcommand(with_settings("list", "List the lanes: where they are, what they read, why they stopped"))
                .subcommand(lanes::Resume::arguments(with_settings(
                    "resume",
                    "Let a stopped lane go on, accepting that what lies between is not counted",
                ))),
        )
        .subcommand(
            Command::new("dead-letters")
                .about("Look at rejected records, and have them judged again")
                .subcommand_required(true)
                .subcommand(dead_letters::List::arguments(with_settings(
                    "list",
                    "List dead letters: where they were, why they were rejected, what became of them",
                )))
                .subcommand(dead_letters::show_arguments(with_settings(
                    "show",
                    "Show a dead letter whole, with its payload",
                )))
                .subcommand(dead_letters::Replay::arguments(with_settings(
                    "replay",
                    "Mark dead letters to be judged again, each exactly once, by the worker that owns its lane",
                ))),
        )
}

fn with_settings(name: &'static str, about: &'static str) -> Command {
    let flag = |setting: &'static crate::config::Setting| {
        let default = match setting.default {
            Some(default) => format!("{} [default: {default}]", setting.help),
            None => setting.help.to_owned(),
        };
        Arg::new(setting.name)
            .long(setting.flag())
            .env(setting.variable())
            .hide_env_values(true)
            .action(ArgAction::Set)
            .value_name("VALUE")
            .help(default)
    };
    Command::new(name)
        .about(about)
        .next_help_heading("Settings")
        .args(SETTINGS.iter().map(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_and_a_variable_of_every_command_that_uses_settings() {
        let matches = command()
            .try_get_matches_from(["usage-ledger", "migrate", "--mongodb-database", "books"])
            .expect("valid");
        let (_, arguments) = matches.subcommand().expect("migrate");
        assert_eq!(
            given(arguments).get("MONGODB_DATABASE").map(String::as_str),
            Some("books")
        );
    }
}
