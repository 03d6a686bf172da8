//! What the contract says of usage and costs holds for both transports alike, and what is not known is told.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};
use testkit::product::Product;
use testkit::world::{World, admin};

use super::{LEAVE, Topic};

/// An event besides what every event says: as JSON, and what a driver makes of it.
fn cases() -> Vec<(&'static str, Document)> {
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
    vec![
        (
            r#""inputTokens":10,"outputTokens":5,"totalTokens":15,"cost":"7.5e-05""#,
            doc! {"inputTokens": 10, "outputTokens": 5_i64, "totalTokens": 15.0, "cost": "7.5e-05"},
        ),
        // Ten decimals: rounded.
        (
            r#""inputTokens":3.0,"cost":0.1234567895"#,
            doc! {"inputTokens": 3.0, "cost": 0.123_456_789_5},
        ),
        // Usage that nobody knows.
        (
            r#""inputTokens":null,"outputTokens":null,"cost":1E-3"#,
            doc! {"inputTokens": f64::NAN, "outputTokens": decimal("NaN"), "cost": decimal("1E-3")},
        ),
        (r#""prompt_tokens":7"#, doc! {"prompt_tokens": 7}),
        // Nothing was used, and nothing was to be paid.
        (r#""outcome":"failed""#, doc! {"outcome": "failed"}),
        // A stated 0 is a 0.
        (
            r#""inputTokens":0,"costEstimateCents":0.1"#,
            doc! {"inputTokens": 0, "costEstimateCents": 0.1},
        ),
        // Four letters.
        (
            r#""inputTokens":10,"outputTokens":5,"totalTokens":16"#,
            doc! {"inputTokens": 10, "outputTokens": 5, "totalTokens": 16},
        ),
        (r#""cost":"12,50""#, doc! {"cost": "12,50"}),
        (r#""cost":"1e999999999""#, doc! {"cost": "1e999999999"}),
        (r#""images":1E16"#, doc! {"images": decimal("1E+16")}),
    ]
}

const COUNTED: i64 = 6;
const REJECTED: i64 = 4;

/// Every row of acme, whatever its set and granularity.
const SUMS: [(&str, i128); 9] = [
    ("requests", 6),
    ("failedRequests", 1),
    ("inputTokens", 13),
    ("totalTokens", 18),
    // 75,000 + 123,456,790 + 1,000,000 + 1,000,000
    ("costNanos", 125_531_790),
    ("unpricedRequests", 1),
    ("unmeteredRequests", 2),
    ("pricedRequests", 0),
    ("pricedNanos", 0),
];

const METRICS: [(&str, i64); 4] = [
    ("unmetered_events_total", 2),
    ("unpriced_events_total", 1),
    ("unattributed_events_total", 6),
    ("rounded_costs_total", 1),
];

/// `images`: the number that is too large, as the transport writes it.
async fn check(world: &World, worker: &Product, images: &str) {
    for (what, sums) in world.sums(doc! {"organizationId": "acme"}).await {
        for (counter, expected) in SUMS {
            assert_eq!(sums[counter], expected, "{counter} of {what}");
        }
    }
    let (_, metrics) = admin(worker, "/metrics").await;
    for (name, expected) in METRICS {
        let line = format!("usage_ledger_{name} {expected}");
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let mut said = BTreeMap::new();
    for letter in world.letters().await {
        let text = |name: &str| letter.get_str(name).expect(name).to_owned();
        let earlier = said.insert(text("message"), text("reason"));
        assert_eq!(earlier, None);
    }
    let expected = [
        (
            "`totalTokens` is 16, `inputTokens` and `outputTokens` are 15: the sum, or no total".to_owned(),
            "total_mismatch",
        ),
        (
            "`cost` is `12,50`: a decimal with a point, from 0 to 1000000".to_owned(),
            "invalid_value",
        ),
        (
            "`cost` is `1e999999999`: a decimal with a point, from 0 to 1000000".to_owned(),
            "out_of_range",
        ),
        (
            format!("`images` is {images}: an integer from 0 to 10^15"),
            "out_of_range",
        ),
    ];
    let expected = expected.map(|(message, reason)| (message, reason.to_owned()));
    assert_eq!(said, BTreeMap::from(expected));
}

/// Lessons L22 and L23.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn l22_l23_both_transports_say_the_same_of_usage_and_costs() {
    let topic = Topic::new("contract", 1).await;
    let mut by_kafka = topic.worker(&[]);
    let sender = topic.sender();
    let world = World::new("contract").await;
    let mut by_stream = world.ready(&[]).await;
    for (number, (text, fields)) in (0..).zip(cases()) {
        let event = format!(
            r#"{{"eventId":"e-{number}","completedAt":1767607200000,"source":"chat","organizationId":"acme",{text}}}"#
        );
        sender.send(0, "acme", Some(event.as_bytes())).expect("sends");
        let mut document = doc! {
            "eventId": format!("e-{number}"), "completedAt": 1_767_607_200_000_i64, "source": "chat",
            "organizationId": "acme",
        };
        document.extend(fields);
        world.insert_one(document).await;
    }
    sender.flush().expect("arrives");
    topic.wait_next(0, COUNTED + REJECTED).await;
    world
        .wait_tally([COUNTED + REJECTED, COUNTED, 0, 0, REJECTED])
        .await;
    check(&topic.world, &by_kafka, "1E16").await;
    check(&world, &by_stream, "1E+16").await;

    let question = "/v1/usage/summary?organizationId=acme&from=2026-01-01&to=2026-01-31";
    let (status, body) = by_stream
        .get(&format!("{}{question}", by_stream.api()))
        .await
        .expect("answers");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["unmetered"], json!({"requests": 2}));
    assert_eq!(answer["unpriced"], json!({"requests": 1}));
    let nothing = json!({"amount": "0.000000000", "currency": "USD"});
    assert_eq!(answer["priced"], json!({"requests": 0, "cost": nothing}));
    assert_eq!(answer["totals"]["cost"]["amount"], json!("0.125531790"));
    by_kafka.stop(LEAVE).await.expect("leaves");
    by_stream.stop(LEAVE).await.expect("leaves");
}
