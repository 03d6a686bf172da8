//! CSV: the whole query on every route, and as a file for spreadsheets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{World, bearing, person, staff};
use crate::fake::{Used, used, used_at};
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:00:00Z";

fn all_granularities(settings: &mut crate::Settings) {
    settings.granularities = rollup::period::Granularity::ALL.to_vec();
}

/// Many models, of which each day and each hour has some.
fn models() -> Vec<Used> {
    let used = |n: i64| {
        used_at(&format!("2026-09-{:02}T{:02}:30:00Z", 10 + n % 18, n * 7 % 24))
            .with(Dimension::Model, &format!("m{:03}", n % 90))
            .with(Dimension::Provider, if n % 3 == 0 { "p1" } else { "p2" })
            .with(Dimension::User, &format!("u{}", n % 400))
            .cost(n * 1_001)
    };
    (0..2_000).map(used).collect()
}

/// A column of CSV, added up for each value of another one.
fn sums(rows: &[Vec<String>], of: &str, by: &str) -> BTreeMap<String, i64> {
    let at = |name: &str| rows[0].iter().position(|column| column == name).expect(name);
    let (of, by) = (at(of), at(by));
    let mut sums = BTreeMap::new();
    for row in &rows[1..] {
        *sums.entry(row[by].clone()).or_default() += row[of].parse::<i64>().expect("a count");
    }
    sums
}

/// The same of the buckets of a series in JSON.
fn of_buckets(series: &Value) -> BTreeMap<String, i64> {
    let buckets = series["buckets"].as_array().expect("buckets").iter();
    let sum = |bucket: &Value| {
        let key = bucket["periodKey"].as_str().expect("a key").to_owned();
        (key, bucket["totals"]["requests"].as_i64().expect("a count"))
    };
    buckets.map(sum).collect()
}

#[tokio::test]
async fn a_series_by_groups_has_every_group_in_every_bucket() {
    for cache_bytes in [0, 64 * 1024 * 1024] {
        let world = World::with(NOW, |settings| {
            all_granularities(settings);
            settings.limits.cache_bytes = cache_bytes;
        });
        world.reader.book(models());
        for granularity in ["hourly", "daily", "weekly", "monthly"] {
            for (group, column, filter) in [
                ("model", "model", ""),
                ("user", "userId", ""),
                ("model", "model", "&userId=u3&userId=u4&userId=u5"),
            ] {
                let query = format!("granularity={granularity}&from=2026-09-12&to=2026-09-20{filter}");
                let series = world.ask("series", &query).await;
                let ranked = world
                    .csv(
                        "breakdown",
                        &format!("by={group}&from=2026-09-12&to=2026-09-20{filter}"),
                    )
                    .await;
                let lines = world.csv("series", &format!("{query}&groupBy={group}")).await;
                let many = if group == "user" { 8_192 / 24 } else { 20 };
                assert!(ranked.len() > many || !filter.is_empty());
                let buckets = series["buckets"].as_array().expect("buckets").len();
                assert_eq!(lines.len() - 1, buckets * (ranked.len() - 1), "{query} {group}");
                // Both are what the same question is without groups, and without buckets.
                assert_eq!(
                    sums(&lines, "requests", "periodKey"),
                    of_buckets(&series),
                    "{query} {group}"
                );
                assert_eq!(
                    sums(&lines, "requests", column),
                    sums(&ranked, "requests", column),
                    "{query} {group}"
                );
                let keys: Vec<&String> = lines[1..].iter().map(|line| &line[0]).collect();
                assert!(keys.is_sorted(), "the oldest bucket first");
                let first = ranked[1..].iter().map(|row| &row[0]);
                assert!(
                    first.eq(lines[1..ranked.len()].iter().map(|line| &line[5])),
                    "the largest first"
                );
            }
        }
    }
}

#[tokio::test]
async fn as_a_file_csv_is_the_same_with_a_mark_and_a_name() {
    let world = World::at(NOW);
    world.reader.book(models());
    for (route, query, name) in [
        ("summary", "", "summary-acme-2026-08-30-2026-09-28"),
        (
            "series",
            "groupBy=model&preset=7d",
            "series-acme-2026-09-22-2026-09-28",
        ),
        ("breakdown", "by=user", "breakdown-acme-2026-08-30-2026-09-28"),
        (
            "table",
            "scope=organization&from=2026-09-01&to=2026-09-02",
            "table-acme-2026-09-01-2026-09-02",
        ),
        ("meta", "", "meta-acme-2026-08-30-2026-09-28"),
    ] {
        let target = format!("/v1/usage/{route}?organizationId=acme&{query}");
        let plain = world.send(&target, &[("accept", "text/csv")]).await;
        assert_eq!(plain.header("content-disposition"), None);
        assert!(!plain.text.starts_with('\u{feff}'));
        // What a spreadsheet sends, and what a browser does.
        for accept in ["*/*", "text/html,application/xhtml+xml", "application/json"] {
            let file = world
                .send(&format!("{target}&format=csv"), &[("accept", accept)])
                .await;
            assert_eq!(file.status, 200, "{target} {accept}: {}", file.text);
            let disposition = format!("attachment; filename=\"usage-{name}.csv\"");
            assert_eq!(file.header("content-disposition"), Some(disposition.as_str()));
            assert_eq!(file.header("content-type"), plain.header("content-type"));
            assert_eq!(
                file.text.strip_prefix('\u{feff}'),
                Some(plain.text.as_str()),
                "{target}"
            );
        }
        let json = world
            .send(&format!("{target}&format=json"), &[("accept", "text/csv")])
            .await;
        assert_eq!(json.header("content-type"), Some("application/json"));
        assert_eq!(json.header("content-disposition"), None);
        for wrong in [
            "format=xml",
            "format=",
            "format=csv&format=csv",
            "format=json&format=csv",
        ] {
            let (status, problem) = world.refused(route, &format!("{query}&{wrong}")).await;
            assert_eq!(
                (status, &problem["parameter"]),
                (400, &json!("format")),
                "{route} {wrong}"
            );
        }
    }
}

/// Whose usage it is, is said by the server's own words only.
#[tokio::test]
async fn the_name_of_a_file_is_plain_whatever_an_organization_is_called() {
    let world = World::guarded(NOW);
    let staff = staff();
    for (organization, name) in [
        (
            "..%2F..%2Fx%22%3B%20y%3D%27",
            "usage-summary-x-y-2026-09-28-2026-09-28.csv",
        ),
        ("%E5%85%AC%E5%8F%B8", "usage-summary-2026-09-28-2026-09-28.csv"),
    ] {
        let target = format!(
            "/v1/usage/summary?organizationId={organization}&from=2026-09-28&to=2026-09-28&format=csv"
        );
        let file = world.send(&target, &bearing(&staff)).await;
        let disposition = format!("attachment; filename=\"{name}\"");
        assert_eq!(file.header("content-disposition"), Some(disposition.as_str()));
    }
    let platform = world
        .send(
            "/v1/usage/table?scope=platform&preset=7d&format=csv",
            &bearing(&staff),
        )
        .await;
    assert_eq!(
        platform.header("content-disposition"),
        Some("attachment; filename=\"usage-table-2026-09-22-2026-09-28.csv\"")
    );
    // A parameter opens nothing: no token, no file.
    let target = "/v1/usage/me?organizationId=acme&preset=7d&format=csv";
    assert_eq!(world.send(target, &[]).await.status, 401);
    let member = person("u1", json!({"acme": "member"}));
    let own = world.send(target, &bearing(&member)).await;
    assert!(
        own.text.starts_with("\u{feff}userId,span,from,to,"),
        "{}",
        own.text
    );
    let other = "/v1/usage/breakdown?organizationId=acme&by=user&format=csv";
    assert_eq!(world.send(other, &bearing(&member)).await.status, 403);
}

/// Every text of a cell is somebody's, whichever dimension it is of.
#[tokio::test]
async fn no_cell_of_a_file_is_a_formula_whatever_is_named_so() {
    let world = World::with(NOW, all_granularities);
    let formula = "=cmd|' /C calc'!A0";
    let named = [
        Dimension::Agent,
        Dimension::Provider,
        Dimension::Model,
        Dimension::User,
        Dimension::Team,
        Dimension::ApiKey,
        Dimension::Source,
    ];
    let evil = named.into_iter().fold(used("2026-09-28"), |used, dimension| {
        used.with(dimension, formula)
    });
    world.reader.book([evil]);
    let mut asked = vec![
        ("summary", String::new()),
        ("meta", String::new()),
        (
            "table",
            "scope=organization&granularity=hourly&preset=7d".to_owned(),
        ),
        ("breakdown", "by=user&include=teams".to_owned()),
    ];
    asked.extend(crate::group_by::GroupBy::BREAKDOWN.map(|by| ("breakdown", format!("by={by}"))));
    asked.extend(crate::group_by::GroupBy::SERIES.map(|by| ("series", format!("groupBy={by}"))));
    for (route, query) in asked {
        let target = format!("/v1/usage/{route}?organizationId=acme&{query}&format=csv");
        let file = world.send(&target, &[]).await;
        let text = file.text.strip_prefix('\u{feff}').expect("a mark");
        for row in csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes())
            .records()
        {
            let row = row.expect("a row");
            let starts = row.iter().filter_map(|cell| cell.chars().next());
            assert!(
                !starts.into_iter().any(|start| "=+-@".contains(start)),
                "{target}: {row:?}"
            );
        }
    }
}
