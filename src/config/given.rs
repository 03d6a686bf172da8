//! Texts as they were given, and the problems with them.

use std::collections::BTreeMap;
use std::fmt;

/// Settings as they were given, by name (without `USAGE_LEDGER_`). What is not set is not in it.
pub type Given = BTreeMap<&'static str, String>;

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The environment variable.
    pub variable: String,
    /// What was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.message)
    }
}
