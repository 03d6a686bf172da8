//! Everything that a record may hold: each ends as what it is, and moves the lane on.

use std::collections::BTreeMap;

use mongodb::bson::doc;

use super::{LEAVE, Topic, event};
use testkit::eventually;
use testkit::kafka::records::Sender;

type Headers = Vec<(&'static str, &'static [u8])>;

/// The data of a CloudEvent: an event without its identity and time.
const DATA: &str = r#"{"source":"chat","organizationId":"acme","inputTokens":10}"#;

fn structured(id: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/chat","type":"{kind}","time":"2026-01-05T10:00:00Z","data":{data}}}"#
    )
}

fn binary(id: &'static [u8], kind: &'static [u8]) -> Headers {
    vec![
        ("ce_specversion", b"1.0"),
        ("ce_id", id),
        ("ce_source", b"/chat"),
        ("ce_type", kind),
        ("ce_time", b"2026-01-05T10:00:00Z"),
        ("content-type", b"application/json"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_payload_ends_as_what_it_is_and_moves_the_lane_on() {
    let topic = Topic::new("payloads", 1).await;
    let mut worker = topic.worker(&[("BATCH_MAX_AGE", "20ms")]);
    let sender = topic.sender();
    let typed = |name: &'static [u8]| vec![("content-type", name)];
    let json = || typed(b"application/json; charset=utf-8");
    let cloud = || typed(b"application/cloudevents+json");
    let avro = || typed(b"application/avro");
    let completed = "request.completed";
    let mine = DATA.replacen('{', r#"{"eventId":"another","#, 1);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(300 * 1024));
    let test = event("t-1").replacen('{', r#"{"testMode":true,"#, 1);
    // What it becomes, its headers, its value.
    let records: Vec<(&str, Headers, Option<Vec<u8>>)> = vec![
        ("counted", vec![], Some(event("p-1").into())),
        ("counted", json(), Some(event("p-2").into())),
        ("duplicate", vec![], Some(event("p-1").into())),
        (
            "counted",
            cloud(),
            Some(structured("c-1", completed, DATA).into()),
        ),
        ("counted", vec![], Some(structured("c-2", completed, DATA).into())),
        ("counted", binary(b"c-3", b"request.completed"), Some(DATA.into())),
        // One identity, whatever the form.
        (
            "duplicate",
            binary(b"c-1", b"request.completed"),
            Some(DATA.into()),
        ),
        (
            "duplicate",
            vec![],
            Some(structured("c-3", completed, DATA).into()),
        ),
        // Without the source of the CloudEvent it is another one.
        ("counted", vec![], Some(event("c-3").into())),
        ("skipped", vec![], Some(test.into())),
        (
            "skipped",
            cloud(),
            Some(structured("c-4", "request.started", DATA).into()),
        ),
        (
            "skipped",
            binary(b"c-5", b"request.started"),
            Some(b"\x00\x01".to_vec()),
        ),
        // What follows a deletion.
        ("skipped", vec![], None),
        ("empty_record", vec![], Some(Vec::new())),
        ("invalid_utf8", vec![], Some(b"{\"eventId\":\"\xff\"}".to_vec())),
        ("invalid_json", vec![], Some(b"{\"eventId\":".to_vec())),
        ("too_large", vec![], Some(large.into())),
        ("unsupported_content_type", avro(), Some(event("p-3").into())),
        (
            "id_mismatch",
            cloud(),
            Some(structured("c-6", completed, &mine).into()),
        ),
        (
            "id_mismatch",
            binary(b"c-7", b"request.completed"),
            Some(mine.clone().into()),
        ),
        ("skipped", binary(b"c-8", b"request.completed"), None),
        ("counted", vec![], Some(event("p-4").into())),
    ];
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    for (next, (becomes, headers, value)) in (1..).zip(&records) {
        sender
            .send_with(headers, 0, "acme", value.as_deref())
            .expect("sends");
        sender.flush().expect("arrives");
        // One by one: each alone moves the lane on.
        topic.wait_next(0, next).await;
        let counter = match *becomes {
            counter @ ("counted" | "duplicate" | "skipped") => counter,
            _ => "deadLetter",
        };
        *expected.entry(counter).or_default() += 1;
        let fence = topic.fence(0).await;
        for (counter, count) in &expected {
            assert_eq!(
                fence.get_i64(counter).expect("a number"),
                *count,
                "{counter} after {becomes} at {}",
                next - 1
            );
        }
        if counter == "deadLetter" {
            let id = doc! {"_id": format!("{}/{}", topic.lane(0), next - 1)};
            let letters = topic.world.collection("usageDeadLetters");
            let letter = letters.find_one(id).await.expect("reads").expect("a letter");
            assert_eq!(letter.get_str("reason").expect("a reason"), *becomes);
        }
    }
    eventually("ready", || async {
        testkit::world::admin(&worker, "/readyz").await.0 == 200
    })
    .await;
    for (what, sums) in topic.world.sums(doc! {}).await {
        assert_eq!((sums["requests"], sums["inputTokens"]), (7, 70), "{what}");
    }
    worker.stop(LEAVE).await.expect("leaves");
}

/// A broker keeps what producers compressed.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_compression_is_read() {
    let topic = Topic::new("compressed", 1).await;
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let compression = [("compression.codec", codec)];
        let sender = Sender::new(&topic.brokers, &topic.name, &compression).expect("a producer");
        for number in 0..500 {
            let event = event(&format!("{codec}-{number}"));
            sender.send(0, "acme", Some(event.as_bytes())).expect("sends");
        }
        sender.flush().expect("arrives");
    }
    let mut worker = topic.worker(&[]);
    topic.wait_next(0, 2_000).await;
    assert_eq!(topic.sum("counted").await, 2_000);
    worker.stop(LEAVE).await.expect("leaves");
}
