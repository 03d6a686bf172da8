//! What is remembered, and until when.

use rollup::counters::Counter;
use rollup::fold::Set;
use serde_json::json;

use super::World;
use crate::memory::used;
use crate::reader::{Dimension, Rows};

const NOW: &str = "2026-09-28T12:00:00Z";

fn by(user: &str, day: &str) -> crate::memory::Used {
    used(day).with(Dimension::User, user)
}

#[tokio::test]
async fn a_repeated_question_is_not_asked_again() {
    let world = World::at(NOW);
    world.memory.book([by("u1", "2026-09-28")]);
    let first = world.ask("breakdown", "by=user").await;
    assert!(!world.memory.take_queries().is_empty());
    assert_eq!(world.ask("breakdown", "by=user").await, first);
    assert!(world.memory.take_queries().is_empty());
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
        .memory
        .book([by("u1", "2026-09-01"), by("u1", "2026-09-28")]);
    world.ask("breakdown", "by=user").await;
    world.memory.take_queries();
    world.memory.book([by("u2", "2026-09-28")]);
    let answer = world.ask("breakdown", "by=user").await;
    assert_eq!(answer["totals"]["requests"], json!(3));
    let queries = world.memory.take_queries();
    assert_eq!(queries.len(), 1, "only today is read");
    assert_eq!(queries[0].cover.len(), 1);
    assert_eq!(queries[0].cover[0].first.to_string(), "2026-09-28");
}

/// A late event in a closed period shows at once.
#[tokio::test]
async fn a_late_event_in_a_closed_period_is_seen() {
    let world = World::at(NOW);
    world
        .memory
        .book([by("u1", "2026-09-01"), by("u1", "2026-09-28")]);
    let last_month = "from=2026-08-01&to=2026-09-20&by=user";
    assert_eq!(
        world.ask("breakdown", last_month).await["totals"]["requests"],
        json!(1)
    );
    world.memory.book([by("u2", "2026-08-15")]);
    assert_eq!(
        world.ask("breakdown", last_month).await["totals"]["requests"],
        json!(2)
    );
    // Also one that takes back what another books: the organization's sums are what they were.
    world.memory.book([
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
    world.memory.book([by("u1", "2026-09-28")]);
    for (route, query, rows) in [
        ("series", "", Rows::Rollups(Set::Organization)),
        ("breakdown", "by=agent", Rows::Rollups(Set::Agent)),
        ("breakdown", "by=model&provider=p", Rows::Rollups(Set::Model)),
        ("breakdown", "by=user&userId=u1", Rows::Rollups(Set::User)),
        ("breakdown", "by=source", Rows::Rollups(Set::Source)),
        ("breakdown", "by=kind", Rows::Ledger),
        ("breakdown", "by=user&agentSlug=a", Rows::Ledger),
    ] {
        world.ask(route, query).await;
        let queries = world.memory.take_queries();
        assert!(
            !queries.is_empty() && queries.iter().all(|query| query.rows == rows),
            "{route} {query}"
        );
    }
    // Whole months are read as months.
    world.ask("summary", "from=2026-01-01&to=2026-06-30").await;
    let covers = world.memory.take_queries().into_iter().map(|query| query.cover);
    assert!(
        covers
            .into_iter()
            .any(|cover| cover.len() == 1 && cover[0].first.to_string() == "2026-01")
    );
}

#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_reading() {
    let world = World::at(NOW);
    world.memory.book([by("u1", "2026-09-28")]);
    let asks = (0..20).map(|_| world.ask("summary", ""));
    let answers = futures_util::future::join_all(asks).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer["totals"]["requests"] == json!(1))
    );
    assert!(world.memory.readings() <= 20);
}
