//! What connectors put on a topic: the records that two of them really wrote, and the forms that their settings make of
//! them.

use serde_json::{Value as Json, json};

use super::*;

/// One per line: the connector and its settings, the record, and the verdict that is wanted.
const RECORDS: &str = include_str!("../../../../tests/data/connectors.jsonl");

fn verdict(payload: &Payload) -> String {
    let read = payload.check(&rules());
    match read.checked {
        Ok(Checked::Event(event)) => {
            let id = match read.name.identity().expect("an event has one") {
                crate::identity::Identity::Event(_) => read.name.event_id.as_deref().expect("its id").into(),
                crate::identity::Identity::Copy(_) => {
                    format!(
                        "_id {}",
                        shown(read.name.document_id.as_deref().expect("its id")).expect("a text")
                    )
                }
                other => panic!("{other:?}"),
            };
            let usage = [Counter::InputTokens, Counter::OutputTokens, Counter::CostNanos];
            let [input, output, cost] = usage.map(|counter| event.counters[counter]);
            format!("{id}: {input} in, {output} out, {cost} nanos")
        }
        Ok(Checked::Skipped(skip)) => format!("skipped: {skip:?}"),
        Err(reject) => format!("rejected: {reject}"),
    }
}

fn of(value: &Json) -> String {
    verdict(&message(value.to_string().as_bytes()))
}

#[test]
fn each_record_of_two_connectors_has_its_verdict() {
    let (usage, mut seen) = ("5 in, 2 out, 1000000 nanos", 0);
    for line in RECORDS.lines() {
        let record: Json = serde_json::from_str(line).expect("JSON");
        let (value, wanted) = (&record["value"], record["expect"].as_str().expect("a text"));
        let object_id = value.to_string();
        let object_id = ["6b072aceda1145605b9cae50", "6b072b385acdadab713d5fc9"]
            .into_iter()
            .find(|id| object_id.contains(id));
        let expected = match (wanted, object_id) {
            (wanted, Some(id)) if wanted.starts_with("counted") => format!("_id {id}: {usage}"),
            (wanted, None) if wanted.starts_with("counted") => format!("e2: {usage}"),
            ("dead letter: an update without images", _) => "rejected: image_missing".into(),
            ("dead letter: missing fields; nothing is booked", _) => {
                "rejected: `completedAt`: missing_field".into()
            }
            (wanted, _) if wanted.starts_with("skipped") => "skipped: Deleted".into(),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(value), expected, "{}", record["connector"]);
        seen += 1;
    }
    assert_eq!(seen, 12);
}

/// The same document in every form: each connector names it so that its copies are known.
#[test]
fn a_document_is_the_same_in_every_form() {
    let mut identities = Vec::new();
    for line in RECORDS
        .lines()
        .filter(|line| line.contains("6b072aceda1145605b9cae50"))
    {
        let record: Json = serde_json::from_str(line).expect("JSON");
        let payload = message(record["value"].to_string().as_bytes());
        let read = payload.check(&rules());
        assert!(matches!(read.checked, Ok(Checked::Event(_))));
        identities.push(read.name.identity().expect("an event has one"));
    }
    assert_eq!(identities.len(), 3);
    identities.dedup();
    assert_eq!(identities.len(), 1);
}

fn document() -> Json {
    json!({
        "_id": 7, "completedAt": 1_767_607_200_000_i64, "source": "chat", "organizationId": "acme", "inputTokens": 5,
    })
}

#[test]
fn what_kafka_connect_wraps_is_taken_out_once() {
    let counted = "_id 7: 5 in, 0 out, 0 nanos";
    let text = |value: &Json| Json::String(value.to_string());
    let debezium = json!({"op": "r", "after": text(&document())});
    for value in [
        document(),
        text(&document()),
        json!({"schema": {"type": "struct"}, "payload": document()}),
        json!({"schema": {"type": "string"}, "payload": text(&document())}),
        json!({"payload": debezium.clone()}),
        json!({"payload": text(&debezium)}),
        debezium,
        json!({"op": "c", "after": document()}),
        json!({"operationType": "insert", "documentKey": {"_id": 7}, "fullDocument": text(&document())}),
    ] {
        assert_eq!(of(&value), counted, "{value}");
    }
    let twice = json!({"payload": {"payload": document()}});
    assert_eq!(of(&twice), "rejected: `completedAt`: missing_field");
    let twice = text(&text(&document()));
    assert_eq!(of(&twice), "rejected: invalid_json");
}

#[test]
fn what_a_connector_says_of_changes_is_no_usage() {
    let mongodb = |operation: &str| json!({"operationType": operation, "documentKey": {"_id": 7}, "fullDocument": document()});
    for (value, expected) in [
        (mongodb("update"), "rejected: image_missing"),
        (mongodb("replace"), "rejected: image_missing"),
        (mongodb("delete"), "skipped: Deleted"),
        (
            json!({"operationType": "insert", "documentKey": {"_id": 7}}),
            "rejected: image_missing",
        ),
        (
            json!({"operationType": "insert", "documentKey": {"_id": 7}, "fullDocument": 7}),
            "rejected: `fullDocument`: wrong_type",
        ),
        (
            json!({"op": "u", "after": document(), "before": document()}),
            "rejected: image_missing",
        ),
        (json!({"op": "t"}), "rejected: `op`: invalid_value"),
        (json!({"op": 1}), "rejected: `op`: wrong_type"),
        (
            json!({"op": "c", "after": "{"}),
            "rejected: `after`: invalid_json",
        ),
        (
            json!({"op": "c", "after": "[]"}),
            "rejected: `after`: invalid_json",
        ),
        // An event may have any other field.
        (
            json!({"op": "d", "operationType": "delete", "documentKey": 1, "organizationId": "acme"}),
            "rejected: `completedAt`: missing_field",
        ),
    ] {
        assert_eq!(of(&value), expected, "{value}");
    }
}

#[test]
fn values_are_extended_json_of_every_kind() {
    let mut event = document();
    for (field, value, expected) in [
        (
            "inputTokens",
            json!({"$numberLong": "9"}),
            "_id 7: 9 in, 0 out, 0 nanos",
        ),
        (
            "inputTokens",
            json!({"$numberDouble": "9.0"}),
            "_id 7: 9 in, 0 out, 0 nanos",
        ),
        (
            "inputTokens",
            json!({"$numberDouble": "NaN"}),
            "_id 7: 0 in, 0 out, 0 nanos",
        ),
        (
            "inputTokens",
            json!({"$numberDouble": "9.5"}),
            "rejected: `inputTokens`: invalid_value",
        ),
        (
            "inputTokens",
            json!({"$numberLong": "x"}),
            "rejected: `inputTokens`: wrong_type",
        ),
        (
            "cost",
            json!({"$numberDecimal": "1E-3"}),
            "_id 7: 5 in, 0 out, 1000000 nanos",
        ),
        (
            "cost",
            json!({"$numberDecimal": "much"}),
            "rejected: `cost`: invalid_value",
        ),
        (
            "userId",
            json!({"$oid": "6b072aceda1145605b9cae50"}),
            "rejected: `userId`: wrong_type",
        ),
        ("_id", json!(7.5), "rejected: `_id`: wrong_type"),
        ("_id", json!(null), "rejected: `eventId`: missing_field"),
        ("_id", json!(""), "rejected: `_id`: empty_text"),
    ] {
        let before = event[field].take();
        event[field] = value;
        assert_eq!(of(&event), expected, "{field}: {}", event[field]);
        event[field] = before;
    }
    let twice = event.to_string().replacen('{', r#"{"_id":8,"#, 1);
    assert_eq!(
        verdict(&message(twice.as_bytes())),
        "rejected: `_id`: duplicate_field"
    );
}
