//! Comparing a ledger's answers with the truth.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::traffic::{Totals, Truth};

/// The differences between the `totals` of an answer and what they must be; none if they are equal.
#[must_use]
pub fn differences(truth: &Totals, answer: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, right) in truth.integers() {
        let said = &answer[name];
        if said.as_u64() != Some(right) {
            found.push(format!("{name}: {said} instead of {right}"));
        }
    }
    let (said, right) = (answer["cost"]["amount"].as_str(), truth.cost());
    if said != right.as_deref() {
        let words = |amount: Option<&str>| amount.unwrap_or("unknown").to_owned();
        found.push(format!(
            "cost: {} instead of {}",
            words(said),
            words(right.as_deref())
        ));
    }
    found
}

/// What became of the events that a process has read, by `result`, out of its `/metrics`.
#[must_use]
pub fn results(metrics: &str) -> BTreeMap<String, u64> {
    let mut results = BTreeMap::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("usage_ledger_events_total{") else {
            continue;
        };
        let Some((labels, value)) = rest.split_once('}') else {
            continue;
        };
        let Some((_, result)) = labels.split_once("result=\"") else {
            continue;
        };
        let result = result.split('"').next().unwrap_or_default();
        *results.entry(result.to_owned()).or_default() += whole(value);
    }
    results
}

/// The differences between what became of the events and what must; none if they are equal.
#[must_use]
pub fn result_differences(truth: &Truth, results: &BTreeMap<String, u64>) -> Vec<String> {
    let said = |name: &str| results.get(name).copied().unwrap_or(0);
    let differs = |(name, right): &(&str, u64)| said(name) != *right;
    let words = |(name, right): (&str, u64)| format!("{name}: {} instead of {right}", said(name));
    truth.results().into_iter().filter(differs).map(words).collect()
}

/// An amount with at most nine decimals as nano-units.
#[must_use]
pub fn nanos(amount: &str) -> Option<u128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    (fraction.len() <= 9).then(|| format!("{whole}{fraction:0<9}").parse().ok())?
}

/// Prometheus writes counters as floats, and large ones with an exponent.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a demo's events"
)]
fn whole(value: &str) -> u64 {
    value
        .split_whitespace()
        .next()
        .and_then(|text| text.parse::<f64>().ok())
        .map_or(0, |number| number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_with_one_number_wrong_is_found() {
        let truth = Totals {
            requests: 2,
            input_tokens: 10,
            total_tokens: 10,
            cost_nanos: 5,
            ..Totals::default()
        };
        let mut answer = json!({"cost": {"amount": "0.000000005", "currency": "USD"}});
        for (name, value) in truth.integers() {
            answer[name] = json!(value);
        }
        assert_eq!(differences(&truth, &answer), Vec::<String>::new());
        answer["inputTokens"] = json!(11);
        answer["cost"] = Value::Null;
        assert_eq!(
            differences(&truth, &answer),
            [
                "inputTokens: 11 instead of 10",
                "cost: unknown instead of 0.000000005"
            ]
        );
    }

    #[test]
    fn results_are_summed_over_sources() {
        let metrics = "# HELP usage_ledger_events_total Events.\n\
                       usage_ledger_events_total{source=\"chat\",result=\"counted\"} 7\n\
                       usage_ledger_events_total{result=\"counted\",source=\"other\"} 1e+06\n\
                       usage_ledger_events_total{source=\"chat\",result=\"duplicate\"} 2\n\
                       usage_ledger_commits_total{outcome=\"ok\"} 9\n";
        let found = results(metrics);
        assert_eq!(
            found,
            BTreeMap::from([("counted".to_owned(), 1_000_007), ("duplicate".to_owned(), 2)])
        );
        let truth = Truth {
            counted: 1_000_007,
            duplicate: 1,
            ..Truth::default()
        };
        assert_eq!(result_differences(&truth, &found), ["duplicate: 2 instead of 1"]);
    }

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!(nanos("12.345678901"), Some(12_345_678_901));
        assert_eq!(nanos("3"), Some(3_000_000_000));
        assert_eq!(nanos("0.1234567890"), None);
    }
}
