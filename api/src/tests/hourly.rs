//! Hours: where they are kept, which ones there are, and that they add up to days.

use proptest::prelude::*;
use rollup::kept::Kept;
use rollup::period::Granularity;
use serde_json::{Value, json};

use super::{World, column};
use crate::fake::{Used, used_at};
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:30:00Z";

fn world() -> World {
    World::with(NOW, |settings| settings.granularities = Granularity::ALL.to_vec())
}

#[tokio::test]
async fn a_day_by_the_hour_is_every_hour_and_says_which_are_over() {
    let world = world();
    world.reader.book([
        used_at("2026-09-28T00:00:00Z").cost(1),
        used_at("2026-09-28T11:59:59Z").cost(2),
        used_at("2026-09-28T12:00:00Z").cost(4),
    ]);
    let series = world
        .ask("series", "granularity=hourly&from=2026-09-28&to=2026-09-28")
        .await;
    assert_eq!(series["granularity"], "hourly");
    let keys = column(&series["buckets"], "periodKey");
    let expected: Vec<String> = (0..24).map(|hour| format!("2026-09-28T{hour:02}")).collect();
    assert_eq!(keys, expected);
    for (at, bucket) in series["buckets"].as_array().expect("buckets").iter().enumerate() {
        assert_eq!(
            (&bucket["start"], &bucket["end"]),
            (&json!("2026-09-28"), &json!("2026-09-28"))
        );
        assert_eq!(
            (&bucket["complete"], &bucket["partial"]),
            (&json!(at < 12), &json!(false))
        );
        let requests = [0, 11, 12].contains(&at);
        assert_eq!(
            bucket["totals"]["requests"],
            json!(i32::from(requests)),
            "hour {at}"
        );
    }
    let table = world
        .ask("table", "scope=organization&granularity=hourly&preset=7d")
        .await;
    assert_eq!(table["periods"].as_array().map(Vec::len), Some(7 * 24));
    assert_eq!(table["columnTotals"][6 * 24 + 12]["requests"], json!(1));
}

/// Hours that were counted before hours were kept are nobody's zeros.
#[tokio::test]
async fn hours_are_answered_from_the_day_on_of_which_all_are_kept() {
    let world = world();
    world.reader.book([used_at("2026-09-28T12:00:00Z")]);
    world.reader.set_later(Kept {
        granularity: Granularity::Hourly,
        since: "2026-09-28".parse().ok(),
    });
    let from = |day: &str| format!("granularity=hourly&from={day}&to=2026-09-28");
    assert_eq!(
        world.ask("series", &from("2026-09-28")).await["granularity"],
        "hourly"
    );
    let (status, problem) = world.refused("series", &from("2026-09-27")).await;
    assert_eq!(status, 400);
    assert_eq!(
        problem["detail"],
        "`hourly` is kept from 2026-09-28 on: ask for days from then on, or for longer buckets"
    );
}

/// An answer that is remembered says of no hour that it goes on when it is over.
#[tokio::test]
async fn an_hour_is_over_when_the_next_one_begins_also_in_remembered_answers() {
    let world = world();
    world.reader.book([used_at("2026-09-28T12:00:00Z")]);
    let query = "organizationId=acme&granularity=hourly&from=2026-09-28&to=2026-09-28";
    let target = format!("/v1/usage/series?{query}");
    let mut tag = String::new();
    for (now, over, status) in [
        ("2026-09-28T12:59:58Z", 12, 200),
        ("2026-09-28T12:59:59Z", 12, 304),
        ("2026-09-28T13:00:00Z", 13, 200),
        ("2026-09-28T13:20:00Z", 13, 304),
        ("2026-09-29T00:00:00Z", 24, 200),
    ] {
        world.set_now(now);
        let whole = world.send(&target, &[]).await.json();
        let buckets = whole["buckets"].as_array().expect("buckets");
        let complete = buckets.iter().filter(|bucket| bucket["complete"] == json!(true));
        assert_eq!(complete.count(), over, "{now}");
        let again = world.send(&target, &[("if-none-match", tag.as_str())]).await;
        assert_eq!(again.status, status, "{now}");
        again.header("etag").expect("a tag").clone_into(&mut tag);
    }
    // Usage that arrives late changes its hour.
    world.reader.book([used_at("2026-09-28T03:00:00Z")]);
    let again = world.send(&target, &[("if-none-match", tag.as_str())]).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["buckets"][3]["totals"]["requests"], json!(1));
}

#[tokio::test]
async fn hours_are_refused_where_they_are_not_kept_and_beyond_a_month() {
    let (kept, not) = (world(), World::at(NOW));
    for route in ["series", "table"] {
        let scope = if route == "table" {
            "scope=organization&"
        } else {
            ""
        };
        let query = |days: &str| format!("{scope}granularity=hourly&{days}");
        let (status, problem) = not.refused(route, &query("preset=7d")).await;
        assert_eq!(
            (status, &problem["parameter"]),
            (400, &json!("granularity")),
            "{route}"
        );
        let detail = problem["detail"].as_str().expect("a text");
        assert!(
            detail.contains("not kept") && detail.contains("`daily`"),
            "{detail}"
        );

        let month = kept.ask(route, &query("from=2026-08-01&to=2026-08-31")).await;
        let periods = [&month["buckets"], &month["periods"]];
        let count = periods.into_iter().find_map(Value::as_array).map(Vec::len);
        assert_eq!(count, Some(31 * 24), "{route}");
        let (status, problem) = kept.refused(route, &query("from=2026-08-01&to=2026-09-01")).await;
        assert_eq!(
            (status, &problem["parameter"]),
            (422, &json!("granularity")),
            "{route}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("31 days"))
        );
    }
    let (status, problem) = kept.refused("series", "granularity=quarterly").await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("granularity")));
    let meta = kept.ask("meta", "").await;
    assert_eq!(
        meta["granularities"],
        json!(["hourly", "daily", "weekly", "monthly"])
    );
}

fn usage() -> impl Strategy<Value = Vec<Used>> {
    let one = (0_u32..40, 0_u32..24, 0_u32..3, 0_u32..3, 0_u32..4, -5_i64..50);
    let used = |(day, hour, agent, model, user, cost): (u32, u32, u32, u32, u32, i64)| {
        let (month, day) = (8 + day / 31, 1 + day % 31);
        used_at(&format!("2026-{month:02}-{day:02}T{hour:02}:15:00Z"))
            .with(Dimension::Agent, &format!("a{agent}"))
            .with(Dimension::Model, &format!("m{model}"))
            .with(Dimension::User, &format!("u{user}"))
            .cost(cost)
    };
    prop::collection::vec(one.prop_map(used), 0..60)
}

/// The totals of each group over all buckets.
fn groups(series: &Value) -> Vec<(String, i64)> {
    let mut sums = std::collections::BTreeMap::new();
    for bucket in series["buckets"].as_array().expect("buckets") {
        for group in bucket["groups"].as_array().into_iter().flatten() {
            let name =
                ["agentSlug", "model", "userId", "source"].map(|name| group[name].as_str().unwrap_or("-"));
            *sums.entry(name.join(" ")).or_default() +=
                group["totals"]["requests"].as_i64().expect("a count");
        }
    }
    sums.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is asked: how long buckets are only parts the same usage in another way.
    #[test]
    fn hours_days_weeks_and_months_have_equal_totals(
        usage in usage(),
        start in 0_u64..20,
        length in 0_u64..31,
        filter in prop::sample::select(vec![
            "", "&agentSlug=a1", "&userId=u1", "&userId=u1&userId=u2", "&model=m0", "&agentSlug=a0&model=m1",
            "&teamId=__none__", "&kind=llm&userId=u3",
        ]),
        group in prop::sample::select(vec!["agent", "model", "user", "source"]),
        remembers in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::with(NOW, |settings| {
                settings.granularities = Granularity::ALL.to_vec();
                if !remembers {
                    settings.limits.cache_bytes = 0;
                }
            });
            world.reader.book(usage);
            let from: chrono::NaiveDate = "2026-08-01".parse().expect("a day");
            let from = from + chrono::Days::new(start);
            let query = format!("from={from}&to={}{filter}", from + chrono::Days::new(length));
            let summary = world.ask("summary", &query).await;
            let days = world.ask("series", &format!("{query}&groupBy={group}")).await;
            for granularity in ["hourly", "daily", "weekly", "monthly"] {
                let query = format!("{query}&granularity={granularity}");
                let series = world.ask("series", &format!("{query}&groupBy={group}")).await;
                assert_eq!(series["totals"], summary["totals"], "{query}");
                assert_eq!(groups(&series), groups(&days), "{query} {group}");
                let table = world.ask("table", &format!("scope=organization&{query}")).await;
                assert_eq!(table["totals"], summary["totals"], "{query}");
                let columns = table["columnTotals"].as_array().expect("totals").iter();
                let buckets = series["buckets"].as_array().expect("buckets").iter();
                assert!(columns.eq(buckets.map(|bucket| &bucket["totals"])), "{query}");
            }
        });
    }
}
