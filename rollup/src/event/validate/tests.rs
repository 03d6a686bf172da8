use super::*;
use crate::counters::Counter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

mod usage;

fn rules() -> Rules {
    Rules {
        currency: "USD".into(),
        start_at_ms: None,
    }
}

fn base() -> Json {
    json!({
        "eventId": "e-1", "completedAt": "2026-01-05T10:00:00Z", "source": "chat", "organizationId": "acme",
    })
}

fn with(changes: Json) -> Json {
    let mut event = base();
    let (Json::Object(event_fields), Json::Object(changes)) = (&mut event, changes) else {
        unreachable!()
    };
    event_fields.extend(changes);
    event
}

fn check<'a>(text: &'a str, rules: &Rules) -> Result<Checked<'a>, Reject> {
    validate(serde_json::from_str(text).expect("an object"), rules)
}

fn rejected(changes: Json) -> (&'static str, &'static str) {
    let text = with(changes).to_string();
    match check(&text, &rules()) {
        Err(reject) => (reject.reason.code(), reject.field.expect("a field")),
        other => panic!("expected a rejection of {text}, got {other:?}"),
    }
}

#[test]
fn what_is_absent_gets_its_sentinel_and_what_is_there_stays_as_written() {
    let text = with(json!({"agentSlug": "", "userId": null, "model": "gpt/4o", "provider": "Azure OpenAI"}))
        .to_string();
    let Ok(Checked::Event(event)) = check(&text, &rules()) else {
        panic!("not an event")
    };
    assert_eq!(event.identity, Identity::EventId("e-1".into()));
    assert_eq!(event.completed_at_ms, 1_767_607_200_000);
    let dimensions = event.dimensions.map(|text| text.to_string());
    assert_eq!(dimensions.organization, "acme");
    assert_eq!(
        (dimensions.agent.as_str(), dimensions.user.as_str()),
        (UNATTRIBUTED, UNATTRIBUTED)
    );
    assert_eq!(
        (dimensions.model.as_str(), dimensions.provider.as_str()),
        ("gpt/4o", "Azure OpenAI")
    );
    assert_eq!(
        (dimensions.team.as_str(), dimensions.api_key.as_str()),
        (NONE, NONE)
    );
    assert_eq!(dimensions.kind, Kind::Llm);
    assert_eq!(event.counters[Counter::Requests], 1);
    assert_eq!(event.counters[Counter::UnpricedRequests], 1);
}

#[test]
fn each_broken_rule_is_named_with_its_field() {
    let long = "x".repeat(129);
    for (changes, reason, field) in [
        (json!({"eventId": null}), "missing_field", "eventId"),
        (json!({"eventId": ""}), "empty_text", "eventId"),
        (json!({"eventId": long}), "too_long", "eventId"),
        (json!({"eventId": 7}), "wrong_type", "eventId"),
        (json!({"type": 1}), "wrong_type", "type"),
        (json!({"type": "request.corrected"}), "unsupported_type", "type"),
        (json!({"completedAt": null}), "missing_field", "completedAt"),
        (
            json!({"completedAt": "2026-01-05"}),
            "invalid_value",
            "completedAt",
        ),
        (
            json!({"completedAt": "2026-01-05T10:00:00"}),
            "invalid_value",
            "completedAt",
        ),
        (json!({"completedAt": 1.5}), "invalid_value", "completedAt"),
        (json!({"completedAt": true}), "wrong_type", "completedAt"),
        (json!({"source": null}), "missing_field", "source"),
        (json!({"source": "Chat"}), "invalid_value", "source"),
        (json!({"source": "x".repeat(33)}), "invalid_value", "source"),
        (json!({"organizationId": ""}), "empty_text", "organizationId"),
        (
            json!({"organizationId": "__none__"}),
            "reserved_value",
            "organizationId",
        ),
        (
            json!({"agentSlug": "__unattributed__"}),
            "reserved_value",
            "agentSlug",
        ),
        (json!({"userId": "a\u{0}b"}), "control_character", "userId"),
        (json!({"userId": "a\u{85}b"}), "control_character", "userId"),
        (json!({"model": {"$gt": ""}}), "wrong_type", "model"),
        (json!({"provider": ["x"]}), "wrong_type", "provider"),
        (json!({"teamId": "ü".repeat(129)}), "too_long", "teamId"),
        (json!({"apiKeyId": false}), "wrong_type", "apiKeyId"),
        (json!({"kind": "chat"}), "invalid_value", "kind"),
        (json!({"outcome": "ok"}), "invalid_value", "outcome"),
        (json!({"inputTokens": -1}), "out_of_range", "inputTokens"),
        (
            json!({"inputTokens": 1_000_000_000_000_001_i64}),
            "out_of_range",
            "inputTokens",
        ),
        (json!({"inputTokens": u64::MAX}), "out_of_range", "inputTokens"),
        (json!({"inputTokens": 1e300}), "out_of_range", "inputTokens"),
        (json!({"outputTokens": 1.5}), "invalid_value", "outputTokens"),
        (json!({"images": "3"}), "wrong_type", "images"),
        (
            json!({"inputTokens": 5, "cachedInputTokens": 6}),
            "subset_exceeds_total",
            "cachedInputTokens",
        ),
        (
            json!({"inputTokens": 5, "cachedInputTokens": 3, "cacheWriteTokens": 3}),
            "subset_exceeds_total",
            "cacheWriteTokens",
        ),
        (
            json!({"outputTokens": 5, "reasoningTokens": 6}),
            "subset_exceeds_total",
            "reasoningTokens",
        ),
        (json!({"cost": "1", "costNanos": 1}), "cost_conflict", "cost"),
        (
            json!({"costNanos": 1, "costEstimateCents": 1}),
            "cost_conflict",
            "costNanos",
        ),
        (json!({"cost": true}), "wrong_type", "cost"),
        (json!({"cost": "1,5"}), "invalid_value", "cost"),
        (json!({"cost": "NaN"}), "invalid_value", "cost"),
        (json!({"cost": "0".repeat(129)}), "too_long", "cost"),
        (json!({"cost": "-1"}), "out_of_range", "cost"),
        (json!({"cost": "-1e-20"}), "out_of_range", "cost"),
        (json!({"cost": -0.01}), "out_of_range", "cost"),
        (json!({"cost": "1e999999999"}), "out_of_range", "cost"),
        (json!({"cost": 1e300}), "out_of_range", "cost"),
        (json!({"cost": "1000000.000000001"}), "out_of_range", "cost"),
        (json!({"costNanos": -1}), "out_of_range", "costNanos"),
        (
            json!({"costEstimateCents": -0.5}),
            "out_of_range",
            "costEstimateCents",
        ),
        (
            json!({"costEstimateCents": 1e300}),
            "out_of_range",
            "costEstimateCents",
        ),
        (
            json!({"costEstimateCents": "1"}),
            "wrong_type",
            "costEstimateCents",
        ),
        (
            json!({"inputTokens": 5, "outputTokens": 6, "totalTokens": 12}),
            "total_mismatch",
            "totalTokens",
        ),
        (json!({"totalTokens": 12}), "total_mismatch", "totalTokens"),
        (json!({"totalTokens": "11"}), "wrong_type", "totalTokens"),
        (json!({"totalTokens": 1.5}), "invalid_value", "totalTokens"),
        (json!({"costNanos": 1.5}), "invalid_value", "costNanos"),
        (
            json!({"cost": "1", "currency": "EUR"}),
            "currency_mismatch",
            "currency",
        ),
        (json!({"testMode": "yes"}), "wrong_type", "testMode"),
    ] {
        assert_eq!(rejected(changes.clone()), (reason, field), "{changes}");
    }
    let twice = r#"{"eventId":"e","eventId":"f","completedAt":0,"source":"chat","organizationId":"a"}"#;
    assert_eq!(
        check(twice, &rules()),
        Err(Reject::field(Reason::DuplicateField, Field::EventId))
    );
}

#[test]
fn what_is_no_usage_by_rule_is_skipped_before_its_other_fields_are_looked_at() {
    let start = Rules {
        start_at_ms: Some(1_767_607_200_000),
        ..rules()
    };
    let skip = |event: Json, rules: &Rules| match check(&event.to_string(), rules) {
        Ok(Checked::Skipped(skip)) => Some(skip),
        _ => None,
    };
    assert_eq!(
        skip(json!({"type": "request.started"}), &rules()),
        Some(Skip::OtherType)
    );
    assert_eq!(skip(json!({"testMode": true}), &rules()), Some(Skip::TestMode));
    assert_eq!(skip(with(json!({"testMode": false})), &rules()), None);
    assert_eq!(
        skip(with(json!({"completedAt": 1_767_607_199_999_i64})), &start),
        Some(Skip::BeforeStart)
    );
    assert_eq!(
        skip(with(json!({"completedAt": 1_767_607_200_000_i64})), &start),
        None
    );
}

/// Lesson D16: identity is the emitter's own id, then the document's, and never anything else.
#[test]
fn d16_a_document_is_known_by_its_event_id_or_else_by_its_own_id() {
    let identity = |document_id: DocumentId<'static>, event_id: Option<&'static str>| {
        let text = with(json!({"eventId": event_id})).to_string();
        let mut raw: RawEvent<'_> = serde_json::from_str(&text).expect("an object");
        raw.set_document_id(document_id);
        match validate(raw, &rules()) {
            Ok(Checked::Event(event)) => Ok(matches!(event.identity, Identity::Document(_))),
            Ok(other) => panic!("{other:?}"),
            Err(reject) => Err((reject.reason.code(), reject.field.expect("a field"))),
        }
    };
    assert_eq!(identity(DocumentId::Integer(7), None), Ok(true));
    assert_eq!(identity(DocumentId::Text("req-1".into()), None), Ok(true));
    assert_eq!(identity(DocumentId::Integer(7), Some("e")), Ok(false));
    assert_eq!(identity(DocumentId::Unsupported, Some("e")), Ok(false));
    assert_eq!(
        identity(DocumentId::Unsupported, None),
        Err(("wrong_type", "_id"))
    );
    assert_eq!(
        identity(DocumentId::Text("x".repeat(129).into()), None),
        Err(("too_long", "_id"))
    );
    assert_eq!(
        identity(DocumentId::None, None),
        Err(("missing_field", "eventId"))
    );
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "(?s).{0,12}".prop_map(Json::from),
        "(?s).{100,300}".prop_map(Json::from),
        Just(json!([{"a": 1}])),
        Just(json!({"$gt": ""})),
    ];
    leaf.boxed()
}

proptest! {
    /// No input panics, and no accepted event breaks an invariant of its counters.
    #[test]
    fn any_object_is_judged(values in prop::collection::vec(any_json(), 27), keep in any::<u32>()) {
        let names = [
            "eventId", "type", "completedAt", "source", "organizationId", "agentSlug", "userId", "model", "provider",
            "teamId", "apiKeyId", "kind", "outcome", "inputTokens", "outputTokens", "cachedInputTokens",
            "totalTokens", "cacheWriteTokens", "reasoningTokens", "audioMillis", "characters", "images", "cost", "costNanos",
            "costEstimateCents", "currency", "testMode",
        ];
        let mut event = base();
        for (at, (name, value)) in names.into_iter().zip(values).enumerate() {
            if keep & (1 << at) != 0 {
                event[name] = value;
            }
        }
        let text = event.to_string();
        let checked = check(&text, &rules());
        if let Err(reject) = &checked {
            let message = reject.message();
            prop_assert!(message.chars().count() < 400, "{}", message);
            prop_assert_eq!(&crate::inert::inert(&message), &message);
        }
        if let Ok(Checked::Event(event)) = checked {
            let c = |counter| event.counters[counter];
            prop_assert!(Counter::ALL.into_iter().all(|counter| c(counter) >= 0));
            prop_assert_eq!(c(Counter::TotalTokens), c(Counter::InputTokens) + c(Counter::OutputTokens));
            prop_assert!(c(Counter::CachedInputTokens) + c(Counter::CacheWriteTokens) <= c(Counter::InputTokens));
            prop_assert!(c(Counter::ReasoningTokens) <= c(Counter::OutputTokens));
        }
    }
}
