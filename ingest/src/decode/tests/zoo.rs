//! Every value in every field, and bytes that are nothing: each has a verdict.

use ::bson::{JavaScriptCodeWithScope, Regex, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::decode::Keep;

const NAMES: [&str; 35] = [
    "_id",
    "eventId",
    "type",
    "completedAt",
    "source",
    "organizationId",
    "agentSlug",
    "userId",
    "model",
    "provider",
    "teamId",
    "apiKeyId",
    "kind",
    "outcome",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "cachedInputTokens",
    "cacheWriteTokens",
    "reasoningTokens",
    "audioMillis",
    "characters",
    "images",
    "cost",
    "costNanos",
    "costEstimateCents",
    "currency",
    "testMode",
    "fullDocument",
    "operationType",
    "$where",
    "a.b",
    "",
    "\u{202e}",
    "other",
];

/// Everything that is done with a record, whatever it is. Its verdict: an event, a skip, or the code of a reason.
fn verdict(payload: Payload) -> &'static str {
    let payload = payload.cut();
    let place = payload.place();
    assert!(place.len() <= 512, "a place is bounded: {place:.80}");
    std::hint::black_box((
        payload.about(),
        payload.document_id(),
        payload.digest(),
        Keep::of(&payload),
    ));
    match payload.check(&rules()).checked {
        Ok(Checked::Event(event)) => {
            assert!(event.dimensions.organization.chars().count() <= 128);
            "event"
        }
        Ok(Checked::Skipped(_)) => "skip",
        Err(reject) => {
            let message = reject.message();
            assert!(message.chars().count() < 500, "it is bounded: {message:.600}");
            assert_eq!(rollup::inert::inert(&message), message);
            reject.reason.code()
        }
    }
}

fn values() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype,
            bytes: bytes.to_vec(),
        })
    };
    let deep = (0..178).fold(Bson::from(1), |inner, _| doc! {"a": inner}.into());
    let pointer = r#"{"$dbPointer": {"$ref": "a.b", "$id": {"$oid": "0123456789abcdef01234567"}}}"#;
    let pointer: serde_json::Value = serde_json::from_str(pointer).expect("JSON");
    let scoped = JavaScriptCodeWithScope {
        code: "x".into(),
        scope: doc! {"a": 1},
    };
    let regex = Regex {
        pattern: "a".try_into().expect("no zero"),
        options: "i".try_into().expect("no zero"),
    };
    vec![
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Null,
        Bson::Undefined,
        true.into(),
        false.into(),
        0.into(),
        (-1).into(),
        i32::MAX.into(),
        i64::MIN.into(),
        i64::MAX.into(),
        f64::NAN.into(),
        f64::INFINITY.into(),
        (-0.0).into(),
        1.5.into(),
        f64::MAX.into(),
        f64::MIN_POSITIVE.into(),
        Bson::Decimal128("NaN".parse().expect("a decimal")),
        Bson::Decimal128("-Infinity".parse().expect("a decimal")),
        Bson::Decimal128("1E+6111".parse().expect("a decimal")),
        Bson::Decimal128("1E-6176".parse().expect("a decimal")),
        "".into(),
        "x".into(),
        "\0".into(),
        "\u{1b}[2J\u{202e}".into(),
        "__unknown__".into(),
        "1e400".into(),
        "2026-01-05T10:00:00Z".into(),
        "x".repeat(129).into(),
        "ä".repeat(250_000).into(),
        doc! {}.into(),
        doc! {"$gt": 1}.into(),
        deep,
        Bson::Array(Vec::new()),
        vec![Bson::from(1), Bson::Null].into(),
        binary(BinarySubtype::Generic, b""),
        binary(BinarySubtype::Uuid, &[0; 16]),
        binary(BinarySubtype::Uuid, b"short"),
        ObjectId::from_bytes([0; 12]).into(),
        DateTime::MIN.into(),
        DateTime::MAX.into(),
        Bson::Timestamp(Timestamp {
            time: u32::MAX,
            increment: u32::MAX,
        }),
        Bson::JavaScriptCode("x".into()),
        Bson::JavaScriptCodeWithScope(scoped),
        Bson::Symbol("x".into()),
        Bson::RegularExpression(regex),
        Bson::try_from(pointer).expect("a pointer"),
    ]
}

/// A document, its insert, its update and its deletion.
fn payloads(document: RawDocumentBuf) -> Vec<Payload> {
    let change = |operation: &str, image: &str| {
        let mut change =
            rawdoc! {"_id": {"_data": "82"}, "operationType": operation, "documentKey": {"_id": 1}};
        let name = ::bson::raw::CString::try_from(image).expect("no zero");
        change.append(&name, document.clone());
        Payload::Change(change)
    };
    vec![
        change("insert", "fullDocument"),
        change("update", "fullDocument"),
        change("replace", "fullDocumentBeforeChange"),
        change("delete", "fullDocumentBeforeChange"),
        change("nonsense", "fullDocument"),
        change("insert", "documentKey"),
        Payload::Document(document),
    ]
}

#[test]
fn every_type_in_every_field_has_a_verdict() {
    let mut seen = std::collections::BTreeSet::new();
    for name in NAMES {
        for value in values() {
            let mut event = doc! {
                "_id": ObjectId::new(), "completedAt": DateTime::from_millis(1_767_607_200_000), "source": "chat",
                "organizationId": "acme",
            };
            event.insert(name, value);
            for payload in payloads(RawDocumentBuf::try_from(&event).expect("encodes")) {
                seen.insert(verdict(payload));
            }
        }
    }
    for expected in [
        "event",
        "skip",
        "wrong_type",
        "invalid_value",
        "too_long",
        "control_character",
        "reserved_value",
        "out_of_range",
        "empty_text",
        "currency_mismatch",
        "too_large",
        "image_missing",
        "missing_field",
        "total_mismatch",
    ] {
        assert!(seen.contains(expected), "{expected}: {seen:?}");
    }
}

#[test]
fn every_json_value_in_every_field_has_a_verdict() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let values = [
        "null",
        "true",
        "0",
        "-0",
        "-1",
        "1e400",
        "1e-400",
        "1e999999999",
        "-1e-999999999",
        "0.1234567890123456789",
        "1.5",
        "9223372036854775808",
        "\"\"",
        "\"x\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\u202e\"",
        "[]",
        "{}",
        "{\"$numberLong\": \"x\"}",
        "[{}]",
        "\"1e400\"",
        "NaN",
        "'x'",
        "",
        &deep,
    ];
    for name in NAMES {
        for value in values {
            let event = |fields: &str| format!("{{\"eventId\": \"e\", \"organizationId\": \"o\"{fields}}}");
            let field = format!("{:?}: {value}", name);
            for text in [
                event(&format!(", {field}")),
                format!("{{{field}}}"),
                format!("{{\"specversion\": \"1.0\", {field}}}"),
                format!(
                    "{{\"specversion\": \"1.0\", \"id\": \"a\", \"type\": \"request.completed\", \"data\": {{{field}}}}}"
                ),
            ] {
                verdict(message(text.as_bytes()));
            }
        }
    }
    for value in ["\u{feff}{}", "{}\0", "[]", "0", "\"x\"", "{\"a\":1,\"a\":2}"] {
        verdict(message(value.as_bytes()));
    }
}

proptest! {
    #[test]
    fn bytes_have_a_verdict(bytes in any::<Vec<u8>>(), name in "[a-z_-]{0,12}", header in any::<Vec<u8>>()) {
        for name in [name.as_str(), "content-type", "ce_id", "ce_specversion", "ce_type", "ce_time"] {
            let headers = vec![(name.to_owned(), header.clone()), ("ce_specversion".into(), b"1.0".to_vec())];
            verdict(Payload::Message { value: Some(bytes.clone()), headers: headers.clone() });
            verdict(Payload::Message { value: None, headers });
        }
        verdict(message(&bytes));
    }

    /// A document in which single bytes are something else: no driver sent it, and it has a verdict.
    #[test]
    fn damaged_documents_have_a_verdict(at in 4_usize..200, byte in any::<u8>(), and in 4_usize..200) {
        let event = doc! {
            "_id": "e-1", "completedAt": 1_767_607_200_000_i64, "source": "chat", "organizationId": "acme",
            "inner": {"list": [1, "x", {"a": true}], "code": Bson::JavaScriptCode("x".into())}, "model": "m",
        };
        let mut bytes = RawDocumentBuf::try_from(&event).expect("encodes").into_bytes();
        let end = bytes.len() - 1;
        for at in [at, and] {
            bytes[4 + (at - 4) % (end - 4)] = byte;
        }
        if let Ok(document) = RawDocumentBuf::from_bytes(bytes) {
            payloads(document).into_iter().for_each(|payload| assert_ne!(verdict(payload), ""));
        }
    }
}
