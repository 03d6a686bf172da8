//! For how long the change stream can still go on from where it is, for Prometheus.

use std::time::Duration;

use prometheus::Registry;
use prometheus::core::AtomicF64;
use tokio_util::sync::CancellationToken;

use crate::known::Known;
use crate::store::Store;
use crate::store::oplog::NotKnown;

/// How often the oplog is looked at, at most: it moves by itself, and alerts think in hours. What nobody asks for is not
/// looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The gauges. Every worker shows the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct OplogGauges {
    window: Known<AtomicF64>,
    token_age: Known<AtomicF64>,
}

impl OplogGauges {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            window: Known::register(
                registry,
                "usage_ledger_oplog_window_seconds",
                "How far MongoDB's oplog reaches back from its newest entry: for so long the worker can be away. Not given \
                 where the user may not read `local.oplog.rs`",
            )?,
            token_age: Known::register(
                registry,
                "usage_ledger_resume_token_age_seconds",
                "How far before the oplog's newest entry the stored position of the change stream is. Where it reaches \
                 `usage_ledger_oplog_window_seconds`, history is lost and the lane stops. Given only beside that",
            )?,
        })
    }

    /// What is known now: the window, and the age of the position.
    pub(crate) fn set(&self, window: Option<Duration>, token_age: Option<Duration>) {
        self.window.set(window.map(|window| window.as_secs_f64()));
        self.token_age.set(token_age.map(|age| age.as_secs_f64()));
    }
}

/// Keeps the gauges of one lane.
pub(crate) struct OplogWatch {
    store: Store,
    lane: String,
    gauges: OplogGauges,
    /// It was said that the right is missing.
    has_said: bool,
}

impl OplogWatch {
    pub(crate) const fn new(store: Store, lane: String, gauges: OplogGauges) -> Self {
        Self {
            store,
            lane,
            gauges,
            has_said: false,
        }
    }

    /// Looks when somebody asks, until it is to stop: whoever asks gets what was known before, and the next one this.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let looking = async {
            loop {
                self.gauges.window.asked().await;
                self.look().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    async fn look(&mut self) {
        match self.store.oplog_standing(&self.lane).await {
            Ok(standing) => {
                self.has_said = false;
                self.gauges.set(Some(standing.window), standing.token_age);
            }
            Err(why) => {
                self.gauges.set(None, None);
                self.say(&why);
            }
        }
    }

    fn say(&mut self, why: &NotKnown) {
        match why {
            NotKnown::Forbidden if !self.has_said => {
                self.has_said = true;
                tracing::warn!(
                    "how far the oplog reaches is not shown: that takes `find` on `local.oplog.rs`; all else goes on without it"
                );
            }
            why => tracing::debug!(%why, "how far the oplog reaches is not known now"),
        }
    }
}
