//! How long the source's server is waited for.
//!
//! A connection that is silent is given up, and whatever was asked on it is asked again on another. A server that looks
//! through a long history for what concerns one collection is silent too: so the same is waited for twice as long each
//! time.

use std::time::Duration;

use super::{Interrupt, Reader, error};

/// How long an answer is waited for at first.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// The most.
const LONG_ANSWER: Duration = Duration::from_secs(960);

/// How long the next one is waited for where this was in vain.
pub(super) fn longer(patience: Duration) -> Duration {
    (patience * 2).min(LONG_ANSWER)
}

impl<C> Reader<'_, C> {
    /// The server's answer, if it comes in time and somebody waits for it still. Whoever gets an interrupt drops the
    /// stream that was asked: its future was dropped half-way.
    pub(super) async fn answer<T>(
        &self,
        asked: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Interrupt> {
        tokio::select! {
            biased;
            answer = tokio::time::timeout(self.patience, asked) => {
                let answer = answer.map_err(|_| Interrupt::Silent)?;
                answer.map_err(|error| error::interrupt(&error))
            }
            () = self.grant.lost.cancelled() => Err(Interrupt::Lost),
            () = self.signals.closed() => Err(Interrupt::Closed),
        }
    }
}
