//! Quantities and costs.

use super::*;
use crate::counters::Counters;
use crate::event::MAX_QUANTITY;

fn counted(changes: Json) -> Counters {
    counted_as(&with(changes).to_string())
}

fn counted_as(text: &str) -> Counters {
    match check(text, &rules()) {
        Ok(Checked::Event(event)) => event.counters,
        other => panic!("expected an event of {text}, got {other:?}"),
    }
}

/// An event with one more field, written just so: no JSON library stands between.
fn written(field: &str, value: &str) -> String {
    let event = base().to_string();
    format!("{},\"{field}\":{value}}}", event.trim_end_matches('}'))
}

#[test]
fn edges_of_each_range_are_accepted() {
    let counters = counted(json!({
        "eventId": "ü".repeat(128), "inputTokens": MAX_QUANTITY, "cachedInputTokens": MAX_QUANTITY,
        "outputTokens": 1e15, "reasoningTokens": 7.0, "cost": "1000000", "currency": "USD", "outcome": "aborted",
    }));
    assert_eq!(counters[Counter::TotalTokens], 2 * MAX_QUANTITY);
    assert_eq!(counters[Counter::ReasoningTokens], 7);
    assert_eq!(counters[Counter::CostNanos], MAX_QUANTITY);
    assert_eq!(counters[Counter::UnpricedRequests], 0);
    // Lesson C7: an aborted request is counted apart, and its usage still counts.
    assert_eq!(
        (counters[Counter::Requests], counters[Counter::AbortedRequests]),
        (1, 1)
    );
}

/// Lesson L13: requests without tokens are metered.
#[test]
fn l13_any_signal_is_metered() {
    let counters = counted(json!({"kind": "image", "images": 2, "costNanos": 0}));
    assert_eq!(counters[Counter::Images], 2);
    assert_eq!(
        (counters[Counter::Requests], counters[Counter::TotalTokens]),
        (1, 0)
    );
    // Priced at zero is not unpriced.
    assert_eq!(counters[Counter::UnpricedRequests], 0);
}

/// Lessons C4 and L12: no float decides about money, and micro-costs do not vanish.
#[test]
fn c4_l12_every_form_of_a_cost_is_exact() {
    for (field, value, nanos) in [
        ("cost", r#""0.000000001""#, 1),
        ("cost", r#""7.5e-05""#, 75_000),
        ("cost", r#""12.50""#, 12_500_000_000),
        ("cost", "7.5e-05", 75_000),
        ("cost", "12.50", 12_500_000_000),
        ("cost", "3", 3_000_000_000),
        ("cost", "1e2", 100_000_000_000),
        // A double would make it 123456.78901234500.
        ("cost", "123456.789012345", 123_456_789_012_345),
        ("cost", "0.1000000000000000000000000000", 100_000_000),
        ("costNanos", "7.0", 7),
        ("costNanos", "1e3", 1_000),
        ("costEstimateCents", "0.0001", 1_000),
        ("costEstimateCents", "0.1", 1_000_000),
        ("costEstimateCents", "3", 30_000_000),
        ("costEstimateCents", "1e-7", 1),
    ] {
        let text = written(field, value);
        assert_eq!(counted_as(&text)[Counter::CostNanos], nanos, "{text}");
        assert!(!is_rounded(&text), "{text}");
    }
}

fn is_rounded(text: &str) -> bool {
    match check(text, &rules()) {
        Ok(Checked::Event(event)) => event.is_cost_rounded,
        other => panic!("expected an event of {text}, got {other:?}"),
    }
}

#[test]
fn what_a_nano_cannot_hold_is_rounded_once_and_noted() {
    for (field, value, nanos) in [
        ("cost", r#""0.00000000149999999999999999999999""#, 1),
        ("cost", r#""0.0000000025""#, 2),
        ("cost", "0.1234567895", 123_456_790),
        ("cost", "1e-999999999", 0),
        ("costEstimateCents", "0.6619999999999999", 6_620_000),
    ] {
        let text = written(field, value);
        assert_eq!(counted_as(&text)[Counter::CostNanos], nanos, "{text}");
        assert!(is_rounded(&text), "{text}");
        assert_eq!(counted_as(&text)[Counter::UnpricedRequests], 0, "{text}");
    }
}

#[test]
fn a_number_without_a_fraction_is_an_integer_and_no_float_decides() {
    for (value, quantity) in [("3.0", 3), ("1e3", 1_000), ("1.5e1", 15), ("-0", 0), ("10E-1", 1)] {
        let text = written("inputTokens", value);
        assert_eq!(counted_as(&text)[Counter::InputTokens], quantity, "{text}");
    }
    for (value, reason) in [
        // The nearest double has no fraction.
        ("999999999999999.99", "invalid_value"),
        ("1e15.5", "invalid_json"),
        ("1000000000000000.0", "event"),
        ("1000000000000001.0", "out_of_range"),
        ("1e400", "out_of_range"),
        ("1e-400", "invalid_value"),
        ("99999999999999999999999999", "out_of_range"),
    ] {
        let text = written("inputTokens", value);
        let Ok(raw) = serde_json::from_str(&text) else {
            assert_eq!(reason, "invalid_json", "{text}");
            continue;
        };
        let found = validate(raw, &rules()).map_or_else(|reject| reject.reason.code(), |_| "event");
        assert_eq!(found, reason, "{text}");
    }
}

/// Lesson L22: usage that nobody knows is counted as such, and never as nothing.
#[test]
fn l22_what_no_quantity_is_known_of_is_unmetered() {
    let of = |changes: Json| {
        let counters = counted(changes);
        (
            counters[Counter::UnmeteredRequests],
            counters[Counter::UnpricedRequests],
        )
    };
    assert_eq!(of(json!({})), (1, 1));
    assert_eq!(of(json!({"cost": "1"})), (1, 0));
    assert_eq!(
        of(json!({"inputTokens": null, "outputTokens": "", "cost": "1"})),
        (1, 0)
    );
    assert_eq!(of(json!({"kind": "embedding", "tokens": 7})), (1, 1));
    assert_eq!(of(json!({"prompt_tokens": 7, "completion_tokens": 8})), (1, 1));
    // What is stated is known, also where it is nothing.
    assert_eq!(of(json!({"inputTokens": 0})), (0, 1));
    assert_eq!(of(json!({"images": 0, "cost": "0"})), (0, 0));
    // A total is only checked.
    assert_eq!(of(json!({"totalTokens": 0})), (1, 1));
    // Others are metered by what they are, or not at all.
    for kind in ["image", "transcription", "speech", "connector"] {
        assert_eq!(of(json!({"kind": kind})), (0, 1), "{kind}");
    }
    assert_eq!(of(json!({"outcome": "aborted"})), (0, 1));
    // What failed before anything was used cost nothing.
    assert_eq!(of(json!({"outcome": "failed"})), (0, 0));
    assert_eq!(of(json!({"outcome": "failed", "kind": "image"})), (0, 0));
    assert_eq!(of(json!({"outcome": "failed", "inputTokens": 3})), (0, 1));
    assert_eq!(of(json!({"outcome": "failed", "inputTokens": 0})), (0, 1));
}

#[test]
fn a_total_that_agrees_is_only_checked() {
    let counters = counted(json!({"inputTokens": 5, "outputTokens": 6.0, "totalTokens": 11}));
    assert_eq!(counters[Counter::TotalTokens], 11);
    assert_eq!(
        counted(json!({"inputTokens": 5, "totalTokens": 5}))[Counter::TotalTokens],
        5
    );
    assert_eq!(
        counted(json!({"inputTokens": 5, "totalTokens": null}))[Counter::TotalTokens],
        5
    );
}

fn sentence(changes: Json) -> String {
    let text = with(changes).to_string();
    check(&text, &rules()).expect_err("a rejection").message()
}

#[test]
fn a_rejection_says_what_was_found_and_what_to_send_instead() {
    for (changes, expected) in [
        (
            json!({"cost": "12,50"}),
            "`cost` is `12,50`: a decimal with a point, from 0 to 1000000",
        ),
        (
            json!({"cost": -0.5}),
            "`cost` is -0.5: a decimal with a point, from 0 to 1000000",
        ),
        (
            json!({"organizationId": null}),
            "`organizationId` is missing: a text of 1 to 128 characters",
        ),
        (
            json!({"model": ["a", "b"]}),
            "`model` is an array: a text of at most 128 characters",
        ),
        (
            json!({"inputTokens": "many"}),
            "`inputTokens` is `many`: an integer from 0 to 10^15",
        ),
        (
            json!({"kind": "chat"}),
            "`kind` is `chat`: `llm`, `embedding`, `image`, `transcription`, `speech` or `connector`",
        ),
        (
            json!({"userId": "x".repeat(129)}),
            "`userId` has 129 characters: a text of at most 128 characters",
        ),
        (
            json!({"userId": "a\nb\u{1b}[2J"}),
            "`userId` is `a\\u000ab\\u001b[2J`: a text without control characters",
        ),
        (
            json!({"inputTokens": 5, "outputTokens": 6, "totalTokens": 12}),
            "`totalTokens` is 12, `inputTokens` and `outputTokens` are 11: the sum, or no total",
        ),
        (
            json!({"inputTokens": 5, "cachedInputTokens": 3, "cacheWriteTokens": 4}),
            "`cacheWriteTokens` and `cachedInputTokens` are 7, `inputTokens` is 5: the whole includes its parts",
        ),
        (
            json!({"cost": 1, "costNanos": 1}),
            "`cost` is there, and so is `costNanos`: one of `cost`, `costNanos` and `costEstimateCents`",
        ),
        (
            json!({"currency": "EUR"}),
            "`currency` is `EUR`, the ledger's is `USD`: amounts in the ledger's currency",
        ),
    ] {
        assert_eq!(sentence(changes), expected);
    }
}
