//! Events that must be rejected, each for one reason.

use serde_json::{Value, json};

use super::item::{Draft, Item};

/// How many kinds of flaw there are.
pub(super) const COUNT: usize = 16;

/// The event with the flaw of that number.
pub(super) fn apply(flaw: usize, draft: Draft) -> Item {
    let tokens = draft.usage.input_tokens;
    let one = |reason, field, value| draft.rejected(reason, field, [(field, value)]);
    match flaw {
        0 => one("missing_field", "organizationId", Value::Null),
        1 => one("missing_field", "source", Value::Null),
        2 => one("missing_field", "completedAt", Value::Null),
        3 => one("out_of_range", "inputTokens", json!(-1)),
        4 => one("wrong_type", "inputTokens", json!("many")),
        5 => one("invalid_value", "kind", json!("telepathy")),
        6 => one("invalid_value", "source", json!("Not A Source")),
        7 => one("reserved_value", "agentSlug", json!("__unattributed__")),
        8 => one("too_long", "model", json!("m".repeat(129))),
        9 => one("control_character", "userId", json!("user\u{7}")),
        10 => one("in_the_future", "completedAt", json!("2999-01-01T00:00:00Z")),
        11 => one("currency_mismatch", "currency", json!("XTS")),
        12 => draft.rejected(
            "subset_exceeds_total",
            "cachedInputTokens",
            [
                ("cachedInputTokens", json!(tokens + 1)),
                ("cacheWriteTokens", Value::Null),
            ],
        ),
        13 => {
            let sum = tokens + draft.usage.output_tokens;
            one("total_mismatch", "totalTokens", json!(sum + 1))
        }
        14 => draft.rejected(
            "invalid_value",
            "cost",
            [
                ("cost", json!("12,50")),
                ("costNanos", Value::Null),
                ("costEstimateCents", Value::Null),
            ],
        ),
        _ => draft.rejected(
            "cost_conflict",
            "cost",
            [
                ("cost", json!("0.01")),
                ("costNanos", json!(10_000_000)),
                ("costEstimateCents", Value::Null),
            ],
        ),
    }
}
