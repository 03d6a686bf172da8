//! The windows of `tests/data/windows.json`: small event sets with the answers a reader must give.

use serde_json::Value;

use rollup::decimal::{Decimal, DecimalError, Rounded};
use rollup::money;

use super::World;
use crate::fake::used;
use crate::rows::Dimension;

type Read = fn(&Decimal<'_>) -> Result<Rounded, DecimalError>;

fn read(amount: &Value, unit: Read) -> i64 {
    let decimal = Decimal::parse(amount.as_str().expect("a text")).expect("an amount");
    let nanos = unit(&decimal).expect("fits").value;
    i64::try_from(nanos).expect("fits")
}

fn nanos(cents: &Value) -> i64 {
    read(cents, money::of_cents)
}

fn amount(totals: &Value) -> i64 {
    read(&totals["cost"]["amount"], money::of_units)
}

async fn world(window: &Value) -> World {
    let world = World::at(window["now"].as_str().expect("now"));
    let events = window["events"].as_array().into_iter().flatten().map(|event| {
        let used = used(event["day"].as_str().expect("a day")).cost(nanos(&event["costCents"]));
        [("model", Dimension::Model), ("provider", Dimension::Provider)]
            .into_iter()
            .fold(used, |used, (name, dimension)| {
                event[name]
                    .as_str()
                    .map_or(used.clone(), |value| used.with(dimension, value))
            })
    });
    world.reader.book(events);
    world
}

#[tokio::test]
async fn every_window_gives_the_answers_it_must() {
    let windows: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/data/windows.json")).expect("windows");
    assert_eq!(windows.len(), 3);
    for window in &windows {
        let name = window["name"].as_str().expect("a name");
        let expected = window["expect"].as_object().expect("expectations");
        let preset = format!("preset={}", window["preset"].as_str().expect("a preset"));
        let world = world(window).await;
        let summary = world.ask("summary", &preset).await;
        for (what, expected) in expected {
            match what.as_str() {
                "currentCents" | "totalCents" => {
                    assert_eq!(amount(&summary["totals"]), nanos(expected), "{name}")
                }
                "previousCents" => {
                    assert_eq!(amount(&summary["previous"]["totals"]), nanos(expected), "{name}")
                }
                "requests" => assert_eq!(summary["totals"]["requests"], *expected, "{name}"),
                "from" | "to" => assert_eq!(summary["range"][what], *expected, "{name}"),
                "sameAtGranularities" => {
                    for granularity in expected.as_array().expect("names") {
                        let query = format!("{preset}&granularity={}", granularity.as_str().expect("a name"));
                        let series = world.ask("series", &query).await;
                        assert_eq!(series["totals"], summary["totals"], "{name} {granularity}");
                    }
                }
                "modelRows" => {
                    let models = world.ask("breakdown", &format!("{preset}&by=model")).await;
                    assert_eq!(
                        models["rows"].as_array().map(Vec::len),
                        expected.as_u64().map(|n| n as usize)
                    );
                }
                "filterProviderA" => {
                    let one = world
                        .ask("summary", &format!("{preset}&provider=provider-a"))
                        .await;
                    assert_eq!(one["totals"]["requests"], expected["requests"], "{name}");
                    assert_eq!(amount(&one["totals"]), nanos(&expected["cents"]), "{name}");
                }
                other => panic!("{name}: nothing checks `{other}`"),
            }
        }
    }
}
