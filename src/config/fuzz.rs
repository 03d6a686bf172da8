//! What is checked of every configuration that a fuzzer thinks of, besides that none makes the parser panic.

use super::{Config, Given, SETTINGS};

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
    for serves in [true, false] {
        let parsed = Config::parse(&given, serves);
        let shown = match &parsed {
            Ok(config) => {
                if let Some(access) = &config.access {
                    assert_eq!(
                        api::check_access(access).map_err(|error| error.to_string()),
                        Ok(())
                    );
                }
                format!("{config:?}")
            }
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
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_of_use_to_the_fuzzer_is_taken_or_named() {
        fuzz::replay("configuration", super::configuration);
    }
}
