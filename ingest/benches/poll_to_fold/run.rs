//! What a run takes.

use std::time::Duration;

use testkit::measure::Used;
use testkit::{Error, Result};

/// A run is over: what it took up to its last event, and not what it takes to clean up.
pub(crate) struct Done {
    pub(crate) cpu: Duration,
}

/// Measures from its making on.
pub(crate) struct Since(Duration);

impl Since {
    pub(crate) fn now() -> Result<Self> {
        Ok(Self(Used::by(std::process::id())?.cpu))
    }

    pub(crate) fn done(&self) -> Result<Done> {
        let cpu = Used::by(std::process::id())?.cpu;
        Ok(Done { cpu: cpu - self.0 })
    }
}

/// What the client says is wrong.
pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::Other(format!("Kafka: {error}"))
}
