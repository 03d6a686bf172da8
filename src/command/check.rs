//! `config check`: every setting, its value in force, and every problem.

use super::Failure;
use crate::config::{Config, Given, SETTINGS};

pub(super) fn check(given: &Given) -> Result<(), Failure> {
    Config::parse(given, true).map_err(Failure::Settings)?;
    for setting in SETTINGS {
        let set = given
            .get(setting.name)
            .map(String::as_str)
            .filter(|value| !value.is_empty());
        let shown = match (set, setting.default) {
            (Some(_), _) if setting.is_secret => "<redacted>",
            (Some(value), _) => value,
            (None, Some(default)) => default,
            (None, None) => "",
        };
        println!("{}={shown}", setting.variable());
    }
    Ok(())
}
