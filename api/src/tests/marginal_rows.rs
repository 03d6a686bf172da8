//! Remembered rows give the answers that the stored rows give.

use proptest::prelude::*;
use rollup::counters::Counter;
use serde_json::Value;

use super::World;
use crate::fake::{Used, used};
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:00:00Z";

/// Usage on one of the days around now; some of it takes back what other usage counted.
fn usage() -> impl Strategy<Value = Used> {
    let day = (7_u32..=9, 1_u32..=28).prop_map(|(month, day)| format!("2026-{month:02}-{day:02}"));
    (day, 0..4, 0..6, 0..3, -2_i64..9).prop_map(|(day, agent, user, model, cost)| {
        let used = used(&day).counting(Counter::InputTokens, cost * 3).cost(cost);
        let used = if cost < 0 {
            used.counting(Counter::Requests, -1)
        } else {
            used
        };
        let name = |prefix: &str, number: i32| match number {
            0 => "__unattributed__".to_owned(),
            number => format!("{prefix}{number}"),
        };
        used.with(Dimension::Agent, &name("a", agent))
            .with(Dimension::User, &name("u", user))
            .with(Dimension::Model, &format!("m{model}"))
            .with(Dimension::Provider, &format!("p{}", model % 2))
            .with(Dimension::Team, &format!("t{}", user % 2))
    })
}

fn question() -> impl Strategy<Value = (&'static str, String)> {
    let asked = prop::sample::select(vec![
        ("summary", ""),
        ("summary", "userId=u1&userId=u2"),
        ("summary", "userId=__unattributed__"),
        ("summary", "userId=u1&userId=__unattributed__&agentSlug=a1"),
        ("breakdown", "by=team&userId=__unattributed__"),
        ("summary", "agentSlug=a1"),
        ("series", "granularity=weekly"),
        ("series", "granularity=daily&groupBy=agent"),
        ("series", "granularity=monthly&groupBy=user"),
        (
            "series",
            "granularity=weekly&agentSlug=a1&agentSlug=__unattributed__",
        ),
        ("series", "granularity=monthly&groupBy=model&provider=p1"),
        ("breakdown", "by=agent"),
        ("breakdown", "by=user&limit=2"),
        ("breakdown", "by=user&sort=requests&include=teams"),
        ("breakdown", "by=model&provider=p0&sort=tokens"),
        ("breakdown", "by=team"),
        ("breakdown", "by=agent&model=m1"),
        ("table", "scope=organization&granularity=monthly"),
    ]);
    let range = (0_u32..80, 0_u32..60).prop_map(|(from, days)| {
        let from =
            chrono::NaiveDate::from_ymd_opt(2026, 7, 1).expect("a day") + chrono::Days::new(from.into());
        format!("from={from}&to={}", from + chrono::Days::new(days.into()))
    });
    (asked, range).prop_map(|((route, query), range)| (route, format!("{query}&{range}")))
}

fn without_times(mut answer: Value) -> Value {
    answer.as_object_mut().expect("an answer").remove("generatedAt");
    answer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a reader that has no memory, and asks for the sums of everything each time.
    #[test]
    fn answers_from_memory_are_those_of_the_rows(
        steps in prop::collection::vec((prop::collection::vec(usage(), 0..6), prop::collection::vec(question(), 1..6)), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let remembering = World::at(NOW);
            let forgetful = World::with(NOW, |settings| settings.limits.cache_bytes = 0);
            for (usage, questions) in steps {
                for world in [&remembering, &forgetful] {
                    world.reader.book(usage.clone());
                }
                for (route, query) in questions {
                    let expected = without_times(forgetful.ask(route, &query).await);
                    let answer = without_times(remembering.ask(route, &query).await);
                    prop_assert_eq!(answer, expected, "{} {}", route, query);
                }
            }
            Ok(())
        })?;
    }
}
