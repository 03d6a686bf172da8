//! Records of several events, and frames.

use serde_json::json;

use super::*;

fn framed(value: &[u8]) -> Vec<u8> {
    [b"\0\0\0\0\x2a".as_slice(), value].concat()
}

fn with_type(value: &[u8], content_type: &str) -> Payload {
    Payload::Message {
        value: Some(value.to_vec()),
        headers: vec![
            ("content-type".into(), content_type.into()),
            ("trace".into(), b"x".to_vec()),
        ],
    }
}

fn text(payload: &Payload) -> &str {
    let Payload::Message {
        value: Some(value), ..
    } = payload
    else {
        panic!("{payload:?}")
    };
    std::str::from_utf8(value).expect("a text")
}

#[test]
fn a_record_of_several_events_is_split_into_one_for_each() {
    let events = br#" [{"eventId": "a"}, 7 ,{"eventId": "b"}] "#;
    for payload in [
        message(events),
        message(&framed(events)),
        with_type(events, "application/json"),
    ] {
        let split = payload.split();
        let texts: Vec<&str> = split.iter().map(text).collect();
        assert_eq!(texts, [r#"{"eventId": "a"}"#, "7", r#"{"eventId": "b"}"#]);
        assert!(
            split
                .iter()
                .all(|one| matches!(one, Payload::Message { headers, .. } if headers.is_empty()))
        );
    }
    for payload in [
        message(b"{}"),
        message(b""),
        message(b"[]"),
        message(b"[{}"),
        message(&[b"[".as_slice(), &[b'7', b','].repeat(4_096), b"7]"].concat()),
        with_type(events, "application/avro"),
        with_type(events, "application/cloudevents+json"),
        with_type(b"{}", "application/cloudevents-batch+json"),
    ] {
        assert_eq!(payload.split(), []);
    }
}

#[test]
fn each_cloud_event_of_a_batch_is_judged_as_one() {
    let event = |id: &str| {
        json!({"specversion": "1.0", "id": id, "type": "request.completed", "source": "/pod", "data": {
            "completedAt": 1_767_607_200_000_i64, "source": "chat", "organizationId": "acme",
        }})
    };
    let batch = json!([event("a"), {"eventId": "b"}, event("c")]).to_string();
    let announced = with_type(
        batch.as_bytes(),
        "application/cloudevents-batch+json; charset=utf-8",
    );
    for (payload, second) in [
        // What says that it is a batch of CloudEvents holds nothing else.
        (announced, ("missing_field", Some("specversion"))),
        (message(batch.as_bytes()), ("missing_field", Some("completedAt"))),
    ] {
        let split = payload.split();
        assert_eq!(super::event(&split[0]).identity, Identity::EventId("a".into()));
        assert_eq!(rejected(&split[1]), second);
        assert_eq!(super::event(&split[2]).identity, Identity::EventId("c".into()));
        assert_eq!(split.len(), 3);
    }
}

#[test]
fn what_cannot_be_split_is_rejected_as_a_whole() {
    let batch = "application/cloudevents-batch+json";
    for (payload, expected) in [
        (
            with_type(b"{}", batch),
            "the record is no array, as its content type says",
        ),
        (with_type(b"", batch), "the record has no value"),
        (
            message(b"[{}"),
            "the record is JSON that ends at line 1, column 3",
        ),
        (
            message(b"[[{}]]").split().remove(0),
            "the record is an array where one event is read",
        ),
        (
            message(b"\0\0\0\0\x2a\x02x"),
            "the record is framed by a schema registry, and no JSON",
        ),
    ] {
        let message = payload
            .check(&rules())
            .checked
            .expect_err("a rejection")
            .message();
        assert!(message.starts_with(expected), "{message}");
    }
    let framed =
        framed(br#"{"eventId":"e","completedAt":1767607200000,"source":"chat","organizationId":"o"}"#);
    assert_eq!(event(&message(&framed)).identity, Identity::EventId("e".into()));
}
