use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use proptest::prelude::*;
use rollup::counters::Counter;
use rollup::event::Reason;
use serde_json::{Value, json};

use super::*;
use crate::identity::IdentityHash;
use crate::lane::{LaneId, Position};
use crate::source::GrantId;

/// 2026-01-05T10:00:00Z.
const COMPLETED_MS: i64 = 1_767_607_200_000;
const HOUR_MS: i64 = 3_600_000;

fn rules() -> Rules {
    Rules {
        currency: "USD".into(),
        start_at_ms: Some(COMPLETED_MS - 1_000 * HOUR_MS),
    }
}

/// An hour after [`COMPLETED_MS`], with events of a day at most.
fn time() -> Time {
    Time {
        now: at(COMPLETED_MS + HOUR_MS),
        max_age: Some(TimeDelta::days(1)),
    }
}

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).expect("an instant")
}

fn event(changes: Value) -> Value {
    let mut event = json!({
        "eventId": "e", "completedAt": COMPLETED_MS, "source": "chat", "organizationId": "acme", "inputTokens": 7,
    });
    for (name, value) in changes.as_object().expect("an object") {
        event[name] = value.clone();
    }
    event
}

fn message(value: Option<&[u8]>, headers: &[(&str, &str)]) -> Payload {
    let headers = headers.iter();
    Payload::Message {
        value: value.map(<[u8]>::to_vec),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect(),
    }
}

fn plain(event: &Value) -> Payload {
    message(Some(event.to_string().as_bytes()), &[])
}

fn document(event: &Value) -> RawDocumentBuf {
    let Ok(Bson::Document(mut document)) = Bson::try_from(event.clone()) else {
        panic!("no document: {event}");
    };
    document.remove("eventId");
    document.insert("_id", ObjectId::from_bytes([7; 12]));
    RawDocumentBuf::try_from(&document).expect("encodes")
}

fn change(operation: &str, image: Option<RawDocumentBuf>) -> Payload {
    let mut change = rawdoc! {"operationType": operation};
    if let Some(image) = image {
        change.append(bson::raw::cstr!("fullDocument"), image);
    }
    Payload::Change(change)
}

fn decided(payload: &Payload) -> String {
    told(&decide(payload, &rules(), time(), counted).decision)
}

/// One event is counted already.
fn counted(identity: Identity) -> Option<Quantities> {
    let known = IdentityHash::of_event("acme", "chat", "", "known");
    (identity == Identity::Event(known)).then(|| {
        let event = plain(&event(json!({})));
        let Decision::Count { quantities, .. } = decide(&event, &rules(), time(), |_| None).decision else {
            panic!("it counts");
        };
        quantities
    })
}

fn told(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Count { event, .. } => {
            let marks = [
                (Counter::UnpricedRequests, ", unpriced"),
                (Counter::UnmeteredRequests, ", unmetered"),
            ];
            let marks = marks.map(|(counter, mark)| if event.counters[counter] > 0 { mark } else { "" });
            format!("counted for {}{}", event.dimensions.organization, marks.concat())
        }
        Decision::Duplicate => "duplicate".to_owned(),
        Decision::Skip(skip) => format!("skipped: {skip:?}"),
        Decision::Reject(reject) => format!("rejected: {reject}"),
    }
}

/// What breaks rules of several lines, and the line that decides: each pair is one that the order is about.
#[test]
fn each_line_of_the_table_decides() {
    let oversized = Payload::Oversized {
        place: "7".into(),
        length: None,
        sha256: None,
        head: Vec::new(),
        document_id: None,
    };
    let json = ("content-type", "application/json");
    let whole = ("content-type", "application/cloudevents+json");
    let other_type = [("ce_specversion", "1.0"), ("ce_id", "e"), ("ce_type", "other")];
    let twice = event(json!({}))
        .to_string()
        .replacen('{', r#"{"source":"chat","#, 1);
    let data = event(json!({})).to_string();
    let data = data.as_bytes();
    let structured = json!({"specversion": "1.0", "id": "known", "type": "request.completed", "data": event(json!({"eventId": "known"}))});
    let elsewhere = json!({"specversion": "1.0", "id": "known", "source": "/pods/2", "type": "request.completed", "data": event(json!({"eventId": "known"}))});
    let (structured, elsewhere) = (structured.to_string(), elsewhere.to_string());
    let many = format!("[{}]", ["{}"; 4_097].join(","));
    let image = document(&event(json!({})));
    for (line, payload, expected) in [
        (1, oversized, "rejected: too_large"),
        (2, change("delete", None), "skipped: Deleted"),
        (3, change("insert", None), "rejected: image_missing"),
        (
            3,
            change("update", Some(image.clone())),
            "rejected: image_missing",
        ),
        (
            3,
            change("replace", Some(image.clone())),
            "rejected: image_missing",
        ),
        (4, message(None, &other_type), "skipped: Tombstone"),
        (4, message(None, &[]), "skipped: Tombstone"),
        (5, message(Some(b""), &other_type), "skipped: OtherType"),
        (6, message(Some(b""), &[json]), "rejected: empty_record"),
        (
            6,
            message(Some(b""), &[("content-type", "application/avro")]),
            "rejected: empty_record",
        ),
        (
            7,
            message(Some(b"\0\0\0\0\x07\x02x"), &[]),
            "rejected: unsupported_content_type",
        ),
        (8, message(Some(b" []"), &[]), "skipped: EmptyBatch"),
        (8, message(Some(many.as_bytes()), &[]), "rejected: too_large"),
        (9, message(Some(br#"{"op":"d"}"#), &[]), "skipped: Deleted"),
        (9, message(Some(br#"{"op":"u"}"#), &[]), "rejected: image_missing"),
        (9, message(Some(br#"{"op":"c"}"#), &[]), "rejected: image_missing"),
        (
            7,
            message(Some(data), &[("content-type", "application/avro")]),
            "rejected: unsupported_content_type",
        ),
        (10, message(Some(b"\xff"), &[]), "rejected: invalid_utf8"),
        (10, message(Some(b"{"), &[]), "rejected: invalid_json"),
        (
            11,
            message(Some(twice.as_bytes()), &[]),
            "rejected: `source`: duplicate_field",
        ),
        (
            12,
            plain(&event(json!({"type": "other", "testMode": 7}))),
            "skipped: OtherType",
        ),
        (
            12,
            plain(&event(json!({"type": "request.corrected"}))),
            "rejected: `type`: unsupported_type",
        ),
        (
            13,
            plain(&event(json!({"testMode": true, "completedAt": 0}))),
            "skipped: TestMode",
        ),
        (
            14,
            plain(&event(json!({"completedAt": 0, "inputTokens": -1}))),
            "skipped: BeforeStart",
        ),
        (
            15,
            plain(&event(json!({"eventId": "known", "inputTokens": -1}))),
            "rejected: `inputTokens`: out_of_range",
        ),
        (
            15,
            plain(&event(json!({"totalTokens": 8}))),
            "rejected: `totalTokens`: total_mismatch",
        ),
        (
            15,
            plain(&event(json!({"cost": "12,50"}))),
            "rejected: `cost`: invalid_value",
        ),
        (
            16,
            plain(&event(
                json!({"eventId": "known", "completedAt": COMPLETED_MS - 999 * HOUR_MS}),
            )),
            "duplicate",
        ),
        (16, message(Some(structured.as_bytes()), &[whole]), "duplicate"),
        (16, message(Some(structured.as_bytes()), &[]), "duplicate"),
        (
            16,
            plain(&event(
                json!({"eventId": "known", "model": "m2", "type": "request.completed"}),
            )),
            "duplicate",
        ),
        (
            17,
            plain(&event(
                json!({"eventId": "known", "inputTokens": 8, "completedAt": COMPLETED_MS - 999 * HOUR_MS}),
            )),
            "rejected: `eventId`: id_reused",
        ),
        (
            17,
            plain(&event(json!({"eventId": "known", "cost": "0"}))),
            "rejected: `eventId`: id_reused",
        ),
        // The same id of another organization, service or emitter is another event.
        (
            19,
            plain(&event(json!({"eventId": "known", "organizationId": "beta"}))),
            "counted for beta, unpriced",
        ),
        (
            19,
            plain(&event(json!({"eventId": "known", "source": "workflow"}))),
            "counted for acme, unpriced",
        ),
        (
            19,
            message(Some(elsewhere.as_bytes()), &[]),
            "counted for acme, unpriced",
        ),
        (
            18,
            plain(&event(json!({"completedAt": COMPLETED_MS - 24 * HOUR_MS}))),
            "rejected: `completedAt`: too_old",
        ),
        (
            18,
            plain(&event(json!({"completedAt": COMPLETED_MS + 2 * HOUR_MS}))),
            "rejected: `completedAt`: in_the_future",
        ),
        (19, message(Some(data), &[json]), "counted for acme, unpriced"),
        (
            19,
            plain(&event(json!({"inputTokens": null, "totalTokens": 0}))),
            "counted for acme, unpriced, unmetered",
        ),
        (
            19,
            plain(&event(json!({"inputTokens": null, "outcome": "failed"}))),
            "counted for acme",
        ),
        (
            19,
            change("insert", Some(image.clone())),
            "counted for acme, unpriced",
        ),
        (19, Payload::Document(image), "counted for acme, unpriced"),
    ] {
        assert_eq!(decided(&payload), expected, "line {line}: {payload:?}");
    }
}

#[test]
fn a_letter_grows_no_older_by_waiting_and_history_is_of_any_age() {
    let hours = |hours: i64| TimeDelta::hours(hours);
    let letter = |payload: Payload, waited: i64| ReplayRequest {
        lane: LaneId::from_stored("kafka/t/0"),
        place: "7".into(),
        payload,
        identity: None,
        source_time_ms: COMPLETED_MS - waited * HOUR_MS,
    };
    let image = Payload::Document(document(&event(json!({}))));
    let now = at(COMPLETED_MS);
    let age = |letter: &ReplayRequest, age| Time::of_letter(letter, age, now).max_age;
    let message = || plain(&event(json!({})));
    assert_eq!(age(&letter(message(), 5), Some(hours(2))), Some(hours(7)));
    assert_eq!(age(&letter(message(), -5), Some(hours(2))), Some(hours(2)));
    assert_eq!(age(&letter(message(), 5), Some(TimeDelta::MAX)), None);
    assert_eq!(age(&letter(message(), 5), None), None);
    assert_eq!(age(&letter(image.clone(), 5), Some(hours(2))), None);
    let record = |historical| Record {
        lane: GrantId(1),
        payload: image.clone(),
        next: Position::offset(1),
        source_time_ms: 0,
        as_of_ms: None,
        index: None,
        historical,
        last: None,
    };
    let of_record = |historical| Time::of_record(&record(historical), Some(hours(2)), now).max_age;
    assert_eq!([of_record(true), of_record(false)], [None, Some(hours(2))]);
}

proptest! {
    /// What is counted passed every line above; what is a duplicate would have, but for the clock.
    #[test]
    fn a_known_id_makes_a_duplicate_of_what_would_count(
        tokens in -2_i64..5,
        offset_ms in -2_000 * HOUR_MS..2 * HOUR_MS,
        kind in prop::option::of(prop::sample::select(vec!["request.completed", "request.corrected", "other"])),
        is_test in any::<bool>(),
    ) {
        let mut fields: Document = doc! {"inputTokens": tokens, "completedAt": COMPLETED_MS + offset_ms, "testMode": is_test};
        fields.extend(kind.map(|kind| ("type".to_owned(), Bson::from(kind))));
        let payload = plain(&event(Bson::Document(fields).into_relaxed_extjson()));
        let unknown = decide(&payload, &rules(), time(), |_| None).decision;
        let known = decide(&payload, &rules(), time(), |_| Some(Quantities::UNKNOWN)).decision;
        match &unknown {
            Decision::Count { event, .. } => {
                prop_assert_eq!(&known, &Decision::Duplicate);
                let latest_ms = time().now.timestamp_millis() + 300_000;
                prop_assert!((COMPLETED_MS - 23 * HOUR_MS..=latest_ms).contains(&event.completed_at_ms));
            }
            Decision::Reject(reject) if matches!(reject.reason, Reason::TooOld | Reason::InTheFuture) => {
                prop_assert_eq!(&known, &Decision::Duplicate);
            }
            other => prop_assert_eq!(&known, other),
        }
    }
}
