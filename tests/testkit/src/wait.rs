//! Waiting for what must come, and never for time to pass.

use std::future::Future;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// How long anything may take before a test says that it never will. Much longer than anything takes on a busy
/// machine: it is never what a test measures.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How often is asked.
const ASK: Duration = Duration::from_millis(20);

/// Asks until the answer is yes.
///
/// # Panics
/// When it is not after [`PATIENCE`].
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(ASK).await;
    }
}

/// The time on this machine.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests and the demo run in real time")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
