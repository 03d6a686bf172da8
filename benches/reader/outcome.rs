//! How a step of the benchmark ends.

/// Its value, or whatever went wrong, for a person to read.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
