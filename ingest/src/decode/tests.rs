use super::*;
use ::bson::{Binary, Bson, DateTime, RawDocumentBuf, doc, oid::ObjectId, rawdoc, spec::BinarySubtype};
use rollup::counters::Counter;
use rollup::event::{DocumentId, Event, Identity, MAX_RECORD_BYTES};
use sha2::{Digest, Sha256};

mod connectors;
mod several;
mod zoo;

fn rules() -> Rules {
    Rules {
        currency: "USD".into(),
        start_at_ms: None,
    }
}

fn document(changes: ::bson::Document) -> Payload {
    let mut event = doc! {
        "_id": ObjectId::new(), "completedAt": DateTime::from_millis(1_767_607_200_000), "source": "chat",
        "organizationId": "acme",
    };
    event.extend(changes);
    Payload::Document(RawDocumentBuf::try_from(&event).expect("encodes"))
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

fn message(value: &[u8]) -> Payload {
    Payload::Message {
        value: Some(value.to_vec()),
        headers: Vec::new(),
    }
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().expect("a decimal"))
}

#[test]
fn every_number_type_without_a_fraction_is_an_integer() {
    for number in [
        Bson::Int32(70),
        Bson::Int64(70),
        Bson::Double(70.0),
        decimal("70"),
        decimal("70.0"),
        decimal("7E+1"),
    ] {
        let payload = document(doc! {"inputTokens": number});
        assert_eq!(event(&payload).counters[Counter::InputTokens], 70);
    }
    for (number, reason) in [
        (decimal("7.5"), "invalid_value"),
        (decimal("1E-6176"), "invalid_value"),
        (decimal("1E+6111"), "out_of_range"),
        (decimal("1000000000000001"), "out_of_range"),
        (decimal("Infinity"), "invalid_value"),
        (Bson::Double(f64::NEG_INFINITY), "invalid_value"),
        (Bson::Double(1e16), "out_of_range"),
    ] {
        assert_eq!(
            rejected(&document(doc! {"inputTokens": number})),
            (reason, Some("inputTokens"))
        );
    }
}

/// Lesson L22: usage that nobody knows is no usage of nothing, in whichever way a transport says that.
#[test]
fn l22_unknown_usage_is_the_same_over_both_transports() {
    let unmetered = |payload: &Payload| event(payload).counters[Counter::UnmeteredRequests];
    for nothing in [
        Bson::Double(f64::NAN),
        decimal("NaN"),
        Bson::Null,
        Bson::Undefined,
    ] {
        let payload = document(doc! {"inputTokens": nothing.clone(), "outputTokens": nothing});
        assert_eq!(unmetered(&payload), 1);
    }
    let message_with = |quantity: &str| {
        let text = format!(
            r#"{{"eventId":"e","completedAt":1767607200000,"source":"chat","organizationId":"o","inputTokens":{quantity}}}"#
        );
        message(text.as_bytes())
    };
    assert_eq!(unmetered(&message_with("null")), 1);
    assert_eq!(unmetered(&message_with("0")), 0);
    assert_eq!(unmetered(&document(doc! {"inputTokens": 0.0})), 0);
    assert_eq!(unmetered(&document(doc! {"prompt_tokens": 7})), 1);
}

/// Lesson L23: costs as databases hold them.
#[test]
fn l23_costs_of_every_number_type_are_exact() {
    for (field, number, nanos, is_rounded) in [
        ("cost", Bson::Int32(3), 3_000_000_000, false),
        ("cost", Bson::Int64(3), 3_000_000_000, false),
        ("cost", Bson::Double(7.5e-5), 75_000, false),
        ("cost", Bson::Double(0.1), 100_000_000, false),
        ("cost", Bson::Double(0.1 + 0.2), 300_000_000, true),
        ("cost", Bson::Double(1e-300), 0, true),
        ("cost", Bson::Double(-0.0), 0, false),
        ("cost", decimal("12.345678901"), 12_345_678_901, false),
        ("cost", decimal("7.5E-5"), 75_000, false),
        ("cost", decimal("1E+2"), 100_000_000_000, false),
        ("cost", decimal("0E-6176"), 0, false),
        ("cost", decimal("1E-6176"), 0, true),
        ("cost", Bson::String("7.5e-05".into()), 75_000, false),
        ("costNanos", Bson::Double(7.0), 7, false),
        ("costNanos", decimal("7"), 7, false),
        ("costEstimateCents", decimal("12.3456"), 123_456_000, false),
        ("costEstimateCents", Bson::Double(1e-7), 1, false),
    ] {
        let payload = document(doc! {field: number.clone()});
        let event = event(&payload);
        assert_eq!(event.counters[Counter::CostNanos], nanos, "{field}: {number}");
        assert_eq!(event.is_cost_rounded, is_rounded, "{field}: {number}");
    }
    for field in ["cost", "costNanos", "costEstimateCents"] {
        for (number, reason) in [
            (Bson::Double(f64::NAN), "invalid_value"),
            (Bson::Double(f64::INFINITY), "invalid_value"),
            (decimal("NaN"), "invalid_value"),
            (decimal("-Infinity"), "invalid_value"),
            (decimal("1E+6111"), "out_of_range"),
            (Bson::Double(1e300), "out_of_range"),
            (Bson::Int32(-1), "out_of_range"),
            (Bson::Boolean(true), "wrong_type"),
        ] {
            let found = rejected(&document(doc! {field: number.clone()}));
            assert_eq!(found, (reason, Some(field)), "{field}: {number}");
        }
    }
}

/// Of a record as well as of a field; and none grows with the record.
#[test]
fn a_rejection_says_what_was_found() {
    let said = |payload: &Payload| {
        payload
            .check(&rules())
            .checked
            .expect_err("a rejection")
            .message()
    };
    let long = "x".repeat(100_000);
    for (payload, expected) in [
        (
            message(b"{\"eventId\": NaN}"),
            "the record is no JSON at line 1, column 13: one JSON object (`NaN` is no JSON, `null` is)",
        ),
        (
            message(format!("\"{long}\"").as_bytes()),
            "the record is no object at line 1, column 100002: one JSON object (`NaN` is no JSON, `null` is)",
        ),
        (
            message(b"{\"eventId\": \"\xff\"}"),
            "the record is no UTF-8 at its byte 13: texts in UTF-8",
        ),
        (
            message(&[b'x'; MAX_RECORD_BYTES + 1]).cut(),
            "the record has 262145 bytes: at most 262144 bytes, and 4096 events",
        ),
        (
            document(doc! {"cost": format!("12,50{long}")[..128].to_owned()}),
            &format!(
                "`cost` is `12,50{}…`: a decimal with a point, from 0 to 1000000",
                &long[..35]
            ),
        ),
        (
            document(doc! {"model": ObjectId::from_bytes([0; 12])}),
            "`model` is an ObjectId: a text of at most 128 characters",
        ),
        (
            Payload::Message {
                value: Some(b"x".to_vec()),
                headers: vec![("content-type".into(), b"application/avro".to_vec())],
            },
            "the record is of the type `application/avro`: `application/json`, or a CloudEvent as JSON",
        ),
    ] {
        assert_eq!(said(&payload), expected);
    }
}

#[test]
fn an_instant_is_a_date_a_text_or_milliseconds() {
    for instant in [
        Bson::DateTime(DateTime::from_millis(1_767_607_200_000)),
        Bson::String("2026-01-05T11:00:00+01:00".into()),
        Bson::Int64(1_767_607_200_000),
        Bson::Double(1_767_607_200_000.0),
    ] {
        assert_eq!(
            event(&document(doc! {"completedAt": instant})).completed_at_ms,
            1_767_607_200_000
        );
    }
}

#[test]
fn types_outside_the_contract_are_named() {
    let binary = Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![1],
    });
    assert_eq!(
        rejected(&document(doc! {"userId": binary})),
        ("wrong_type", Some("userId"))
    );
    assert_eq!(
        rejected(&document(doc! {"_id": 7.5})),
        ("wrong_type", Some("_id"))
    );
    let payload = document(doc! {"_id": 7.5, "eventId": "e"});
    assert_eq!(event(&payload).identity, Identity::EventId("e".into()));
}

#[test]
fn a_record_that_is_no_text_or_no_object_is_rejected_as_a_whole() {
    assert_eq!(rejected(&message(b"\xff{}")), ("invalid_utf8", None));
    assert_eq!(rejected(&message(b"{")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"[{}")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"[{}]")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"{} x")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"")), ("empty_record", None));
    let mut broken = rawdoc! {"organizationId": "acme"}.into_bytes();
    let at = broken.len() - 4;
    broken[at] = 0xff;
    let payload = Payload::Document(RawDocumentBuf::from_bytes(broken).expect("a frame"));
    assert_eq!(rejected(&payload), ("invalid_utf8", None));
}

#[test]
fn a_record_may_have_256_kib_and_not_a_byte_more() {
    let mut text = br#"{"eventId":"e","completedAt":1,"source":"chat","organizationId":"o","x":""#.to_vec();
    text.resize(MAX_RECORD_BYTES - 2, b'x');
    text.extend(b"\"}");
    assert_eq!(text.len(), MAX_RECORD_BYTES);
    assert!(message(&text).cut().check(&rules()).checked.is_ok());
    text.push(b' ');
    let cut = message(&text).cut();
    assert_eq!(rejected(&cut), ("too_large", None));
    let Payload::Oversized {
        length, sha256, head, ..
    } = cut
    else {
        panic!("kept whole")
    };
    assert_eq!((length, &head[..]), (Some(MAX_RECORD_BYTES + 1), &text[..1024]));
    assert_eq!(sha256, Some(Sha256::digest(&text).into()));
    let document = document(doc! {"x": "x".repeat(MAX_RECORD_BYTES)});
    assert_eq!(document.clone().cut().place(), document.place());
}

#[test]
fn changes_of_documents_are_judged_by_their_operation() {
    let change = |operation: &str| {
        Payload::Change(rawdoc! {"operationType": operation, "fullDocument": {
            "_id": "e-1", "completedAt": 1_767_607_200_000_i64, "source": "workflow", "organizationId": "acme",
        }})
    };
    let insert = change("insert");
    assert_eq!(insert.check(&rules()).source, Source::Workflow);
    assert_eq!(
        event(&insert).identity,
        Identity::Document(DocumentId::Text("e-1".into()))
    );
    assert_eq!(rejected(&change("update")), ("image_missing", None));
    assert_eq!(rejected(&change("replace")), ("image_missing", None));
    assert!(matches!(
        change("delete").check(&rules()).checked,
        Ok(Checked::Skipped(Skip::Deleted))
    ));
}
