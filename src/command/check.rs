//! `config check`: every setting, its value in force, and every problem.

use rollup::inert::inert_lines;

use super::settings::Settings;
use crate::app;
use crate::config::{Process, Reader, SETTINGS, Verify, Worker};
use crate::failure::Failure;

/// Every setting that there is.
pub(super) type All = (Process, Worker, (Reader, Verify));

pub(super) fn check(settings: &Settings<All>) -> Result<(), Failure> {
    let (_, _, (reader, _)) = settings.load()?;
    let certificate = reader.certificate;
    if let Some(warning) = certificate.and_then(|certificate| certificate.warning(app::now())) {
        eprintln!("usage-ledger: {}", inert_lines(&warning.to_string()));
    }
    let given = settings.given();
    for setting in SETTINGS {
        let set = given
            .get(setting.name)
            .map(String::as_str)
            .filter(|value| !value.is_empty());
        // Where a file holds it, that file's name is shown, and not what would hold without.
        let is_in_file = SETTINGS.iter().any(|file| {
            file.holds == Some(setting.name) && given.get(file.name).is_some_and(|path| !path.is_empty())
        });
        let shown = match (set, setting.default) {
            (None, _) if is_in_file => "<redacted>",
            (Some(_), _) if setting.is_secret => "<redacted>",
            (Some(value), _) => value,
            (None, Some(default)) => default,
            (None, None) => "",
        };
        println!("{}={shown}", setting.variable());
    }
    Ok(())
}
