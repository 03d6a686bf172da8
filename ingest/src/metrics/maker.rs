//! Metrics under this program's name.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Makes metrics of this program's, and registers them.
#[derive(Debug)]
pub struct Maker<'a>(&'a Registry);

impl<'a> Maker<'a> {
    /// Registers there.
    #[must_use]
    pub const fn new(registry: &'a Registry) -> Self {
        Self(registry)
    }

    /// A counter.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.registered(IntCounter::with_opts(Self::opts(name, help)))
    }

    /// A counter for each combination of these labels.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.registered(IntCounterVec::new(Self::opts(name, help), labels))
    }

    /// A gauge.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.registered(Gauge::with_opts(Self::opts(name, help)))
    }

    /// A gauge of whole numbers.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn int_gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.registered(IntGauge::with_opts(Self::opts(name, help)))
    }

    /// A histogram with these upper bounds.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets);
        self.registered(Histogram::with_opts(opts))
    }

    /// A histogram with these upper bounds for each combination of these labels.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets);
        self.registered(HistogramVec::new(opts, labels))
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("usage_ledger_{name}"), help)
    }

    fn registered<M: Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<M>,
    ) -> prometheus::Result<M> {
        let metric = made?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
