//! What is checked of every record that a fuzzer thinks of, besides that none makes the judge panic.
//!
//! A verdict is always the same; it does not depend on the way a record came; and an event that is written anew,
//! in any format, is the same event.

use std::borrow::Cow;

use ::bson::{Bson, RawDocumentBuf, rawdoc};
use rollup::counters::{Counter, Counters};
use rollup::event::{COMPLETED, Checked, Dimensions, Event, Identity, NONE, UNATTRIBUTED, UNKNOWN};
use serde_json::{Map, Value, json};

use super::{Payload, Reason, Reject, Rules, Skip};

/// What an event may say of its usage.
const QUANTITIES: [Counter; 8] = [
    Counter::InputTokens,
    Counter::OutputTokens,
    Counter::CachedInputTokens,
    Counter::CacheWriteTokens,
    Counter::ReasoningTokens,
    Counter::AudioMillis,
    Counter::Characters,
    Counter::Images,
];

/// An event but for its identity.
type Usage<'a> = (i64, Dimensions<Cow<'a, str>>, Counters);

/// A document of the events collection: its elements as BSON, or the whole as Extended JSON.
pub fn document(bytes: &[u8]) {
    let document = if bytes.starts_with(b"{") {
        extended(bytes)
    } else {
        framed(bytes)
    };
    let Some(document) = document else { return };
    let payload = Payload::Document(document.clone());
    let verdict = judged(&payload);
    let id = payload.document_id();

    let key = id.clone().unwrap_or_default();
    let change = |operation: &str| {
        Payload::Change(rawdoc! {
            "_id": { "_data": "82" },
            "operationType": operation,
            "fullDocument": document.clone(),
            "documentKey": key.clone(),
        })
    };
    let insert = change("insert");
    assert_eq!(judged(&insert), verdict, "an insert is judged by its document");
    assert_eq!(insert.document_id(), id, "and names it");
    assert_eq!(judged(&change("delete")), Ok(Checked::Skipped(Skip::Deleted)));
    assert_eq!(
        judged(&change("update")),
        Err(Reject::record(Reason::ImageMissing))
    );
    if let Ok(Checked::Event(event)) = &verdict {
        written_anew(event);
    }
}

/// The value of a record without headers.
pub fn message(bytes: &[u8]) {
    let payload = plain(bytes);
    let verdict = judged(&payload);
    for one in payload.split() {
        // An array in it is not taken apart again.
        assert!(one.split().is_empty() || judged(&one).is_err());
    }
    let Ok(Checked::Event(event)) = &verdict else {
        return;
    };
    written_anew(event);
    // A number that no type holds, in a field that nobody reads.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    // What is printed has a double's digits, and a cost may have more.
    if !has_doubles(&value) {
        let printed = value.to_string();
        assert_eq!(judged(&plain(printed.as_bytes())), verdict, "printed: {printed}");
    }
    if value.get("eventId").is_some_and(Value::is_string) {
        let wrapped = cloud_event(
            &id(event),
            COMPLETED,
            None,
            std::str::from_utf8(bytes).expect("JSON"),
        );
        assert_eq!(judged(&plain(wrapped.as_bytes())), verdict, "wrapped: {wrapped}");
    }
}

/// Whether a number in it, however deep, has a fraction.
fn has_doubles(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_doubles),
        Value::Object(object) => object.values().any(has_doubles),
        other => other.is_f64(),
    }
}

/// A record with headers: lines `name: value`, an empty line, and the value.
pub fn headers(bytes: &[u8]) {
    let (headers, value) = parted(bytes);
    let record = |headers: &[(String, Vec<u8>)]| Payload::Message {
        value: Some(value.to_vec()),
        headers: headers.to_vec(),
    };
    let payload = record(&headers);
    let verdict = judged(&payload);
    let lower = |name: &str| name.to_ascii_lowercase();
    let names: std::collections::BTreeSet<String> = headers.iter().map(|(name, _)| lower(name)).collect();
    if names.len() == headers.len() {
        let mut other: Vec<_> = headers.clone();
        other.reverse();
        assert_eq!(judged(&record(&other)), verdict, "their order says nothing");
    }
    let loud: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_uppercase(), value.clone()))
        .collect();
    assert_eq!(judged(&record(&loud)), verdict, "nor does their case");

    let Ok(Checked::Event(event)) = &verdict else {
        return;
    };
    written_anew(event);
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| lower(name) == wanted);
        found
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
            .filter(|text| !text.is_empty())
    };
    let is_structured = header("content-type").is_some_and(|name| lower(name).contains("cloudevents"));
    let is_framed = value.first() == Some(&0);
    if let (false, Some(id), Some(kind)) = (is_structured || is_framed, header("ce_id"), header("ce_type")) {
        let data = std::str::from_utf8(value).expect("JSON");
        let text = cloud_event(id, kind, header("ce_time"), data);
        assert_eq!(judged(&plain(text.as_bytes())), verdict, "structured: {text}");
    }
}

fn rules() -> Rules {
    Rules {
        currency: "USD".to_owned(),
        start_at_ms: Some(1_600_000_000_000),
    }
}

fn plain(value: &[u8]) -> Payload {
    Payload::Message {
        value: Some(value.to_vec()),
        headers: Vec::new(),
    }
}

/// The verdict of a record, and what must hold of every one.
fn judged(payload: &Payload) -> Result<Checked<'_>, Reject> {
    let rules = rules();
    let judged = payload.check(&rules);
    let again = payload.check(&rules);
    assert_eq!(
        (&judged.checked, judged.source, judged.name.identity()),
        (&again.checked, again.source, again.name.identity())
    );
    assert_eq!(payload.place(), payload.place());
    assert_eq!(
        payload.clone().cut(),
        *payload,
        "no input is larger than a record may be"
    );
    if let Err(reject) = &judged.checked {
        let message = reject.message();
        assert!(message.chars().count() < 500, "{message}");
        assert_eq!(rollup::inert::inert(&message), message);
    }
    if let Ok(Checked::Event(event)) = &judged.checked {
        let about = payload.about();
        assert_eq!(
            about.organization.as_deref(),
            Some(event.dimensions.organization.as_ref())
        );
        assert_eq!(about.completed_at_ms, Some(event.completed_at_ms));
        possible(event);
    }
    judged.checked
}

/// What no event breaks, whatever was written.
fn possible(event: &Event<'_>) {
    let dimensions = &event.dimensions;
    let of = |counter: Counter| event.counters[counter];
    for counter in Counter::ALL {
        assert!(of(counter) >= 0, "{event:?}");
    }
    assert_eq!(of(Counter::Requests), 1);
    assert_eq!(
        of(Counter::TotalTokens),
        of(Counter::InputTokens) + of(Counter::OutputTokens)
    );
    assert!(of(Counter::CachedInputTokens) + of(Counter::CacheWriteTokens) <= of(Counter::InputTokens));
    assert!(of(Counter::ReasoningTokens) <= of(Counter::OutputTokens));
    assert!(of(Counter::UnpricedRequests) == 0 || of(Counter::CostNanos) == 0);
    assert!(of(Counter::UnpricedRequests) == 0 || !event.is_cost_rounded);
    if of(Counter::UnmeteredRequests) > 0 {
        let used = QUANTITIES.map(of);
        assert_eq!(used, [0; QUANTITIES.len()]);
        assert_eq!(
            (of(Counter::FailedRequests), of(Counter::AbortedRequests)),
            (0, 0)
        );
    }
    for text in [
        &dimensions.organization,
        &dimensions.agent,
        &dimensions.provider,
        &dimensions.model,
        &dimensions.user,
        &dimensions.team,
        &dimensions.api_key,
        &dimensions.source,
    ] {
        assert!((1..=128).contains(&text.chars().count()), "{event:?}");
        assert!(!text.chars().any(char::is_control), "{event:?}");
    }
    // `__` and `___` are names like any other.
    let organization = &dimensions.organization;
    assert!(organization.len() < 4 || !organization.starts_with("__") || !organization.ends_with("__"));
}

/// The same event in each format, and its verdict.
fn written_anew(event: &Event<'_>) {
    let object = object(event);
    let text = Value::Object(object.clone()).to_string();
    assert_eq!(
        usage(&judged(&plain(text.as_bytes()))),
        Some(usage_of(event)),
        "{text}"
    );
    for copy in [
        json!({"op": "c", "after": text}),
        json!({"operationType": "insert", "documentKey": {}, "fullDocument": object}),
        json!({"schema": null, "payload": text}),
    ] {
        let copy = plain(copy.to_string().as_bytes());
        assert_eq!(usage(&judged(&copy)), Some(usage_of(event)), "{copy:?}");
    }
    let Ok(Bson::Document(document)) = Bson::try_from(Value::Object(object)) else {
        panic!("no document: {text}");
    };
    let document = RawDocumentBuf::try_from(&document).expect("a document");
    assert_eq!(
        usage(&judged(&Payload::Document(document))),
        Some(usage_of(event)),
        "{text}"
    );
}

fn usage<'a>(verdict: &Result<Checked<'a>, Reject>) -> Option<Usage<'a>> {
    match verdict {
        Ok(Checked::Event(event)) => Some(usage_of(event)),
        _ => None,
    }
}

fn usage_of<'a>(event: &Event<'a>) -> Usage<'a> {
    (event.completed_at_ms, event.dimensions.clone(), event.counters)
}

fn id(event: &Event<'_>) -> String {
    match &event.identity {
        Identity::EventId(id) => id.to_string(),
        Identity::Document(_) => "of the document".to_owned(),
    }
}

fn object(event: &Event<'_>) -> Map<String, Value> {
    let of = |counter: Counter| event.counters[counter];
    let dimensions = &event.dimensions;
    let stated = |text: &str, sentinel: &str| (text != sentinel).then(|| text.to_owned());
    let outcome = match (of(Counter::FailedRequests), of(Counter::AbortedRequests)) {
        (0, 0) => "completed",
        (_, 0) => "failed",
        _ => "aborted",
    };
    let mut object = json!({
        "eventId": id(event),
        "completedAt": event.completed_at_ms,
        "organizationId": dimensions.organization,
        "agentSlug": stated(&dimensions.agent, UNATTRIBUTED),
        "provider": stated(&dimensions.provider, UNKNOWN),
        "model": stated(&dimensions.model, UNKNOWN),
        "userId": stated(&dimensions.user, UNATTRIBUTED),
        "teamId": stated(&dimensions.team, NONE),
        "apiKeyId": stated(&dimensions.api_key, NONE),
        "source": dimensions.source,
        "kind": dimensions.kind.name(),
        "outcome": outcome,
        "costNanos": (of(Counter::UnpricedRequests) == 0).then(|| of(Counter::CostNanos)),
    });
    // What nobody knows is not written.
    for counter in QUANTITIES
        .into_iter()
        .filter(|_| of(Counter::UnmeteredRequests) == 0)
    {
        object[counter.name()] = of(counter).into();
    }
    match object {
        Value::Object(object) => object,
        other => unreachable!("{other}"),
    }
}

fn cloud_event(id: &str, kind: &str, time: Option<&str>, data: &str) -> String {
    let time = time.map_or(String::new(), |time| format!(r#""time":{},"#, Value::from(time)));
    format!(
        r#"{{"specversion":"1.0","id":{},"type":{},{time}"data":{data}}}"#,
        Value::from(id),
        Value::from(kind)
    )
}

fn extended(bytes: &[u8]) -> Option<RawDocumentBuf> {
    let object: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let Ok(Bson::Document(document)) = Bson::try_from(Value::Object(object)) else {
        return None;
    };
    RawDocumentBuf::try_from(&document).ok()
}

/// A document with these elements, damaged or not.
fn framed(elements: &[u8]) -> Option<RawDocumentBuf> {
    let length = u32::try_from(elements.len() + 5).ok()?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(elements);
    bytes.push(0);
    RawDocumentBuf::from_bytes(bytes).ok()
}

fn parted(bytes: &[u8]) -> (Vec<(String, Vec<u8>)>, &[u8]) {
    let mut headers = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let value = parts.next().unwrap_or_default();
        headers.push((name, value.strip_prefix(b" ").unwrap_or(value).to_vec()));
    }
    (headers, rest)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_of_use_to_the_fuzzer_is_judged_right() {
        fuzz::replay("document", super::document);
        fuzz::replay("message", super::message);
        fuzz::replay("headers", super::headers);
    }
}
