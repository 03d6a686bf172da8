//! Gauges of what is not always known: none is shown then, since any number would be a claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::{Atomic, Collector, Desc, GenericGauge};
use prometheus::proto::MetricFamily;
use prometheus::{Opts, Registry};
use tokio::sync::Notify;

/// A gauge that is shown while its number is known. Clones are the same gauge.
#[derive(Debug)]
pub(crate) struct Known<P: Atomic> {
    gauge: GenericGauge<P>,
    is_known: Arc<AtomicBool>,
    /// Told whenever somebody asks for it.
    asked: Arc<Notify>,
}

impl<P: Atomic> Clone for Known<P> {
    fn clone(&self) -> Self {
        Self {
            gauge: self.gauge.clone(),
            is_known: Arc::clone(&self.is_known),
            asked: Arc::clone(&self.asked),
        }
    }
}

impl<P: Atomic + 'static> Known<P> {
    /// Registers it. Nothing is known yet.
    pub(crate) fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
        let known = Self {
            gauge: GenericGauge::with_opts(Opts::new(name, help))?,
            is_known: Arc::default(),
            asked: Arc::default(),
        };
        registry.register(Box::new(known.clone()))?;
        Ok(known)
    }

    /// Waits until somebody asks for it; returns at once where somebody has since the last time.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// What it is now; `None`: not known any more.
    pub(crate) fn set(&self, number: Option<P::T>) {
        if let Some(number) = number {
            self.gauge.set(number);
        }
        self.is_known.store(number.is_some(), Ordering::Release);
    }
}

impl<P: Atomic> Collector for Known<P> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.asked.notify_one();
        match self.is_known.load(Ordering::Acquire) {
            true => self.gauge.collect(),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::core::AtomicI64;

    use super::*;

    #[test]
    fn it_is_shown_while_it_is_known() {
        let registry = Registry::new();
        let known =
            Known::<AtomicI64>::register(&registry, "usage_ledger_things", "Things").expect("registers");
        let shown = || {
            let families = registry.gather();
            let gauge = families
                .first()
                .map(|family| family.get_metric()[0].get_gauge().get_value());
            gauge.map(|number| number.to_string())
        };
        assert_eq!(shown(), None);
        known.set(Some(7));
        assert_eq!(shown().as_deref(), Some("7"));
        known.set(None);
        assert_eq!(shown(), None);
    }
}
