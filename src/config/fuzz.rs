//! The checks of every configuration that a fuzzer thinks of, besides that none makes the parser panic.

use std::fmt::Debug;

use super::{Given, Problem, Process, Reader, SETTINGS, Worker};

/// Stands in secrets, and nowhere else: it must not be shown.
const HIDDEN: &str = "geheim";

/// Lines `NAME=value`: what was given is taken, or each problem names a variable; what is secret stays so.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut given = Given::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
            given.insert(setting.name, value.replace("\\n", "\n"));
        }
    }
    let is_open = |setting: &&super::Setting| !setting.is_secret;
    let holds_hidden = |name| given.get(name).is_some_and(|text: &String| text.contains(HIDDEN));
    if SETTINGS
        .iter()
        .filter(is_open)
        .any(|setting| holds_hidden(setting.name))
    {
        return;
    }
    let reads = super::parse::<(Process, Worker, Reader)>(&given);
    if let Ok((_, _, reader)) = &reads {
        let checked = api::check_access(&reader.access);
        assert_eq!(checked.map_err(|error| error.to_string()), Ok(()));
    }
    shows_nothing(&reads);
    shows_nothing(&super::parse::<(Process, Worker)>(&given));
}

fn shows_nothing<T: Debug>(parsed: &Result<T, Vec<Problem>>) {
    let shown = match parsed {
        Ok(parts) => format!("{parts:?}"),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let is_known = SETTINGS
                    .iter()
                    .any(|setting| setting.variable() == problem.variable);
                assert!(is_known && !problem.message.is_empty(), "{problem}");
            }
            problems.iter().map(ToString::to_string).collect()
        }
    };
    assert!(!shown.contains(HIDDEN), "{shown}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_of_use_to_the_fuzzer_is_taken_or_named() {
        fuzz::replay("configuration", super::configuration);
    }
}
