//! How the loop works.

use std::time::Duration;

use crate::batch::{Limits, Policy};

/// How the loop works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When a batch is committed.
    pub limits: Limits,
    /// What records are judged by.
    pub policy: Policy,
    /// The most ids in the windows of this process.
    pub max_ids: usize,
    /// How long the payloads of open letters are kept; `None`: for ever.
    pub letter_keep: Option<Duration>,
    /// How long the documents of the journal are kept. Those that a window needs are kept anyway.
    pub journal_keep: Duration,
}
