//! Callers with more than their share.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::json;
use tower::ServiceExt;

use super::{SECRET, World, person};
use crate::fake::used;
use crate::rows::Dimension;
use crate::{Access, Jwt, Key};

const NOW: &str = "2026-09-28T12:00:00Z";
/// An answer of some four MiB.
const LONG: &str = "table?scope=organization&from=2026-04-01&to=2026-09-28";

fn guarded(edit: impl FnOnce(&mut crate::Limits)) -> World {
    let world = World::with(NOW, |settings| {
        settings.access = Access::Jwt(Jwt::new(Key::Secret(SECRET.to_owned())));
        edit(&mut settings.limits);
    });
    world
        .reader
        .book((0..60).map(|n| used("2026-09-28").with(Dimension::Agent, &format!("a{n}"))));
    world
}

/// Asks, and leaves the answer where it is.
async fn unread(world: &World, subject: &str, query: &str, accept: &str) -> Response<Body> {
    let token = person(subject, json!({"acme": "admin"}));
    let request = Request::get(format!("/v1/usage/{query}&organizationId=acme"))
        .header("authorization", token)
        .header("accept", accept);
    let request = request.body(Body::empty()).expect("a request");
    world.router.clone().oneshot(request).await.expect("infallible")
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_four_answers_under_way_whatever_they_are() {
    let world = guarded(|_| {});
    let mut held = Vec::new();
    for (query, accept) in [
        ("summary?", "application/json"),
        ("breakdown?by=agent", "text/csv"),
        ("table?scope=organization", "text/csv"),
        // A refusal is an answer too, until it was read.
        ("summary?limit=1", "application/json"),
    ] {
        held.push(unread(&world, "u1", query, accept).await);
    }
    let statuses: Vec<u16> = held.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(statuses, [200, 200, 200, 400]);
    let fifth = unread(&world, "u1", "summary?", "application/json").await;
    assert_eq!(fifth.status(), 429);
    assert!(fifth.headers().contains_key("retry-after"));
    let other = unread(&world, "u2", "summary?", "application/json").await;
    assert_eq!(other.status(), 200);
    held.pop();
    let again = unread(&world, "u1", "summary?", "application/json").await;
    assert_eq!(again.status(), 200);
}

/// Each answer takes what it comes to, whether it is held or streamed, and gives it back.
#[tokio::test(start_paused = true)]
async fn the_bytes_under_way_are_bounded_over_all_callers() {
    for (query, accept, mebibytes) in [
        ("table?scope=organization&preset=30d", "application/json", 4),
        ("table?scope=organization&preset=30d", "text/csv", 4),
        // More than is held as one text.
        (LONG, "application/json", 16),
    ] {
        let world = guarded(|limits| limits.bytes_under_way = mebibytes * 1024 * 1024);
        let mut held = Vec::new();
        let refused = loop {
            let answer = unread(&world, &format!("u{}", held.len()), query, accept).await;
            if answer.status() != 200 || held.len() == 500 {
                break answer;
            }
            held.push(answer);
        };
        assert_eq!(refused.status(), 503, "{query} {accept}: {} answers", held.len());
        assert!(refused.headers().contains_key("retry-after"));
        assert!(!held.is_empty());
        held.clear();
        let again = unread(&world, "u501", query, accept).await;
        assert_eq!(again.status(), 200, "{query} {accept}");
    }
}

/// One who takes long answers and does not read them leaves room for one of them to anybody else.
#[tokio::test(start_paused = true)]
async fn one_caller_s_unread_answers_leave_room_for_those_of_others() {
    let world = guarded(|limits| {
        limits.bytes_under_way = 20 * 1024 * 1024;
        limits.answers_at_once = 10;
    });
    let mut held = Vec::new();
    let refused = loop {
        let answer = unread(&world, "greedy", LONG, "application/json").await;
        if answer.status() != 200 {
            break answer;
        }
        held.push(answer);
    };
    assert_eq!(refused.status(), 503);
    assert!(held.len() >= 2);
    let other = unread(&world, "other", LONG, "application/json").await;
    assert_eq!(other.status(), 200);
}

/// A long answer is sent in parts of a text that all who ask at the same time share, and reads as a whole.
#[tokio::test]
async fn a_long_answer_is_whole() {
    let world = guarded(|_| {});
    let answer = unread(&world, "u1", LONG, "application/json").await;
    assert!(!answer.headers().contains_key("content-length"));
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .expect("a body");
    assert!(bytes.len() > crate::render::HELD_BYTES, "{}", bytes.len());
    let table: serde_json::Value = serde_json::from_slice(&bytes).expect("json");
    let members: BTreeSet<&str> = table
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert!(members.is_superset(&BTreeSet::from([
        "organizationId",
        "generatedAt",
        "rows",
        "totals"
    ])));
    assert_eq!(table["organizationId"], "acme");
}
