//! How old the keys are that tokens are checked with. They grow older by themselves, so it is worked out when it is
//! asked for.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus::Gauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tokio::time::Instant;

use super::Known;

/// The gauge of their age.
pub(in crate::access) struct Age {
    known: Arc<RwLock<Known>>,
    began: Instant,
    gauge: Gauge,
}

impl Age {
    pub(super) fn of(known: Arc<RwLock<Known>>) -> prometheus::Result<Self> {
        let gauge = Gauge::new(
            "usage_ledger_jwks_age_seconds",
            "Time since the key set that tokens are checked with was fetched; until it was, since the process began. A set of \
             ten minutes is fetched again when a token comes, so it also grows while nobody asks; not given without a key set",
        )?;
        Ok(Self {
            known,
            began: Instant::now(),
            gauge,
        })
    }
}

impl Collector for Age {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let since = known.fetched.unwrap_or(self.began);
        self.gauge.set(since.elapsed().as_secs_f64());
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_that_were_never_fetched_are_as_old_as_the_process() {
        let known = Arc::new(RwLock::new(Known::default()));
        let age = Age::of(Arc::clone(&known)).expect("a gauge");
        let shown = || {
            age.collect()[0].get_metric()[0]
                .get_gauge()
                .get_value()
                .to_string()
        };
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(shown(), "40");
        known.write().expect("no panic").fetched = Some(Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(shown(), "2");
    }
}
