//! The shapes of answers, their freshness, their tags and their other forms.

use axum::body::Body;
use axum::http::Request;
use chrono::{DateTime, Utc};
use rollup::counters::Counter;
use serde_json::{Value, json};

use super::{World, column, money};
use crate::fake::used;
use crate::reader::{Gap, Lane, Verified};
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:00:00Z";

fn members(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect(text)
}

const HEAD: [&str; 6] = [
    "organizationId",
    "range",
    "generatedAt",
    "dataAsOf",
    "lagSeconds",
    "rejected",
];

fn with_head<'a>(names: &[&'a str]) -> Vec<&'a str> {
    sorted(&[&HEAD, names].concat())
}

#[tokio::test]
async fn answers_have_exactly_the_members_they_must() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")
        .with(Dimension::Model, "m")
        .with(Dimension::Provider, "p")
        .cost(1)]);
    let summary = world.ask("summary", "").await;
    assert_eq!(
        members(&summary),
        with_head(&[
            "totals",
            "previous",
            "activeUsers",
            "activeAgents",
            "unattributed",
            "unpriced",
            "unmetered",
            "priced"
        ])
    );
    assert_eq!(members(&summary["totals"]).len(), Counter::ALL.len());
    assert_eq!(members(&summary["previous"]), ["range", "totals"]);

    let series = world.ask("series", "groupBy=model&preset=7d").await;
    assert_eq!(members(&series), with_head(&["granularity", "buckets", "totals"]));
    let bucket = &series["buckets"][6];
    assert_eq!(
        members(bucket),
        sorted(&[
            "periodKey",
            "start",
            "end",
            "complete",
            "partial",
            "totals",
            "groups"
        ])
    );
    assert_eq!(members(&bucket["groups"][0]), ["model", "provider", "totals"]);

    let breakdown = world.ask("breakdown", "by=model").await;
    assert_eq!(
        members(&breakdown),
        with_head(&["by", "sort", "rows", "other", "totals", "nextCursor"])
    );
    assert_eq!(members(&breakdown["rows"][0]), ["model", "provider", "totals"]);

    let table = world.ask("table", "scope=organization").await;
    let own = [
        "scope",
        "granularity",
        "periods",
        "rows",
        "columnTotals",
        "totals",
        "excludedOrganizations",
    ];
    assert_eq!(members(&table), with_head(&own));
    assert_eq!(
        members(&table["periods"][0]),
        sorted(&["periodKey", "start", "end", "complete", "partial"])
    );
    assert_eq!(members(&table["rows"][0]), ["agentSlug", "cells", "totals"]);

    let meta = world.ask("meta", "").await;
    let own = [
        "dimensions",
        "metrics",
        "granularities",
        "presets",
        "timeZone",
        "currency",
        "oldestPeriod",
        "newestPeriod",
        "sources",
        "verified",
        "lanes",
    ];
    assert_eq!(members(&meta), with_head(&own));
}

#[tokio::test]
async fn meta_tells_what_the_last_comparison_found_and_no_answer_outlives_that() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")]);
    let target = "/v1/usage/meta?organizationId=acme";
    let first = world.send(target, &[]).await;
    assert_eq!(first.json()["verified"], json!(null));
    let of_summary = world.send("/v1/usage/summary?organizationId=acme", &[]).await;
    let tag = first.header("etag").expect("a tag").to_owned();
    let day = |text: &str| text.parse().expect("a day");
    world.reader.set_verified(Verified {
        at: "2026-09-28T11:00:00Z".parse().expect("an instant"),
        from: day("2026-09-27"),
        to: day("2026-09-28"),
        is_clean: true,
    });
    let second = world.send(target, &[("if-none-match", tag.as_str())]).await;
    let told =
        json!({"at": "2026-09-28T11:00:00.000Z", "from": "2026-09-27", "to": "2026-09-28", "clean": true});
    assert_eq!(second.json()["verified"], told);
    let csv = world.csv("meta", "").await;
    assert!(csv.contains(&vec!["verifiedTo".to_owned(), "2026-09-28".to_owned()]));
    // Answers that do not tell it stay what they are.
    let tag = of_summary.header("etag").expect("a tag").to_owned();
    let known = [("if-none-match", tag.as_str())];
    let again = world.send("/v1/usage/summary?organizationId=acme", &known).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn a_series_shows_the_twenty_largest_groups_and_what_is_left() {
    let world = World::at(NOW);
    world.reader.book((1..=25_i64).flat_map(|n| {
        let by = |day: &str| used(day).with(Dimension::Agent, &format!("a{n:02}"));
        [by("2026-09-27").cost(n), by("2026-09-28").cost(100 - n)]
    }));
    let series = world.ask("series", "groupBy=agent&preset=7d").await;
    let groups = series["buckets"][6]["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 21);
    assert_eq!(groups[20]["other"], json!(true));
    // All cost the same over the range: then by name. The same groups in every bucket.
    assert_eq!(groups[0]["agentSlug"], "a01");
    assert_eq!(groups[20]["totals"]["cost"], money("0.000000385"));
    let empty = series["buckets"][0]["groups"].as_array().expect("groups");
    assert_eq!(empty.len(), 21);
    let few = world.ask("series", "groupBy=source&preset=7d").await;
    assert_eq!(
        few["buckets"][6]["groups"].as_array().map(Vec::len),
        Some(1),
        "nothing is left"
    );
}

#[tokio::test]
async fn a_table_puts_the_largest_first_and_nobody_last() {
    let world = World::at(NOW);
    let agent = |slug: &str, day: &str| used(day).with(Dimension::Agent, slug);
    world.reader.book([
        used("2026-09-28").cost(1_000),
        agent("small", "2026-09-28").cost(1),
        agent("large", "2026-08-31").cost(500),
        agent("void", "2026-09-28")
            .counting(Counter::Requests, 0)
            .counting(Counter::UnpricedRequests, 0),
    ]);
    let table = world.ask("table", "scope=organization&granularity=monthly").await;
    assert_eq!(
        column(&table["rows"], "agentSlug"),
        ["large", "small", "__unattributed__"]
    );
    assert_eq!(column(&table["periods"], "periodKey"), ["2026-08", "2026-09"]);
    assert_eq!(table["columnTotals"][1]["requests"], json!(2));
    assert_eq!(table["rows"][0]["cells"][0]["cost"], money("0.000000500"));
    assert_eq!(table["rows"][0]["cells"][1]["cost"], money("0.000000000"));
    let one = world.ask("table", "scope=agent&agentSlug=small").await;
    assert_eq!(column(&one["rows"], "agentSlug"), ["small"]);
    for (query, name) in [
        ("scope=agent", "agentSlug"),
        ("scope=agent&agentSlug=a&agentSlug=b", "agentSlug"),
        ("", "scope"),
    ] {
        let (status, problem) = world.refused("table", query).await;
        assert_eq!((status, problem["parameter"].as_str()), (400, Some(name)));
    }
    let (status, problem) = world.refused("table", "scope=platform").await;
    assert_eq!(
        (status, problem["parameter"].as_str()),
        (400, Some("organizationId"))
    );
}

#[tokio::test]
async fn an_answer_says_how_fresh_it_is() {
    let world = World::at(NOW);
    let target = "/v1/usage/summary?organizationId=acme";
    let unknown = world.send(target, &[]).await;
    assert_eq!(unknown.header("usage-data-as-of"), None);
    let unknown = unknown.json();
    assert_eq!(
        (&unknown["dataAsOf"], &unknown["lagSeconds"]),
        (&Value::Null, &Value::Null)
    );
    let lane = |watermark: &str| Lane {
        watermark: Some(at(watermark)),
        gaps: vec![Gap {
            from: at("2026-09-01T00:00:00Z"),
            to: at("2026-09-01T06:00:00Z"),
        }],
        ..Lane::default()
    };
    world.reader.set_lanes(vec![
        lane("2026-09-28T11:59:59.250Z"),
        lane("2026-09-28T11:59:58.5Z"),
    ]);
    let known = world.send(target, &[]).await;
    assert_eq!(known.header("usage-data-as-of"), Some("2026-09-28T11:59:58.500Z"));
    let known = known.json();
    assert_eq!(known["generatedAt"], "2026-09-28T12:00:00.000Z");
    assert_eq!(
        (&known["dataAsOf"], &known["lagSeconds"]),
        (&json!("2026-09-28T11:59:58.500Z"), &json!(1.5))
    );
    let gap = json!([{"from": "2026-09-01T00:00:00.000Z", "to": "2026-09-01T06:00:00.000Z"}]);
    assert_eq!(known["gaps"], gap, "once, although two lanes have it");
    assert_eq!(world.ask("summary", "preset=7d").await.get("gaps"), None);
}

#[tokio::test]
async fn a_tag_changes_with_the_answer_and_not_with_its_age() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")]);
    let target = "/v1/usage/summary?organizationId=acme&from=2026-09-01&to=2026-09-30";
    let first = world.send(target, &[]).await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/\""));
    world.set_now("2026-09-28T13:00:00Z");
    world.reader.set_lanes(vec![Lane {
        watermark: Some(at("2026-09-28T12:59:00Z")),
        ..Lane::default()
    }]);
    for known in [
        tag.clone(),
        "*".to_owned(),
        format!("\"x\", {tag}"),
        tag.trim_start_matches("W/").to_owned(),
    ] {
        let unchanged = world.send(target, &[("if-none-match", &known)]).await;
        assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""), "{known}");
        assert_eq!(
            unchanged.header("usage-data-as-of"),
            Some("2026-09-28T12:59:00.000Z")
        );
        assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    }
    assert_eq!(
        world.send(target, &[("if-none-match", "W/\"x\"")]).await.status,
        200
    );
    world.reader.book([used("2026-09-02")]);
    let changed = world.send(target, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

#[tokio::test]
async fn csv_is_the_same_answer_whole() {
    let world = World::at(NOW);
    world.reader.book((0..60).map(|n| {
        used("2026-09-28")
            .with(Dimension::User, &format!("u{n:02}, \"the\" first"))
            .with(Dimension::Agent, "a")
            .cost(n)
    }));
    world.reader.book([used("2026-09-27")]);
    let rows = world.csv("breakdown", "by=user").await;
    assert_eq!(rows.len(), 62);
    assert_eq!(rows[0][..2], ["userId", "requests"]);
    assert_eq!(rows[1][0], "u59, \"the\" first");
    let cost = rows[0].iter().position(|name| name == "cost").expect("a column");
    assert_eq!(rows[1][cost], "0.000000059");
    let nobody = rows
        .iter()
        .find(|row| row[0] == "__unattributed__")
        .expect("a row");
    assert_eq!(nobody[cost], "", "nobody knows");

    let rows = world.csv("summary", "preset=7d").await;
    assert_eq!(rows[1][..5], ["current", "2026-09-22", "2026-09-28", "60", "1"]);
    assert_eq!(rows[2][..5], ["previous", "2026-09-15", "2026-09-21", "", ""]);
    let own = [
        "unattributedRequests",
        "unattributedTotalTokens",
        "unattributedCost",
    ];
    assert_eq!(rows[0][5..8], own);
    assert_eq!(
        rows[1][5..8],
        ["1", "0", ""],
        "what nobody knows is an empty cell"
    );
    assert_eq!(world.csv("series", "preset=7d").await.len(), 8);
    let grouped = world.csv("series", "preset=7d&groupBy=user").await;
    assert_eq!(grouped.len(), 1 + 7 * 61, "every group, in every bucket");
    assert_eq!(
        grouped[0][..7],
        [
            "periodKey",
            "start",
            "end",
            "complete",
            "partial",
            "userId",
            "requests"
        ]
    );
    let table = world.csv("table", "scope=organization&preset=7d").await;
    assert_eq!(table.len(), 1 + 2 * 7);
    assert_eq!(table[0][..2], ["agentSlug", "periodKey"]);
    let meta = world.csv("meta", "").await;
    assert!(meta.contains(&vec!["currency".to_owned(), "USD".to_owned()]));
}

/// Whoever names an agent chooses what a spreadsheet finds in a cell.
#[tokio::test]
async fn no_cell_of_csv_is_a_formula() {
    let world = World::at(NOW);
    let formula = "=HYPERLINK(\"http://evil\",\"open\")";
    world.reader.book([used("2026-09-28")
        .with(Dimension::Agent, formula)
        .with(Dimension::User, "-1+2")
        .with(Dimension::Source, "-chat")
        .counting(Counter::InputTokens, -5)
        .cost(-1)]);
    for (route, query, name, cell) in [
        ("breakdown", "by=agent", "agentSlug", format!("'{formula}")),
        ("breakdown", "by=user", "userId", "'-1+2".to_owned()),
        ("breakdown", "by=user&include=teams", "userId", "'-1+2".to_owned()),
        ("series", "preset=7d&groupBy=user", "userId", "'-1+2".to_owned()),
        ("table", "scope=organization", "agentSlug", format!("'{formula}")),
        ("meta", "", "value", "'-chat".to_owned()),
    ] {
        let rows = world.csv(route, query).await;
        let at = rows[0].iter().position(|column| column == name).expect(name);
        assert!(
            rows.iter().any(|row| row[at] == cell),
            "{route} {query}: {rows:?}"
        );
        let numbers = ["inputTokens", "cost"].map(|name| rows[0].iter().position(|column| column == name));
        if let [Some(tokens), Some(cost)] = numbers {
            let last = rows.last().expect("a row");
            assert_eq!(
                [&last[tokens], &last[cost]],
                ["-5", "-0.000000001"],
                "numbers stay numbers"
            );
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_for_whom_takes_it() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")]);
    for encoding in ["gzip", "zstd"] {
        let request = Request::get("http://localhost/v1/usage/series?organizationId=acme")
            .header("accept-encoding", encoding);
        let response = tower::ServiceExt::oneshot(
            world.router.clone(),
            request.body(Body::empty()).expect("a request"),
        );
        let response = response.await.expect("infallible");
        assert_eq!(response.headers()["content-encoding"], encoding);
        assert!(response.headers().contains_key("etag"));
    }
}

#[tokio::test]
async fn too_many_buckets_or_cells_are_refused_with_a_way_out() {
    let world = World::with(NOW, |settings| settings.limits.cells = 50);
    world
        .reader
        .book((0..8).map(|n| used("2026-09-28").with(Dimension::Agent, &format!("a{n}"))));
    let (status, problem) = world.refused("series", "from=2020-01-01&to=2026-01-01").await;
    assert_eq!(status, 422);
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("longer buckets"))
    );
    assert_eq!(
        world
            .ask("series", "from=2020-01-01&to=2026-01-01&granularity=weekly")
            .await["granularity"],
        "weekly"
    );
    let (status, problem) = world.refused("table", "scope=organization&preset=7d").await;
    assert_eq!(status, 422);
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("breakdown") && detail.contains("text/csv"))
    );
    let (status, problem) = world.refused("series", "groupBy=agent&preset=7d").await;
    assert_eq!(status, 422);
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("text/csv"))
    );
    // As CSV there is no such limit, and the rows stand as they would in JSON.
    let lines = world.csv("table", "scope=organization&preset=7d").await;
    assert_eq!(lines.len(), 1 + 8 * 7);
    let agents: Vec<&String> = lines[1..].iter().step_by(7).map(|line| &line[0]).collect();
    assert_eq!(agents, ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"]);
    assert_eq!(
        world.csv("series", "groupBy=agent&preset=7d").await.len(),
        1 + 8 * 7
    );
    assert_eq!(
        world.ask("table", "scope=organization&granularity=monthly").await["totals"]["requests"],
        json!(8)
    );
}
