//! Mistakes of others that must not be made here: `tests/LESSONS.md`.

use std::sync::Arc;

use rollup::counters::Counter;
use serde_json::{Value, json};

use super::{World, column, money};
use crate::fake::used;
use crate::reader::ReadError;
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:00:00Z";
const GRANULARITIES: [&str; 3] = ["daily", "weekly", "monthly"];

/// L1: the same model id of two providers merged into one row.
#[tokio::test]
async fn l1_one_model_id_of_two_providers_is_two_rows() {
    let world = World::at(NOW);
    let by = |provider: &str, cost| {
        used("2026-09-28")
            .with(Dimension::Model, "m")
            .with(Dimension::Provider, provider)
            .cost(cost)
    };
    world.reader.book([
        by("a", 10),
        by("b", 90),
        used("2026-09-28").with(Dimension::Model, "m"),
    ]);
    let answer = world.ask("breakdown", "by=model").await;
    assert_eq!(column(&answer["rows"], "provider"), ["b", "a", "__unknown__"]);
    assert_eq!(column(&answer["rows"], "model"), ["m", "m", "m"]);
}

/// L5: seven days at monthly granularity summed the whole month.
#[tokio::test]
async fn l5_granularity_only_regroups() {
    let world = World::at(NOW);
    let days = (1..=28).map(|day| used(&format!("2026-09-{day:02}")).cost(i64::from(day) * 1_000_000_000));
    world
        .reader
        .book(days.chain([used("2026-08-31").cost(5), used("2026-10-01").cost(7)]));
    for range in [
        "preset=7d",
        "preset=30d",
        "preset=90d",
        "from=2026-08-03&to=2026-10-11",
        "preset=month-to-date",
    ] {
        let totals = world.ask("summary", range).await["totals"].clone();
        for granularity in GRANULARITIES {
            let series = world
                .ask(
                    "series",
                    &format!("{range}&granularity={granularity}&groupBy=agent"),
                )
                .await;
            assert_eq!(series["totals"], totals, "{range} {granularity}");
            let table = world
                .ask(
                    "table",
                    &format!("{range}&granularity={granularity}&scope=organization"),
                )
                .await;
            assert_eq!(table["totals"], totals, "{range} {granularity}");
        }
    }
    let seven = world.ask("summary", "preset=7d").await;
    assert_eq!(seven["totals"]["cost"], money("175.000000000"));
}

/// L6: an absent number became 0 and re-classified the row. The kind is a field.
#[tokio::test]
async fn l6_the_kind_is_a_field_and_not_inferred_from_a_zero() {
    let world = World::at(NOW);
    let image = || used("2026-09-28").with(Dimension::Kind, "image");
    world
        .reader
        .book([image().counting(Counter::Images, 2), image(), used("2026-09-28")]);
    let answer = world.ask("breakdown", "by=kind&sort=requests").await;
    assert_eq!(column(&answer["rows"], "kind"), ["image", "llm"]);
    assert_eq!(answer["rows"][0]["totals"]["requests"], json!(2));
    assert_eq!(answer["rows"][0]["totals"]["images"], json!(2));
}

/// L7: the read was capped at 20,000 rows before summing.
#[tokio::test]
async fn l7_totals_are_sums_over_all_rows_however_many() {
    let world = World::at(NOW);
    world.reader.book((0..21_000).map(|user| {
        used("2026-09-28")
            .with(Dimension::User, &format!("u{user}"))
            .with(Dimension::Team, "t")
            .cost(1)
    }));
    let all = world.ask("summary", "").await;
    assert_eq!(all["totals"]["requests"], json!(21_000));
    assert_eq!(all["activeUsers"], json!(21_000));
    let team = world.ask("summary", "teamId=t").await;
    assert_eq!(team["totals"], all["totals"]);
    let users = world.ask("breakdown", "by=user&limit=3").await;
    assert_eq!(users["rows"].as_array().map(Vec::len), Some(3));
    assert_eq!(users["other"]["count"], json!(20_997));
    assert_eq!(users["totals"], all["totals"]);
}

/// L8: a check read the first row only, once the key had more dimensions.
#[tokio::test]
async fn l8_one_value_is_the_sum_of_all_its_rows() {
    let world = World::at(NOW);
    world.reader.book((0..6).map(|n| {
        used("2026-09-28")
            .with(Dimension::User, "u")
            .with(Dimension::Agent, &format!("a{}", n % 2))
            .with(Dimension::Model, &format!("m{n}"))
            .cost(1)
    }));
    for (filter, requests) in [("userId=u", 6), ("userId=u&agentSlug=a1", 3), ("agentSlug=a0", 3)] {
        let answer = world.ask("summary", filter).await;
        assert_eq!(answer["totals"]["requests"], json!(requests), "{filter}");
    }
    let rows = world.ask("breakdown", "by=user").await["rows"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!(rows[0]["totals"]["requests"], json!(6));
}

/// L9: "unknown" mixed different things, and a sort by tokens hid image and audio cost.
#[tokio::test]
async fn l9_unknown_is_typed_and_cost_comes_first() {
    let world = World::at(NOW);
    let agent = |slug: &str| used("2026-09-28").with(Dimension::Agent, slug);
    world.reader.book([
        agent("painter").counting(Counter::Images, 4).cost(900),
        agent("talker").counting(Counter::TotalTokens, 1_000_000).cost(10),
        used("2026-09-28").cost(50),
    ]);
    let rows = world.ask("breakdown", "by=agent").await["rows"].clone();
    assert_eq!(
        column(&rows, "agentSlug"),
        ["painter", "__unattributed__", "talker"]
    );
    let rows = world.ask("breakdown", "by=agent&sort=tokens").await["rows"].clone();
    assert_eq!(
        column(&rows, "agentSlug"),
        ["talker", "__unattributed__", "painter"]
    );
    for (by, name, sentinel) in [
        ("model", "model", "__unknown__"),
        ("user", "userId", "__unattributed__"),
        ("team", "teamId", "__none__"),
        ("apiKey", "apiKeyId", "__none__"),
    ] {
        let rows = world.ask("breakdown", &format!("by={by}")).await["rows"].clone();
        assert_eq!(column(&rows, name), [sentinel]);
    }
}

/// L11: a failed read showed zeros.
#[tokio::test]
async fn l11_a_failed_read_is_an_error_and_never_zeros() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28").cost(1)]);
    let cause = || Arc::new(std::io::Error::other("mongodb://user:secret@host"));
    for (failure, status) in [
        (ReadError::Unavailable(cause()), 503),
        (ReadError::Malformed("row v1/acme".to_owned()), 500),
        (ReadError::Overflow(Counter::CostNanos), 500),
        (ReadError::TooManyRows(5), 422),
    ] {
        world.reader.fail(Some(failure.clone()));
        for (route, query) in [
            ("summary", ""),
            ("series", "groupBy=model"),
            ("breakdown", "by=user"),
            ("table", "scope=organization"),
            ("meta", ""),
        ] {
            for accept in ["application/json", "text/csv"] {
                let target = format!("/v1/usage/{route}?organizationId=acme&{query}");
                let reply = world.send(&target, &[("accept", accept)]).await;
                assert_eq!(reply.status, status, "{route} {failure:?}");
                assert_eq!(reply.header("content-type"), Some("application/problem+json"));
                assert!(
                    !reply.text.contains("secret") && !reply.text.contains("v1/acme"),
                    "{}",
                    reply.text
                );
            }
        }
    }
    // The failure is not remembered.
    world.reader.fail(None);
    assert_eq!(world.ask("summary", "").await["totals"]["requests"], json!(1));
}

/// L15: "last 6 months" began with a part of a month.
#[tokio::test]
async fn l15_six_months_are_whole_months_and_the_range_is_told() {
    let world = World::at("2026-02-24T12:00:00Z");
    world
        .reader
        .book(["2025-07-31", "2025-08-01", "2026-01-31", "2026-02-01"].map(used));
    let answer = world
        .ask("series", "preset=last-6-months&granularity=monthly")
        .await;
    assert_eq!(answer["totals"]["requests"], json!(2));
    assert_eq!(
        answer["range"],
        json!({"from": "2025-08-01", "to": "2026-01-31", "preset": "last-6-months", "timeZone": "UTC"})
    );
    let flags = |name: &str| -> Vec<Value> {
        answer["buckets"]
            .as_array()
            .expect("buckets")
            .iter()
            .map(|bucket| bucket[name].clone())
            .collect()
    };
    assert_eq!(flags("partial"), [false; 6].map(Value::from));
    assert_eq!(flags("complete"), [true; 6].map(Value::from));
}

/// L16: "last 7 days" were eight.
#[tokio::test]
async fn l16_seven_days_are_seven_buckets() {
    let world = World::at(NOW);
    let answer = world.ask("series", "preset=7d").await;
    let buckets = answer["buckets"].as_array().expect("buckets");
    assert_eq!(buckets.len(), 7);
    assert_eq!(buckets[0]["periodKey"], "2026-09-22");
    assert_eq!(buckets[6]["complete"], false);
    let summary = world.ask("summary", "preset=7d").await;
    assert_eq!(
        summary["previous"]["range"],
        json!({"from": "2026-09-15", "to": "2026-09-21"})
    );
}

/// L17: the sentinel for "no agent" reached an id conversion and threw.
#[tokio::test]
async fn l17_a_sentinel_is_a_value_like_any_other() {
    let world = World::at(NOW);
    world.reader.book([
        used("2026-09-28").cost(3),
        used("2026-09-28").with(Dimension::Agent, "a").cost(5),
    ]);
    for filter in [
        "agentSlug=__unattributed__",
        "agentSlug=__unattributed__&userId=__unattributed__&model=__unknown__&provider=__unknown__",
        "agentSlug=__unattributed__&teamId=__none__&apiKeyId=__none__",
    ] {
        let answer = world.ask("summary", filter).await;
        assert_eq!(answer["totals"]["cost"], money("0.000000003"), "{filter}");
    }
    let table = world.ask("table", "scope=agent&agentSlug=__unattributed__").await;
    assert_eq!(column(&table["rows"], "agentSlug"), ["__unattributed__"]);
}

/// L18: 54 % "unattributed" was a bug that nobody watched.
#[tokio::test]
async fn l18_the_unattributed_share_is_shown() {
    let world = World::at(NOW);
    let tokens = |used: crate::fake::Used, count| used.counting(Counter::TotalTokens, count);
    world.reader.book([
        tokens(used("2026-09-28").cost(3), 7),
        tokens(used("2026-09-28"), 9),
        tokens(used("2026-09-28").with(Dimension::Agent, "a").cost(5), 100),
    ]);
    let answer = world.ask("summary", "").await;
    assert_eq!(
        answer["unattributed"],
        json!({"requests": 2, "totalTokens": 16, "cost": money("0.000000003")})
    );
    assert_eq!(answer["unpriced"], json!({"requests": 1}));
    assert_eq!(answer["activeAgents"], json!(1), "nobody is no agent");
    let filtered = world.ask("summary", "agentSlug=a").await;
    assert_eq!(filtered["unattributed"]["requests"], json!(0));
}

/// L22: usage that nobody knew was shown as 0.
#[tokio::test]
async fn l22_what_is_unmetered_and_what_the_ledger_priced_itself_is_shown() {
    let world = World::at(NOW);
    let unmetered = || used("2026-09-28").counting(Counter::UnmeteredRequests, 1);
    let priced = used("2026-09-28")
        .cost(7)
        .counting(Counter::PricedRequests, 1)
        .counting(Counter::PricedNanos, 5);
    world.reader.book([unmetered(), unmetered().cost(3), priced]);
    let answer = world.ask("summary", "").await;
    assert_eq!(answer["unpriced"], json!({"requests": 1}));
    assert_eq!(answer["unmetered"], json!({"requests": 2}));
    assert_eq!(
        answer["priced"],
        json!({"requests": 1, "cost": money("0.000000005")})
    );
    assert_eq!(answer["totals"]["unmeteredRequests"], json!(2));
    assert_eq!(answer["totals"]["pricedRequests"], json!(1));
    assert_eq!(answer["totals"]["pricedCost"], money("0.000000005"));
    assert_eq!(answer["totals"]["cost"], money("0.000000010"));
}

/// L19: an inner join on names lost the totals of what was deleted. Nothing is joined here.
#[tokio::test]
async fn l19_an_organization_that_nobody_knows_by_name_keeps_its_row() {
    let world = World::at(NOW);
    world.reader.book([
        used("2026-09-28").cost(1),
        used("2026-09-28")
            .with(Dimension::Organization, "deleted long ago")
            .cost(2),
    ]);
    let reply = world.send("/v1/usage/table?scope=platform", &[]).await;
    let answer = reply.json();
    assert_eq!(
        column(&answer["rows"], "organizationId"),
        ["deleted long ago", "acme"]
    );
    assert_eq!(answer["totals"]["cost"], money("0.000000003"));
}

/// C3: a time zone parameter widened the range.
#[tokio::test]
async fn c3_another_time_zone_is_refused() {
    let world = World::at(NOW);
    for (query, name) in [
        ("timeZone=Europe/Berlin", "timeZone"),
        ("timezone=UTC", "timezone"),
    ] {
        let (status, problem) = world.refused("summary", query).await;
        assert_eq!((status, problem["parameter"].as_str()), (400, Some(name)));
    }
    assert_eq!(
        world.ask("summary", "timeZone=UTC").await["range"]["timeZone"],
        "UTC"
    );
}

/// C8: two screens, two totals.
#[tokio::test]
async fn c8_every_route_shows_the_same_totals() {
    let world = World::at(NOW);
    let day = |n: i64| format!("2026-{:02}-{:02}", 7 + n % 3, 1 + n % 28);
    world.reader.book((0..500).map(|n| {
        let used = used(&day(n))
            .with(Dimension::Model, &format!("m{}", n % 7))
            .cost(n);
        match n % 30 {
            0 => used,
            agent => used
                .with(Dimension::Agent, &format!("a{agent}"))
                .with(Dimension::User, &format!("u{}", n % 40)),
        }
    }));
    let range = "from=2026-07-03&to=2026-09-25";
    let totals = world.ask("summary", range).await["totals"].clone();
    assert!(totals["requests"].as_i64().expect("a number") > 400);
    for by in ["agent", "model", "user", "team", "apiKey", "source", "kind"] {
        assert_eq!(
            world.ask("breakdown", &format!("{range}&by={by}&limit=2")).await["totals"],
            totals,
            "{by}"
        );
    }
    let table = world
        .ask(
            "table",
            &format!("{range}&scope=organization&granularity=monthly"),
        )
        .await;
    assert_eq!(table["totals"], totals);
    let platform = world
        .send(&format!("/v1/usage/table?{range}&scope=platform"), &[])
        .await
        .json();
    assert_eq!(platform["totals"], totals);
    for group in ["agent", "model", "user", "source"] {
        let series = world
            .ask("series", &format!("{range}&granularity=weekly&groupBy={group}"))
            .await;
        assert_eq!(series["totals"], totals);
        for bucket in series["buckets"].as_array().expect("buckets") {
            let groups = bucket["groups"].as_array().expect("groups");
            let sum: i64 = groups
                .iter()
                .map(|g| g["totals"]["requests"].as_i64().expect("a number"))
                .sum();
            assert_eq!(json!(sum), bucket["totals"]["requests"], "{group}");
        }
    }
}

/// C9: paging stopped early without saying so. L7 of pages: whole-query totals travel with each.
#[tokio::test]
async fn c9_a_page_says_what_follows_it() {
    let world = World::at(NOW);
    world.reader.book((0..120).map(|n| {
        used("2026-09-28")
            .with(Dimension::User, &format!("u{n:03}"))
            .cost(n)
    }));
    let first = world.ask("breakdown", "by=user").await;
    assert_eq!(first["rows"].as_array().map(Vec::len), Some(50));
    assert_eq!(first["other"]["count"], json!(70));
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    let last = world
        .ask("breakdown", &format!("by=user&limit=70&cursor={cursor}"))
        .await;
    assert_eq!(last["other"], Value::Null);
    assert_eq!(last["nextCursor"], Value::Null);
    assert_eq!(last["totals"], first["totals"]);
}

/// C10: the organization id in the query was trusted. The whole matrix is in `access`.
#[tokio::test]
async fn c10_another_organizations_id_is_refused() {
    let world = World::guarded(NOW);
    let token = super::person("u1", json!({"acme": "admin"}));
    let own = world
        .send("/v1/usage/summary?organizationId=acme", &super::bearing(&token))
        .await;
    let foreign = world
        .send("/v1/usage/summary?organizationId=other", &super::bearing(&token))
        .await;
    assert_eq!((own.status, foreign.status), (200, 403));
}
