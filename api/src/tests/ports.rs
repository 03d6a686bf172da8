//! The two ports: health and metrics, and how a listener ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::routing::get;
use prometheus::{IntCounter, Registry};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower::ServiceExt;

async fn ask(router: &Router, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn alive_is_not_ready() {
    let registry = Registry::new();
    let events = IntCounter::new("events_total", "Events.").expect("a metric");
    registry.register(Box::new(events.clone())).expect("registers");
    events.inc();
    let stuck = Arc::new(AtomicBool::new(false));
    let readiness = {
        let stuck = Arc::clone(&stuck);
        move || {
            let reasons = stuck.load(Ordering::SeqCst).then(|| "history_lost".to_owned());
            async move { reasons.into_iter().collect() }
        }
    };
    let router = crate::admin::router(registry, readiness);
    let body = |text: &str| serde_json::from_str::<Value>(text).expect("json");
    let (status, text) = ask(&router, "/readyz").await;
    assert_eq!(
        (status, body(&text)),
        (200, json!({"ready": true, "reasons": []}))
    );
    stuck.store(true, Ordering::SeqCst);
    let (status, text) = ask(&router, "/readyz").await;
    assert_eq!(
        (status, body(&text)),
        (503, json!({"ready": false, "reasons": ["history_lost"]}))
    );
    assert_eq!(ask(&router, "/healthz").await.0, 200);
    let (status, text) = ask(&router, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("events_total 1"), "{text}");
}

#[tokio::test]
async fn a_stopping_listener_answers_what_it_has_begun_and_takes_nothing_new() {
    let (begun, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, goes_on) = (Arc::clone(&begun), Arc::clone(&goes_on));
        get(async move || {
            begun.notify_one();
            goes_on.notified().await;
            "answered"
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = format!("http://{address}/");
    let stop = Arc::new(Notify::new());
    let stopping = {
        let stop = Arc::clone(&stop);
        async move { stop.notified().await }
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(crate::serve(
        listener,
        None,
        Router::new().route("/", slow),
        64,
        stopping,
    ));
    let client = reqwest::Client::new();
    let idle = reqwest::Client::new();
    assert!(
        idle.head(format!("{url}nothing")).send().await.is_ok(),
        "leaves an idle connection"
    );
    let answer = {
        let (client, url) = (client.clone(), url.clone());
        async move { client.get(url).send().await?.text().await }
    };
    let mut answering = tokio::task::JoinSet::new();
    answering.spawn(answer);
    begun.notified().await;
    stop.notify_one();
    let takes_no_new_connection = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), takes_no_new_connection)
        .await
        .expect("takes no new connection");
    assert!(tasks.try_join_next().is_none(), "waits for the answer");
    goes_on.notify_one();
    let text = answering
        .join_next()
        .await
        .expect("a task")
        .expect("no panic")
        .expect("an answer");
    assert_eq!(text, "answered");
    let ended = tokio::time::timeout(Duration::from_secs(5), tasks.join_next()).await;
    assert!(ended.is_ok(), "ends with the last answer, whatever is idle");
}
