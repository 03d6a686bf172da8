//! Errors as `application/problem+json` (RFC 9457).
//!
//! A problem says what the caller can do about it. Its cause inside is logged and never sent.

use std::error::Error;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rollup::counters::Overflow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::reader::ReadError;

/// How many characters of a caller's own text are repeated to it.
const ECHO_CHARS: usize = 64;

/// The kinds of problems, each with its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidParameter,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    TooLarge,
    TooMuch,
    RateLimited,
    Internal,
    Unavailable,
    /// The snapshot that an answer was read from: nobody sees this where there is a newer one.
    Gone,
    TimedOut,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::InvalidParameter => (StatusCode::BAD_REQUEST, "invalid-parameter", "Invalid parameter"),
            Kind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "No valid token"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Kind::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            ),
            Kind::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Request too large"),
            Kind::TooMuch => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "too-much",
                "Too much for one answer",
            ),
            Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Kind::Unavailable | Kind::Gone => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available")
            }
            Kind::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "Took too long"),
        }
    }
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    parameter: Option<String>,
    retry_after_seconds: Option<u64>,
}

/// An error, as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// Which kind of problem: `urn:usage-ledger:problem:<kind>`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem, for people.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what would be right.
    detail: &'a str,
    /// The parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<&'a str>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            parameter: None,
            retry_after_seconds: None,
        }
    }

    /// A parameter is at fault.
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameter, detail).about(name)
    }

    /// This parameter is what the problem is about.
    pub(crate) fn about(self, name: &str) -> Self {
        Self {
            parameter: Some(echo(name)),
            ..self
        }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after_seconds: Some(seconds.max(1)),
            ..self
        }
    }

    /// Whether the same may be asked at once of a newer snapshot.
    pub(crate) fn is_gone(&self) -> bool {
        self.kind == Kind::Gone
    }

    /// Something that only operators can mend: they get the cause, the caller does not.
    pub(crate) fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "a question cannot be answered");
        Self::new(
            Kind::Internal,
            "the question could not be answered; the cause is in the server's log",
        )
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.kind.parts().0.as_u16()
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn at_fault(&self) -> Option<&str> {
        self.parameter.as_deref()
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooManyRows(limit) => Self::new(
                Kind::TooMuch,
                format!(
                    "more than {limit} rows would have to be read: ask for a shorter range, or filter by at most \
                     one of `agentSlug`, `model`, `userId` and `source` and group by no other dimension"
                ),
            ),
            ReadError::Unavailable(_) => {
                tracing::warn!(error = %chain(&error), "the store is not available");
                Self::new(Kind::Unavailable, "the ledger cannot be read at the moment").retry_after(1)
            }
            ReadError::Gone(_) => {
                tracing::warn!(error = %chain(&error), "a snapshot is gone");
                let detail = "the snapshot that the answer was read from is kept no longer: ask again";
                Self::new(Kind::Gone, detail).retry_after(1)
            }
            ReadError::Malformed(_) | ReadError::Overflow(_) => Self::internal(&error),
        }
    }
}

impl From<Overflow> for Problem {
    fn from(error: Overflow) -> Self {
        Self::internal(&error)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.parts();
        let body = Body {
            kind: format!("urn:usage-ledger:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
        };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A caller's own text, short and without control characters.
pub(crate) fn echo(text: &str) -> String {
    let mut short: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(ECHO_CHARS)
        .collect();
    if text.chars().nth(ECHO_CHARS).is_some() {
        short.push('…');
    }
    short
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
