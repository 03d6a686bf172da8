//! Metrics and health, on a port of their own.

pub mod ask;

use std::future::Future;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::core::Collector as _;
use prometheus::{Encoder, IntGauge, Registry, TextEncoder};
use serde_json::json;

/// Tells whether the process makes progress.
pub trait Readiness: Clone + Send + Sync + 'static {
    /// Why the process is not ready. Empty: it is.
    fn reasons(&self) -> impl Future<Output = Vec<String>> + Send;
}

impl<F, A> Readiness for F
where
    F: Fn() -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Vec<String>> + Send,
{
    fn reasons(&self) -> impl Future<Output = Vec<String>> + Send {
        self()
    }
}

/// `/metrics`, `/healthz` (alive) and `/readyz` (200, or 503 with the reasons).
pub fn router(registry: Registry, readiness: impl Readiness) -> Router {
    let metrics = {
        let readiness = readiness.clone();
        async move || metrics(&registry, &readiness.reasons().await)
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness.reasons().await)))
}

fn metrics(registry: &Registry, reasons: &[String]) -> Response {
    let mut text = Vec::new();
    let mut families = registry.gather();
    let ready = ready_gauge();
    ready.set(i64::from(reasons.is_empty()));
    families.extend(ready.collect());
    match TextEncoder::new().encode(&families, &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What `/readyz` says, for those who only look at metrics. It changes by itself, so it is asked for each time.
///
/// # Panics
/// Never: its name is valid.
#[must_use]
pub fn ready_gauge() -> IntGauge {
    IntGauge::new(
        "usage_ledger_ready",
        "Whether this process makes progress, as `/readyz` says; 1 or 0",
    )
    .expect("a valid name")
}

fn ready(reasons: &[String]) -> Response {
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({"ready": reasons.is_empty(), "reasons": reasons});
    (status, axum::Json(body)).into_response()
}
