//! The metrics of the reader. Labels are from closed sets: routes, status classes, results.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Classes of status, as the metrics' label has them.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The metrics of the public routes.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    /// Lookups of whole answers, by `hit` or `miss`.
    pub(crate) answers: IntCounterVec,
    /// Lookups of parts of answers, by `hit` or `miss`.
    pub(crate) parts: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let options = HistogramOpts::new(
            "usage_ledger_http_request_duration_seconds",
            "How long requests took until their answer began, by route and class of status",
        )
        .buckets(vec![
            0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ]);
        let durations = HistogramVec::new(options, &["route", "status"])?;
        registry.register(Box::new(durations.clone()))?;
        let metrics = Self {
            requests: counter(
                "usage_ledger_http_requests_total",
                "Requests answered, by route and class of status",
                &["route", "status"],
            )?,
            durations,
            answers: counter(
                "usage_ledger_reader_answers_total",
                "Answers given, by whether they were remembered",
                &["result"],
            )?,
            parts: counter(
                "usage_ledger_reader_parts_total",
                "Sums of parts of a range, by whether they were remembered",
                &["result"],
            )?,
        };
        for result in ["hit", "miss"] {
            metrics.answers.with_label_values(&[result]);
            metrics.parts.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// Makes every series of these routes.
    pub(crate) fn begin_at_zero<'a>(&self, routes: impl Iterator<Item = &'a str>) {
        for route in routes {
            for class in CLASSES {
                self.requests.with_label_values(&[route, class]);
                self.durations.with_label_values(&[route, class]);
            }
        }
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &str, status: StatusCode, took: Duration) {
        let class = match status.as_u16() {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[route, class]).inc();
        self.durations
            .with_label_values(&[route, class])
            .observe(took.as_secs_f64());
    }
}
