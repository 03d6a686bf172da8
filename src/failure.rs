//! The end of a command that cannot do its work: exit codes and sentences.

use std::process::ExitCode;

use crate::config::Problem;
use crate::store;
use rollup::inert::inert_lines;

/// The exit code of settings and arguments that are wrong.
pub(crate) const BAD_CONFIGURATION: u8 = 64;

/// The exit code of rows that are not what they must be.
const DRIFT: u8 = 2;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Settings are wrong: exit 64.
    Settings(Vec<Problem>),
    /// Rows are not what they must be, and that was said: exit 2.
    Drift,
    /// Anything else: exit 1.
    Failed(String),
}

impl Failure {
    /// An argument is wrong.
    pub(crate) fn argument(name: &str, message: impl Into<String>) -> Self {
        Failure::Settings(vec![Problem {
            variable: name.into(),
            message: message.into(),
        }])
    }

    /// Says it, and gives the exit code for it.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Failure::Settings(problems) => {
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
            Failure::Drift => ExitCode::from(DRIFT),
            Failure::Failed(why) => {
                eprintln!("usage-ledger: {}", inert_lines(&why));
                ExitCode::FAILURE
            }
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Setting(problem) => Failure::Settings(vec![problem]),
            store::Error::Unusable(why) | store::Error::Passing(why) => Failure::Failed(why),
        }
    }
}
