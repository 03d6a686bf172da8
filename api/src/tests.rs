//! The routes, asked over HTTP, against a fake ledger.

mod access;
mod answers;
mod cache;
mod contract;
mod greedy;
mod hourly;
mod lessons;
mod marginal_rows;
mod paging;
mod platform;
mod ports;
mod rejected;

mod teams;
mod whole_csv;
mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use chrono::{DateTime, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use prometheus::Registry;
use rollup::period::Calendar;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fake::FakeReader;
use crate::settings::{Access, Jwt, Key, Settings};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A router over a fake ledger, at an instant that can be set.
struct World {
    reader: FakeReader,
    router: Router,
    registry: Registry,
    now_ms: Arc<AtomicI64>,
}

/// What came back.
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("json")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

impl World {
    fn at(now: &str) -> Self {
        Self::with(now, |_| {})
    }

    fn with(now: &str, edit: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(Calendar::UTC, "USD", Access::Off);
        settings.limits.request_burst = 1_000_000;
        edit(&mut settings);
        let reader = FakeReader::default();
        let registry = Registry::new();
        let now_ms = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&now_ms);
        let clock =
            move || DateTime::from_timestamp_millis(clock.load(Ordering::SeqCst)).expect("an instant");
        let router = crate::router(settings, reader.clone(), Arc::new(clock), &registry).expect("settings");
        let world = Self {
            reader,
            router,
            registry,
            now_ms,
        };
        world.set_now(now);
        world
    }

    /// A reader that checks tokens.
    fn guarded(now: &str) -> Self {
        Self::with(now, |settings| {
            settings.access = Access::Jwt(Jwt::new(Key::Secret(SECRET.to_owned())))
        })
    }

    fn set_now(&self, now: &str) {
        let now: DateTime<Utc> = now.parse().expect(now);
        self.now_ms.store(now.timestamp_millis(), Ordering::SeqCst);
    }

    async fn send(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::get(target).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Body::empty()).expect("a request"))
            .await
    }

    async fn request(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("text"),
        }
    }

    /// The answer to a question about `acme`.
    async fn ask(&self, route: &str, query: &str) -> Value {
        let reply = self
            .send(&format!("/v1/usage/{route}?organizationId=acme&{query}"), &[])
            .await;
        assert_eq!(reply.status, 200, "{route} {query}: {}", reply.text);
        reply.json()
    }

    /// The problem that a question about `acme` is.
    async fn refused(&self, route: &str, query: &str) -> (u16, Value) {
        let reply = self
            .send(&format!("/v1/usage/{route}?organizationId=acme&{query}"), &[])
            .await;
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json"),
            "{route} {query}"
        );
        (reply.status, reply.json())
    }

    async fn csv(&self, route: &str, query: &str) -> Vec<Vec<String>> {
        let target = format!("/v1/usage/{route}?organizationId=acme&{query}");
        let reply = self.send(&target, &[("accept", "text/csv")]).await;
        assert_eq!(reply.status, 200, "{route} {query}: {}", reply.text);
        assert!(
            reply
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("text/csv"))
        );
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(reply.text.as_bytes());
        reader
            .records()
            .map(|row| row.expect("a row").iter().map(str::to_owned).collect())
            .collect()
    }
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    format!(
        "Bearer {}",
        encode(&Header::default(), claims, &key).expect("a token")
    )
}

/// A token of a person with these roles.
fn person(subject: &str, organizations: Value) -> String {
    token(&json!({"sub": subject, "exp": 4_000_000_000_u64, "organizations": organizations}))
}

fn staff() -> String {
    token(&json!({"sub": "staff", "exp": 4_000_000_000_u64, "platformRole": "staff"}))
}

fn bearing(token: &str) -> [(&str, &str); 1] {
    [(header::AUTHORIZATION.as_str(), token)]
}

/// An amount as an answer shows it.
fn money(amount: &str) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

/// The values of one member of a list of objects.
fn column(rows: &Value, name: &str) -> Vec<String> {
    let rows = rows.as_array().expect("a list");
    rows.iter()
        .map(|row| row[name].as_str().expect(name).to_owned())
        .collect()
}
