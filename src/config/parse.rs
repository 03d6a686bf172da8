//! One function per kind of value; problems are collected, never thrown.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::given::{Given, Problem};
use super::table::{SETTINGS, Section, variable};

/// What a command is told: values made of the settings of some sections.
pub trait Part: Sized {
    /// The sections.
    fn sections() -> Vec<Section>;

    /// Reads the values. What is wrong is noted; then nobody gets to see what is returned here.
    fn read(parser: &mut Parser<'_>) -> Self;
}

/// Reads settings, and notes what is wrong with them.
pub struct Parser<'a> {
    given: &'a Given,
    problems: Vec<Problem>,
    files: Files<'a>,
}

/// Reads a file that a setting names.
pub(super) type Files<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

impl<'a> Parser<'a> {
    pub(super) const fn new(given: &'a Given, problems: Vec<Problem>, files: Files<'a>) -> Self {
        Self {
            given,
            problems,
            files,
        }
    }

    /// All values, or all problems.
    pub(super) fn read<T: Part>(mut self) -> Result<T, Vec<Problem>> {
        let value = T::read(&mut self);
        if self.problems.is_empty() {
            Ok(value)
        } else {
            Err(self.problems)
        }
    }

    /// Whether something is wrong with this setting.
    pub(super) fn is_wrong(&self, name: &str) -> bool {
        let variable = variable(name);
        self.problems.iter().any(|problem| problem.variable == variable)
    }
}

impl Parser<'_> {
    /// Something is wrong with this setting. Two parts that use it say so once.
    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.note(Problem {
            variable: variable(name),
            message: message.into(),
        });
    }

    pub(super) fn note(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// What a file holds that a setting names.
    pub(super) fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        (self.files)(path)
    }

    /// What was given, else the default. An empty text is "not set": that is how a shell clears a variable.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let given = self.given.get(name).filter(|text| !text.is_empty()).cloned();
        given.or_else(|| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
            setting.default.map(str::to_owned)
        })
    }

    /// A value of a type that reads itself; its error says what was expected.
    pub(super) fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, error.to_string());
                None
            }
        }
    }

    pub(super) fn address(&mut self, name: &str) -> SocketAddr {
        let text = self.text(name).unwrap_or_default();
        text.parse().unwrap_or_else(|_| {
            self.problem(
                name,
                format!("expected an address such as `127.0.0.1:8080`, got `{text}`"),
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    pub(super) fn name(&mut self, name: &str) -> String {
        let text = self.text(name).unwrap_or_default();
        let is_plain = |text: &str| {
            !text.is_empty() && text.len() <= 63 && !text.contains(['/', '\\', '.', ' ', '"', '$', '\0'])
        };
        if !is_plain(&text) {
            self.problem(name, format!("expected a database name, got `{text}`"));
        }
        text
    }

    pub(super) fn number(&mut self, name: &str, min: usize, max: usize) -> usize {
        let text = self.text(name).unwrap_or_default();
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ if max == usize::MAX => {
                self.problem(name, format!("expected a whole number from {min}, got `{text}`"));
                min
            }
            _ => {
                self.problem(
                    name,
                    format!("expected a whole number from {min} to {max}, got `{text}`"),
                );
                min
            }
        }
    }

    pub(super) fn duration(&mut self, name: &str, min: Duration) -> Option<Duration> {
        let text = self.text(name)?;
        match humantime::parse_duration(&text) {
            // Far beyond any sensible value, and far below where arithmetic on instants ends.
            Ok(duration) if (min..=Duration::from_secs(100 * 366 * 86_400)).contains(&duration) => {
                Some(duration)
            }
            _ => {
                self.problem(
                    name,
                    format!("expected a duration such as `250ms`, `20s` or `24h`, got `{text}`"),
                );
                None
            }
        }
    }

    pub(super) fn bytes(&mut self, name: &str) -> usize {
        let text = self.text(name).unwrap_or_default();
        let bytes = text
            .parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| usize::try_from(size.as_u64()).ok());
        bytes.filter(|bytes| *bytes > 0).unwrap_or_else(|| {
            self.problem(name, format!("expected a size such as `8MiB`, got `{text}`"));
            1
        })
    }

    pub(super) fn instant(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        match DateTime::parse_from_rfc3339(&text) {
            Ok(instant) => Some(instant.to_utc()),
            Err(_) => {
                self.problem(
                    name,
                    format!("expected an instant such as `2026-01-01T00:00:00Z`, got `{text}`"),
                );
                None
            }
        }
    }

    pub(super) fn one_of(&mut self, name: &str, values: &[&'static str]) -> Option<&'static str> {
        let text = self.text(name)?;
        let found = values.iter().find(|value| **value == text).copied();
        if found.is_none() {
            let expected = values
                .iter()
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" or ");
            self.problem(name, format!("expected {expected}, got `{text}`"));
        }
        found
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// `key=value,key=value`, with `\,` for a comma in a value.
    pub(super) fn properties(&mut self, name: &str) -> Vec<(String, String)> {
        let text = self.text(name).unwrap_or_default();
        let mut items = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek() == Some(&',') => {
                    items.last_mut().expect("never empty").extend(characters.next());
                }
                ',' => items.push(String::new()),
                other => items.last_mut().expect("never empty").push(other),
            }
        }
        let mut properties = Vec::new();
        for item in items.iter().filter(|item| !item.trim().is_empty()) {
            match item.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    properties.push((key.trim().to_owned(), value.to_owned()));
                }
                // The item may be part of a password: it is not shown.
                _ => self.problem(
                    name,
                    "expected `key=value,key=value`, with `\\,` for a comma in a value",
                ),
            }
        }
        properties
    }
}
