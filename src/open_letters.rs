//! The number of dead letters that wait, for Prometheus.

use std::time::Duration;

use prometheus::Registry;
use prometheus::core::AtomicI64;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::known::Known;
use crate::store::Store;

/// How often it is asked whether there may be others.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// A gauge of the dead letters of the whole ledger that wait.
pub(crate) fn gauge(registry: &Registry) -> prometheus::Result<Known<AtomicI64>> {
    Known::register(
        registry,
        "usage_ledger_dead_letters_open",
        "Dead letters of the whole ledger that wait: usage that is in no figure. Every worker gives the same number, and \
         none before it has counted",
    )
}

/// Keeps the gauge.
pub(crate) struct OpenLetters {
    store: Store,
    gauge: Known<AtomicI64>,
    /// The fences' word of the letters that were counted. `None`: nothing was counted yet.
    counted: Option<i64>,
}

impl OpenLetters {
    pub(crate) const fn new(store: Store, gauge: Known<AtomicI64>) -> Self {
        Self {
            store,
            gauge,
            counted: None,
        }
    }

    /// Counts whenever letters have changed.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.count().await {
                tracing::debug!(%error, "how many dead letters wait is not known now");
            }
        }
    }

    async fn count(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let changes = self.store.letter_changes().await?;
        if self.counted == Some(changes) {
            return Ok(());
        }
        let open = self.store.count_open_letters().await?;
        self.gauge.set(Some(i64::try_from(open)?));
        self.counted = Some(changes);
        Ok(())
    }
}
