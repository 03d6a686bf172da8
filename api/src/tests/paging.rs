//! Pages of a ranking, over more users than anybody reads.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{World, column};
use crate::fake::{LateFailure, used};
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:00:00Z";

#[tokio::test]
async fn twenty_thousand_users_are_paged_through_without_loss_or_repetition() {
    let world = World::at(NOW);
    world.reader.book((0..20_000).map(|user| {
        let day = if user % 2 == 0 { "2026-09-28" } else { "2026-09-01" };
        used(day)
            .with(Dimension::User, &format!("u{user}"))
            .cost(i64::from(user % 97))
    }));
    let mut seen = BTreeSet::new();
    let mut pages = 0;
    let mut query = "by=user&limit=1000".to_owned();
    let mut before = i64::MAX;
    loop {
        let page = world.ask("breakdown", &query).await;
        let names = column(&page["rows"], "userId");
        assert_eq!(
            page["other"]["count"].as_u64().unwrap_or(0) as usize + seen.len() + names.len(),
            20_000
        );
        assert_eq!(page["totals"]["requests"], json!(20_000));
        for row in page["rows"].as_array().expect("rows") {
            let cost: f64 = row["totals"]["cost"]["amount"]
                .as_str()
                .expect("an amount")
                .parse()
                .expect("a number");
            let nanos = (cost * 1e9).round() as i64;
            assert!(nanos <= before);
            before = nanos;
        }
        seen.extend(names);
        pages += 1;
        match page["nextCursor"].as_str() {
            Some(cursor) => query = format!("by=user&limit=1000&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (20, 20_000));
    let rows = world.csv("breakdown", "by=user").await;
    assert_eq!(rows.len(), 20_001, "CSV is whole");
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_paged_from_the_store() {
    // No room to remember anything: every answer streams.
    let world = World::with(NOW, |settings| settings.limits.cache_bytes = 0);
    let small = World::at(NOW);
    for world in [&world, &small] {
        world.reader.book((0..300).map(|user| {
            let day = if user % 2 == 0 { "2026-09-28" } else { "2026-08-31" };
            used(day)
                .with(Dimension::User, &format!("u{user}"))
                .cost(i64::from(user % 7))
        }));
    }
    for query in ["by=user&limit=10", "by=user&sort=requests&limit=299", "by=model"] {
        let body = |answer: Value| {
            (
                answer["rows"].clone(),
                answer["other"].clone(),
                answer["totals"].clone(),
            )
        };
        assert_eq!(
            body(world.ask("breakdown", query).await),
            body(small.ask("breakdown", query).await)
        );
    }
    assert_eq!(
        world.csv("breakdown", "by=user").await,
        small.csv("breakdown", "by=user").await
    );
    assert_eq!(world.ask("summary", "").await["activeUsers"], json!(300));
}

/// A table that breaks off must not look like a shorter one.
#[tokio::test]
async fn a_table_that_cannot_be_read_to_its_end_breaks_the_connection() {
    for (failure, accepted) in [
        (LateFailure::After(700), true),
        (LateFailure::GoneAfter(700), true),
        // What is short fails as a whole.
        (LateFailure::After(0), false),
        (LateFailure::GoneAfter(0), false),
    ] {
        let world = World::with(NOW, |settings| settings.limits.cache_bytes = 0);
        let user = |n| used("2026-09-28").with(Dimension::User, &format!("u{n}"));
        world.reader.book((0..1_000).map(user));
        world.reader.fail_late(failure);
        for encoding in ["identity", "gzip"] {
            let request = Request::get("http://localhost/v1/usage/breakdown?organizationId=acme&by=user")
                .header("accept", "text/csv")
                .header("accept-encoding", encoding)
                .body(Body::empty())
                .expect("a request");
            let response = world.router.clone().oneshot(request).await.expect("infallible");
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), usize::MAX).await;
            let expected = if accepted { (200, false) } else { (503, true) };
            assert_eq!((status, body.is_ok()), expected, "{failure:?} {encoding}");
        }
    }
}

#[tokio::test]
async fn a_cursor_continues_its_own_question_only() {
    let world = World::at(NOW);
    world
        .reader
        .book((0..9).map(|n| used("2026-09-28").with(Dimension::User, &format!("u{n}"))));
    let first = world.ask("breakdown", "by=user&limit=4").await;
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    for query in [
        format!("by=agent&cursor={cursor}"),
        format!("by=model&cursor={cursor}"),
        format!("by=user&sort=tokens&cursor={cursor}"),
        format!("by=user&preset=7d&cursor={cursor}"),
        format!("by=user&source=chat&cursor={cursor}"),
        "by=user&cursor=AAAA".to_owned(),
        "by=user&cursor=%24gt".to_owned(),
        format!("by=user&cursor={cursor}x"),
    ] {
        let (status, problem) = world.refused("breakdown", &query).await;
        assert_eq!(
            (status, problem["parameter"].as_str()),
            (400, Some("cursor")),
            "{query}"
        );
    }
    let second = world
        .ask("breakdown", &format!("by=user&limit=2&cursor={cursor}"))
        .await;
    assert_eq!(column(&second["rows"], "userId"), ["u4", "u5"]);

    // One that was made up asks for a place in what its caller may read anyway.
    let json = URL_SAFE_NO_PAD.decode(cursor).expect("base64");
    let mut forged: Value = serde_json::from_slice(&json).expect("json");
    for (metric, rows) in [(i64::MAX, 9), (i64::MIN, 0)] {
        forged["m"] = json!(metric);
        forged["t"] = json!(metric);
        let cursor = URL_SAFE_NO_PAD.encode(forged.to_string());
        let page = world.ask("breakdown", &format!("by=user&cursor={cursor}")).await;
        assert_eq!(page["rows"].as_array().map(Vec::len), Some(rows));
        assert_eq!(page["totals"], first["totals"]);
    }
}

#[tokio::test]
async fn whole_answers_take_no_page() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")]);
    let target = "/v1/usage/breakdown?organizationId=acme&by=user&limit=5";
    let reply = world.send(target, &[("accept", "text/csv")]).await;
    assert_eq!(
        (reply.status, reply.json()["parameter"].as_str()),
        (400, Some("limit"))
    );
}
