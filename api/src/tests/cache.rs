//! The memory of the reader, and its end.

use rollup::counters::Counter;
use rollup::fold::Marginal;
use serde_json::json;

use super::World;
use crate::fake::used;
use crate::rows::{Dimension, Rows};

const NOW: &str = "2026-09-28T12:00:00Z";

fn by(user: &str, day: &str) -> crate::fake::Used {
    used(day).with(Dimension::User, user)
}

#[tokio::test]
async fn a_repeated_question_is_not_asked_again() {
    let world = World::at(NOW);
    world.reader.book([by("u1", "2026-09-28")]);
    let first = world.ask("breakdown", "by=user").await;
    assert!(!world.reader.take_queries().is_empty());
    assert_eq!(world.ask("breakdown", "by=user").await, first);
    assert!(world.reader.take_queries().is_empty());
    let lookups = |result: &str| {
        let families = world.registry.gather();
        let family = families
            .iter()
            .find(|f| f.name() == "usage_ledger_reader_answers_total")
            .expect("a metric");
        let metric = family
            .get_metric()
            .iter()
            .find(|m| m.get_label()[0].value() == result)
            .expect("a result");
        metric.get_counter().get_value()
    };
    assert_eq!((lookups("hit"), lookups("miss")), (1.0, 1.0));
}

#[tokio::test]
async fn what_happens_today_does_not_make_the_past_be_read_again() {
    let world = World::at(NOW);
    world
        .reader
        .book([by("u1", "2026-09-01"), by("u1", "2026-09-28")]);
    world.ask("breakdown", "by=user").await;
    world.reader.take_queries();
    world.reader.book([by("u2", "2026-09-28")]);
    let answer = world.ask("breakdown", "by=user").await;
    assert_eq!(answer["totals"]["requests"], json!(3));
    let queries = world.reader.take_queries();
    assert_eq!(queries.len(), 1, "only the rows of today are read");
    assert_eq!(queries[0].cover.len(), 1);
    assert_eq!(queries[0].cover[0].first.to_string(), "2026-09-28");
}

/// A late event in a closed period shows at once.
#[tokio::test]
async fn a_late_event_in_a_closed_period_is_seen() {
    let world = World::at(NOW);
    world
        .reader
        .book([by("u1", "2026-09-01"), by("u1", "2026-09-28")]);
    let last_month = "from=2026-08-01&to=2026-09-20&by=user";
    assert_eq!(
        world.ask("breakdown", last_month).await["totals"]["requests"],
        json!(1)
    );
    world.reader.book([by("u2", "2026-08-15")]);
    assert_eq!(
        world.ask("breakdown", last_month).await["totals"]["requests"],
        json!(2)
    );
    // Also one that takes back what another books: the organization's sums are what they were.
    world.reader.book([
        by("u1", "2026-09-01")
            .counting(Counter::Requests, -1)
            .counting(Counter::UnpricedRequests, -1),
        by("u3", "2026-09-02"),
    ]);
    let users = world.ask("breakdown", last_month).await;
    assert_eq!(super::column(&users["rows"], "userId"), ["u2", "u3"]);
}

#[tokio::test]
async fn a_question_reads_the_smallest_rows_that_answer_it() {
    let world = World::at(NOW);
    world.reader.book([by("u1", "2026-09-28")]);
    for (route, query, rows) in [
        ("breakdown", "by=agent", Rows::Rollups(Marginal::Agent)),
        ("breakdown", "by=model&provider=p", Rows::Rollups(Marginal::Model)),
        ("breakdown", "by=user&userId=u1", Rows::Rollups(Marginal::User)),
        ("breakdown", "by=source", Rows::Rollups(Marginal::Source)),
        ("breakdown", "by=kind", Rows::Ledger),
        ("breakdown", "by=user&agentSlug=a", Rows::Ledger),
    ] {
        world.ask(route, query).await;
        let queries = world.reader.take_queries();
        assert!(
            !queries.is_empty() && queries.iter().all(|query| query.rows == rows),
            "{route} {query}"
        );
    }
    // The totals of an organization are read without any of it, and whole months are read as months.
    world.reader.take_reads();
    world
        .ask("series", "from=2026-01-01&to=2026-06-30&granularity=monthly")
        .await;
    assert!(world.reader.take_queries().is_empty());
    let reads = world.reader.take_reads();
    assert_eq!(reads.len(), 1);
    assert_eq!(
        (reads[0].first.to_string(), reads[0].last.to_string()),
        ("2026-01".into(), "2026-06".into())
    );
}

#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_reading() {
    let world = World::at(NOW);
    world.reader.book([by("u1", "2026-09-28")]);
    let asks = (0..20).map(|_| world.ask("summary", ""));
    let answers = futures_util::future::join_all(asks).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer["totals"]["requests"] == json!(1))
    );
    assert!(world.reader.snapshots() <= 20);
}

/// Another range, another filter and another form of the same rows read only what was not read before.
#[tokio::test]
async fn other_questions_about_the_same_periods_share_their_rows() {
    let world = World::at(NOW);
    let agent = |agent: &str, day: &str| used(day).with(Dimension::Agent, agent).cost(1);
    world.reader.book([
        agent("a", "2026-07-10"),
        agent("b", "2026-08-10"),
        agent("a", "2026-09-02"),
    ]);
    let months = "from=2026-07-01&to=2026-08-31";
    world.ask("breakdown", &format!("by=agent&{months}")).await;
    world.reader.take_queries();
    world.reader.take_reads();
    let longer = world
        .ask("breakdown", "by=agent&from=2026-07-01&to=2026-09-02")
        .await;
    assert_eq!(longer["totals"]["requests"], json!(3));
    let queries = world.reader.take_queries();
    let periods: Vec<_> = queries.iter().flat_map(|query| &query.cover).collect();
    assert_eq!(periods.len(), 1, "the months are remembered");
    assert_eq!(periods[0].first.to_string(), "2026-09-02");
    let reads = world.reader.take_reads();
    assert!(
        reads
            .iter()
            .all(|span| span.first.to_string().starts_with("2026-09-")),
        "{reads:?}"
    );

    // Nothing is left to be read.
    world.reader.take_queries();
    for (route, query) in [
        ("breakdown", "by=agent&sort=requests"),
        ("series", "granularity=monthly&groupBy=agent"),
        ("series", "granularity=monthly&agentSlug=a"),
        ("table", "scope=organization&granularity=monthly"),
    ] {
        let answer = world.ask(route, &format!("{query}&{months}")).await;
        let requests = if query.contains("agentSlug") { 1 } else { 2 };
        assert_eq!(answer["totals"]["requests"], json!(requests), "{route} {query}");
    }
    assert!(world.reader.take_queries().is_empty() && world.reader.take_reads().is_empty());
}

/// What is remembered of one state of the ledger is never put beside what is read of another.
#[tokio::test]
async fn an_answer_is_of_one_state_whatever_is_booked_meanwhile() {
    let world = World::at(NOW);
    let agent = |agent: &str, day: &str| used(day).with(Dimension::Agent, agent);
    world
        .reader
        .book([agent("a", "2026-07-10"), agent("a", "2026-09-28")]);
    world
        .ask("breakdown", "by=agent&from=2026-07-01&to=2026-07-31")
        .await;
    // July changes after the snapshot was opened, and before anything else is read.
    world
        .reader
        .book_after_next_snapshot([agent("b", "2026-07-11"), agent("b", "2026-09-28")]);
    for (agents, requests) in [(1, 2), (2, 4)] {
        let answer = world
            .ask("breakdown", "by=agent&from=2026-07-01&to=2026-09-28")
            .await;
        assert_eq!(answer["totals"]["requests"], json!(requests));
        let rows = answer["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), agents, "{rows:?}");
        assert!(
            rows.iter().all(|row| row["totals"]["requests"] == json!(2)),
            "{rows:?}"
        );
    }
}

/// A snapshot that the store keeps no longer is followed by a newer one, but not for ever.
#[tokio::test]
async fn an_answer_begins_anew_where_its_snapshot_is_gone() {
    for accept in ["application/json", "text/csv"] {
        for (lost, status, opened) in [(1, 200, 2), (2, 200, 3), (3, 503, 3)] {
            let world = World::at(NOW);
            world.reader.book([used("2026-09-28")]);
            world.reader.lose_snapshots(lost);
            let target = "/v1/usage/breakdown?organizationId=acme&by=agent";
            let reply = world.send(target, &[("accept", accept)]).await;
            assert_eq!(reply.status, status, "{accept} {lost}: {}", reply.text);
            assert_eq!(reply.header("retry-after").is_some(), status == 503);
            assert_eq!(world.reader.snapshots(), opened, "{accept} {lost}");
        }
    }
}
