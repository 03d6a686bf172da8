use super::*;
use ::bson::{Binary, Bson, DateTime, doc, oid::ObjectId, rawdoc, spec::BinarySubtype};
use rollup::counters::Counter;
use rollup::event::{Event, Identity};

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

#[test]
fn every_number_type_without_a_fraction_is_an_integer() {
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
    for number in [Bson::Int32(7), Bson::Int64(7), Bson::Double(7.0), decimal("7")] {
        let payload = document(doc! {"inputTokens": number});
        assert_eq!(event(&payload).counters[Counter::InputTokens], 7);
    }
    assert_eq!(
        rejected(&document(doc! {"inputTokens": decimal("7.5")})),
        ("invalid_value", Some("inputTokens"))
    );
    assert_eq!(
        rejected(&document(doc! {"inputTokens": f64::NAN})),
        ("invalid_value", Some("inputTokens"))
    );
    let payload = document(doc! {"costEstimateCents": decimal("12.3456")});
    assert_eq!(event(&payload).counters[Counter::CostNanos], 123_456_000);
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
    assert_eq!(rejected(&document(doc! {"_id": 7})), ("wrong_type", Some("_id")));
    let payload = document(doc! {"_id": 7, "eventId": "e"});
    assert_eq!(event(&payload).identity, Identity::EventId("e".into()));
}

#[test]
fn a_record_that_is_no_text_or_no_object_is_rejected_as_a_whole() {
    assert_eq!(rejected(&message(b"\xff{}")), ("invalid_utf8", None));
    assert_eq!(rejected(&message(b"{")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"[]")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"{} x")), ("invalid_json", None));
    assert_eq!(rejected(&message(b"")), ("empty_record", None));
    let tombstone = Payload::Message {
        value: None,
        headers: Vec::new(),
    };
    assert_eq!(rejected(&tombstone), ("empty_record", None));
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
    assert_eq!(event(&insert).identity, Identity::Document);
    assert_eq!(rejected(&change("update")), ("image_missing", None));
    assert_eq!(rejected(&change("replace")), ("image_missing", None));
    assert!(matches!(
        change("delete").check(&rules()).checked,
        Ok(Checked::Skipped(Skip::Deleted))
    ));
}
