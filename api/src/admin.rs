//! Metrics and health, on a port of their own.

use std::future::Future;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
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
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness.reasons().await)))
}

async fn metrics(State(registry): State<Registry>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
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
