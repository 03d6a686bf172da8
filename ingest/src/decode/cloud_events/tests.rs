use rollup::event::{Checked, Event, Identity, Rules, Skip};
use serde_json::{Value, json};

use crate::decode::{Payload, Source};

/// 2026-01-05T10:00:00Z
const AT: i64 = 1_767_607_200_000;

fn rules() -> Rules {
    Rules {
        currency: "USD".into(),
        start_at_ms: None,
    }
}

fn message(value: &[u8], headers: &[(&str, &str)]) -> Payload {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    Payload::Message {
        value: Some(value.to_vec()),
        headers: headers.collect(),
    }
}

fn event(payload: &Payload) -> Event<'_> {
    match payload.check(&rules()).checked {
        Ok(Checked::Event(event)) => event,
        other => panic!("expected an event, got {other:?}"),
    }
}

fn rejected(payload: &Payload) -> (&'static str, Option<&'static str>) {
    let reject = payload.check(&rules()).checked.expect_err("a rejection");
    (reject.reason.code(), reject.field)
}

fn is_skipped(payload: &Payload) -> bool {
    matches!(
        payload.check(&rules()).checked,
        Ok(Checked::Skipped(Skip::OtherType))
    )
}

fn data() -> Value {
    json!({"source": "chat", "organizationId": "acme", "inputTokens": 7})
}

/// A whole CloudEvent, with members changed (`null`: removed).
fn envelope(changes: Value) -> Value {
    let mut envelope = json!({
        "specversion": "1.0", "id": "e-1", "source": "/services/chat", "type": "request.completed",
        "time": "2026-01-05T10:00:00Z", "datacontenttype": "application/json", "data": data(),
    });
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            envelope.as_object_mut().expect("an object").remove(name);
        } else {
            envelope[name] = value.clone();
        }
    }
    envelope
}

fn structured(changes: Value) -> Payload {
    message(envelope(changes).to_string().as_bytes(), &[])
}

const HEADERS: [(&str, &str); 6] = [
    ("content-type", "application/json; charset=UTF-8"),
    ("ce_specversion", "1.0"),
    ("ce_id", "e-1"),
    ("ce_source", "/services/chat"),
    ("ce_type", "request.completed"),
    ("ce_time", "2026-01-05T10:00:00Z"),
];

/// A CloudEvent in binary mode, with headers changed (empty: removed).
fn binary(changes: &[(&str, &str)], data: &Value) -> Payload {
    let kept = HEADERS
        .iter()
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let headers: Vec<_> = kept
        .chain(changes.iter().filter(|(_, value)| !value.is_empty()))
        .copied()
        .collect();
    message(data.to_string().as_bytes(), &headers)
}

#[test]
fn both_modes_give_the_same_event_as_plain_json() {
    let mut plain = data();
    plain["eventId"] = "e-1".into();
    plain["completedAt"] = AT.into();
    let plain = message(plain.to_string().as_bytes(), &[]);
    for payload in [structured(json!({})), binary(&[], &data())] {
        assert_eq!(event(&payload), event(&plain));
        let judged = payload.check(&rules());
        assert_eq!(
            (judged.source, judged.name.event_id.as_deref()),
            (Source::Chat, Some("e-1"))
        );
    }
    assert_eq!(event(&plain).identity, Identity::EventId("e-1".into()));
}

#[test]
fn a_content_type_announces_a_cloud_event_too() {
    let text = envelope(json!({})).to_string();
    for content_type in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=utf-8",
    ] {
        let payload = message(text.as_bytes(), &[("Content-Type", content_type)]);
        assert_eq!(event(&payload).completed_at_ms, AT);
    }
    let payload = message(
        data().to_string().as_bytes(),
        &[("content-type", "application/cloudevents+json")],
    );
    assert_eq!(rejected(&payload), ("missing_field", Some("specversion")));
}

#[test]
fn an_id_in_the_data_must_be_the_envelopes() {
    for (own, expected) in [(json!("e-1"), None), (json!("e-2"), Some("id_mismatch"))] {
        let mut data = data();
        data["eventId"] = own;
        for payload in [structured(json!({"data": data})), binary(&[], &data)] {
            match expected {
                None => assert_eq!(event(&payload).identity, Identity::EventId("e-1".into())),
                Some(code) => assert_eq!(rejected(&payload), (code, Some("eventId"))),
            }
        }
    }
    let mut data = data();
    data["eventId"] = json!("e-1");
    assert_eq!(
        rejected(&structured(json!({"id": null, "data": data}))),
        ("missing_field", Some("eventId"))
    );
    assert_eq!(
        rejected(&binary(&[("ce_id", "")], &data)),
        ("missing_field", Some("eventId"))
    );
    assert_eq!(
        rejected(&structured(json!({"id": 7}))),
        ("wrong_type", Some("eventId"))
    );
}

#[test]
fn the_envelope_wins_over_the_data_and_the_data_fills_in() {
    let mut data = data();
    data["completedAt"] = json!("2025-12-31T00:00:00Z");
    data["type"] = json!("request.started");
    for payload in [structured(json!({"data": data})), binary(&[], &data)] {
        assert_eq!(event(&payload).completed_at_ms, AT);
    }
    for payload in [
        structured(json!({"data": data, "time": null})),
        binary(&[("ce_time", "")], &data),
    ] {
        assert_eq!(event(&payload).completed_at_ms, 1_767_139_200_000);
    }
}

#[test]
fn the_source_is_that_of_the_data() {
    let data = json!({"organizationId": "acme"});
    for payload in [structured(json!({"data": data})), binary(&[], &data)] {
        assert_eq!(rejected(&payload), ("missing_field", Some("source")));
    }
}

#[test]
fn other_types_are_skipped_whatever_they_carry() {
    assert!(is_skipped(&structured(
        json!({"type": "com.example.ping", "data": "x", "datacontenttype": "text/plain"})
    )));
    let avro = ("content-type", "application/avro");
    assert!(is_skipped(&binary(
        &[("ce_type", "com.example.ping"), avro],
        &data()
    )));
    let payload = binary(&[avro], &data());
    assert_eq!(rejected(&payload), ("unsupported_content_type", None));
    assert_eq!(
        rejected(&structured(json!({"type": null}))),
        ("missing_field", Some("type"))
    );
    assert_eq!(
        rejected(&structured(json!({"type": ""}))),
        ("empty_text", Some("type"))
    );
    assert_eq!(
        rejected(&structured(json!({"type": "request.corrected"}))),
        ("unsupported_type", Some("type"))
    );
}

#[test]
fn only_version_1_0_is_read() {
    assert_eq!(
        rejected(&structured(json!({"specversion": "0.3"}))),
        ("invalid_value", Some("specversion"))
    );
    assert_eq!(
        rejected(&binary(&[("ce_specversion", "2.0")], &data())),
        ("invalid_value", Some("specversion"))
    );
    assert_eq!(
        rejected(&binary(&[("ce_specversion", "")], &data())),
        ("missing_field", Some("specversion"))
    );
}

#[test]
fn data_must_be_a_json_object() {
    assert_eq!(
        rejected(&structured(json!({"data": null}))),
        ("missing_field", Some("data"))
    );
    assert_eq!(
        rejected(&structured(json!({"data": [1]}))),
        ("wrong_type", Some("data"))
    );
    assert_eq!(
        rejected(&structured(json!({"datacontenttype": "application/xml"}))),
        ("unsupported_content_type", Some("datacontenttype"))
    );
    assert_eq!(
        rejected(&structured(json!({"data_base64": "e30="}))),
        ("unsupported_content_type", Some("data_base64"))
    );
    assert_eq!(rejected(&binary(&[], &json!([1]))), ("invalid_json", None));
}

#[test]
fn a_content_type_that_is_no_json_is_named_as_the_reason() {
    let mut plain = data();
    plain["eventId"] = "e-1".into();
    plain["completedAt"] = AT.into();
    let text = plain.to_string();
    let with = |content_type: &str| message(text.as_bytes(), &[("content-type", content_type)]);
    for content_type in [
        "application/json",
        "application/json;charset=utf-8",
        "application/vnd.acme+json",
        "",
    ] {
        assert_eq!(event(&with(content_type)).completed_at_ms, AT, "{content_type}");
    }
    for content_type in [
        "application/avro",
        "text/plain",
        "application/json; charset=latin1",
        "application/cloudevents-batch+avro",
        "application/cloudevents+avro",
    ] {
        assert_eq!(
            rejected(&with(content_type)),
            ("unsupported_content_type", None),
            "{content_type}"
        );
    }
}

#[test]
fn empty_records_and_damaged_headers_are_rejected() {
    for headers in [&[][..], &HEADERS[..], &[("trace", "x")][..]] {
        assert_eq!(rejected(&message(b"", headers)), ("empty_record", None));
    }
    let payload = Payload::Message {
        value: Some(data().to_string().into_bytes()),
        headers: vec![("ce_id".to_owned(), vec![0xff])],
    };
    assert_eq!(rejected(&payload), ("invalid_utf8", None));
    let twice = binary(&[("ce_id", "e-1"), ("ce_id", "e-2")], &data());
    assert_eq!(rejected(&twice), ("duplicate_field", Some("eventId")));
}
