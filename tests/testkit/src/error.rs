//! What can go wrong while standing servers up.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Everything this crate fails with. Each message says what to do or shows the server's own last words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that is needed is not installed.
    #[error("{0}")]
    Missing(String),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A server ended although it should be running.
    #[error("{name} ended ({status}); its last lines:\n{log}")]
    Exited {
        /// The server.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("{name}: not {what} after {} s; its last lines:\n{log}", waited.as_secs_f32())]
    Late {
        /// The server.
        name: String,
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// The end of its log.
        log: String,
    },
    /// MongoDB refused a command of the set-up.
    #[error("mongodb: {0}")]
    Mongo(#[from] ::mongodb::error::Error),
    /// Anything else, already in words.
    #[error("{0}")]
    Other(String),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
