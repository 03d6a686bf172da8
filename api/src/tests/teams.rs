//! `include=teams`: the teams under which the users of a page have usage.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::World;
use crate::fake::{Used, used};
use crate::rows::{Dimension, Rows};
use rollup::counters::Counter;

const NOW: &str = "2026-09-28T12:00:00Z";

fn by(user: &str, team: &str) -> Used {
    used("2026-09-28")
        .with(Dimension::User, user)
        .with(Dimension::Team, team)
        .cost(1)
}

fn teams(answer: &Value) -> Vec<(Value, Value, Value)> {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter()
        .map(|row| {
            (
                row["userId"].clone(),
                row["teams"].clone(),
                row["teamCount"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn each_user_of_a_page_has_the_teams_of_its_usage_and_no_others() {
    let world = World::at(NOW);
    let many = (0..9).rev().map(|n| by("many", &format!("t{n}")));
    world.reader.book(
        many.chain([
            by("two", "sales, \"north\""),
            by("two", "sales, \"north\""),
            by("two", "ops"),
            // Without a team, out of the range, and taken back.
            by("two", "__none__"),
            used("2026-08-01")
                .with(Dimension::User, "two")
                .with(Dimension::Team, "old")
                .cost(1),
            by("two", "mistake"),
            by("two", "mistake").cost(-1).counting(Counter::Requests, -1),
            by("none", "__none__"),
        ]),
    );
    let answer = world.ask("breakdown", "by=user&include=teams&preset=30d").await;
    let two = json!(["ops", "sales, \"north\""]);
    let expected = [
        (json!("many"), json!(["t0", "t1", "t2", "t3", "t4"]), json!(9)),
        (json!("two"), two, json!(2)),
        (json!("none"), json!([]), json!(0)),
    ];
    assert_eq!(teams(&answer), expected);

    // The rest of the answer is what it is without.
    let mut plain = world.ask("breakdown", "by=user&preset=30d").await;
    assert!(plain["rows"][0].get("teams").is_none() && plain["rows"][0].get("teamCount").is_none());
    let mut with = answer;
    for row in with["rows"].as_array_mut().expect("rows") {
        let row = row.as_object_mut().expect("a row");
        row.remove("teams");
        row.remove("teamCount");
    }
    for answer in [&mut plain, &mut with] {
        answer.as_object_mut().expect("an answer").remove("generatedAt");
    }
    assert_eq!(with, plain);

    // Under the filters of the question.
    let answer = world
        .ask(
            "breakdown",
            "by=user&include=teams&teamId=t8&teamId=ops&userId=two&userId=many",
        )
        .await;
    let expected = [
        (json!("many"), json!(["t8"]), json!(1)),
        (json!("two"), json!(["ops"]), json!(1)),
    ];
    assert_eq!(teams(&answer), expected);
}

#[tokio::test]
async fn teams_are_read_for_the_users_of_the_page_only() {
    let world = World::at(NOW);
    world
        .reader
        .book((0..30).map(|n| by(&format!("u{n:02}"), &format!("t{n:02}")).cost(100 - n)));
    let first = world.ask("breakdown", "by=user&include=teams&limit=2").await;
    let queries = world.reader.take_queries();
    let ledger: Vec<_> = queries
        .iter()
        .filter(|query| query.rows == Rows::Ledger)
        .collect();
    let users: BTreeSet<_> = ledger
        .iter()
        .flat_map(|query| &query.filters[&Dimension::User])
        .collect();
    assert_eq!(users, BTreeSet::from([&"u00".to_owned(), &"u01".to_owned()]));

    // A page continues the same question, with or without teams.
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    let second = world
        .ask(
            "breakdown",
            &format!("by=user&include=teams&limit=1&cursor={cursor}"),
        )
        .await;
    assert_eq!(teams(&second), [(json!("u02"), json!(["t02"]), json!(1))]);

    // A user who was on another page is not read again.
    world.reader.take_queries();
    let wider = world.ask("breakdown", "by=user&include=teams&limit=4").await;
    assert_eq!(teams(&wider).len(), 4);
    let queries = world.reader.take_queries();
    let users: BTreeSet<_> = queries
        .iter()
        .flat_map(|query| query.filters.values().flatten())
        .collect();
    assert_eq!(users, BTreeSet::from([&"u03".to_owned()]));
}

#[tokio::test]
async fn only_users_have_teams() {
    let world = World::at(NOW);
    for (route, query) in [
        ("breakdown", "by=agent&include=teams"),
        ("breakdown", "by=team&include=teams"),
        ("breakdown", "by=user&include=agents"),
        ("breakdown", "by=user&include="),
        ("breakdown", "by=user&include=teams&include=teams"),
        ("summary", "include=teams"),
    ] {
        let (status, problem) = world.refused(route, query).await;
        assert_eq!(
            (status, problem["parameter"].as_str()),
            (400, Some("include")),
            "{route} {query}"
        );
    }
}

#[tokio::test]
async fn csv_has_the_teams_of_every_user() {
    // Also where nothing fits in memory.
    for cache_bytes in [64 * 1024 * 1024, 0] {
        let world = World::with(NOW, |settings| settings.limits.cache_bytes = cache_bytes);
        world.reader.book((0..10_200).flat_map(|n| {
            let user = format!("u{n:05}");
            [by(&user, "a").cost(n % 97), by(&user, &format!("b;{}", n % 3))]
        }));
        let rows = world.csv("breakdown", "by=user&include=teams").await;
        assert_eq!(rows.len(), 10_201);
        assert_eq!(rows[0][..4], ["userId", "teams", "teamCount", "requests"]);
        let plain = world.csv("breakdown", "by=user").await;
        for (row, plain) in rows.iter().zip(&plain).skip(1) {
            let number: u32 = row[0][1..].parse().expect("a number");
            assert_eq!(row[1], format!("[\"a\",\"b;{}\"]", number % 3));
            assert_eq!(row[2], "2");
            assert_eq!(
                (&row[0], &row[3..]),
                (&plain[0], &plain[1..]),
                "in the same order, with the same sums"
            );
        }
    }
}
