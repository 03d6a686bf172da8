//! The totals of the ledger, beside those that were sent.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::Result;
use testkit::check;
use testkit::product::Product;
use testkit::traffic::{Totals, Truth, decimal};

use crate::own;

/// One round of answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// Each organization's `totals`.
    pub(crate) totals: BTreeMap<String, Value>,
    /// Up to when the ledger is complete, as it says.
    pub(crate) data_as_of: Option<String>,
    /// How far that is behind, in seconds.
    pub(crate) lag: Option<f64>,
    /// What became of the events it has read.
    pub(crate) results: BTreeMap<String, u64>,
    /// The `totals` of the organization of events of one's own.
    pub(crate) own: Value,
}

impl Answers {
    /// Asks for every organization over the days of the truth.
    pub(crate) async fn ask(product: &Product, organizations: &[String], truth: &Truth) -> Result<Self> {
        let mut answers = Self {
            results: check::results(&product.metrics().await?),
            ..Self::default()
        };
        for organization in organizations
            .iter()
            .map(String::as_str)
            .chain([own::ORGANIZATION])
        {
            let mut query = vec![("organizationId", organization.to_owned())];
            if let (Some(first), Some(last)) = (truth.first_day, truth.last_day) {
                query.push(("from", first.to_string()));
                query.push(("to", last.to_string()));
            }
            let mut answer = product.ask("/v1/usage/summary", &query).await?;
            answers.data_as_of = answer["dataAsOf"].as_str().map(ToOwned::to_owned);
            answers.lag = answer["lagSeconds"].as_f64();
            let totals = answer["totals"].take();
            if organization == own::ORGANIZATION {
                answers.own = totals;
            } else {
                answers.totals.insert(organization.to_owned(), totals);
            }
        }
        Ok(answers)
    }

    /// What is not as it must be; none if all is equal. Of the records that arrived, those that are not in the truth
    /// are somebody's own: what became of them is not known here, but that something did is.
    pub(crate) fn differences(&self, truth: &Truth, arrived: u64) -> Vec<String> {
        let mut found = if arrived == truth.read {
            check::result_differences(truth, &self.results)
        } else {
            self.fewer_or_lost(truth, arrived)
        };
        for (organization, answer) in &self.totals {
            let right = truth.organizations.get(organization).copied().unwrap_or_default();
            let words = check::differences(&right, answer);
            found.extend(words.into_iter().map(|words| format!("{organization}: {words}")));
        }
        let missing = truth
            .organizations
            .keys()
            .filter(|name| !self.totals.contains_key(*name));
        found.extend(missing.map(|name| format!("{name}: no answer")));
        found
    }

    fn fewer_or_lost(&self, truth: &Truth, arrived: u64) -> Vec<String> {
        let said = |name: &str| self.results.get(name).copied().unwrap_or(0);
        let fewer = truth
            .results()
            .into_iter()
            .filter(|(name, least)| said(name) < *least)
            .map(|(name, least)| format!("{name}: {} instead of {least} or more", said(name)));
        let mut found: Vec<String> = fewer.collect();
        let all: u64 = self.results.values().sum();
        if all != arrived {
            found.push(format!("records: {all} instead of {arrived}"));
        }
        found
    }
}

/// The three numbers that the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shown {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    /// `None` where no request has a price.
    pub(crate) nanos: Option<u128>,
}

impl Shown {
    /// Out of the truth.
    pub(crate) fn sent(totals: &Totals) -> Self {
        let priced = totals.requests > totals.unpriced_requests;
        Self {
            requests: totals.requests,
            tokens: totals.total_tokens,
            nanos: priced.then_some(totals.cost_nanos),
        }
    }

    /// Out of an answer.
    pub(crate) fn served(totals: &Value) -> Self {
        let requests = totals["requests"].as_u64().unwrap_or(0);
        Self {
            requests,
            tokens: totals["totalTokens"].as_u64().unwrap_or(0),
            nanos: totals["cost"]["amount"]
                .as_str()
                .and_then(check::nanos)
                .filter(|_| requests > 0),
        }
    }

    /// The amount in the ledger's currency. An unknown cost is no zero.
    pub(crate) fn amount(&self) -> String {
        match self.nanos {
            None if self.requests > 0 => "unpriced".to_owned(),
            nanos => decimal(nanos.unwrap_or(0)),
        }
    }
}

impl std::iter::Sum for Shown {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            requests: sum.requests + part.requests,
            tokens: sum.tokens + part.tokens,
            nanos: match (sum.nanos, part.nanos) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_cost_is_not_shown_as_zero() {
        let unpriced = Totals {
            requests: 2,
            unpriced_requests: 2,
            total_tokens: 7,
            ..Totals::default()
        };
        let sent = Shown::sent(&unpriced);
        assert_eq!(
            sent,
            Shown::served(&json!({"requests": 2, "totalTokens": 7, "cost": null}))
        );
        assert_eq!(sent.amount(), "unpriced");
        assert_eq!(Shown::default().amount(), "0.000000000");
        let priced = Shown {
            requests: 1,
            tokens: 1,
            nanos: Some(5),
        };
        assert_eq!(
            [sent, priced, sent].into_iter().sum::<Shown>().amount(),
            "0.000000005"
        );
        assert_eq!(
            [sent, Shown::default()].into_iter().sum::<Shown>().amount(),
            "unpriced"
        );
    }

    #[test]
    fn events_of_ones_own_are_allowed_for_and_lost_ones_are_not() {
        let truth = Truth {
            read: 3,
            counted: 2,
            duplicate: 1,
            ..Truth::default()
        };
        let ledger = |counted: u64, duplicate: u64| Answers {
            results: [("counted", counted), ("duplicate", duplicate)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            ..Answers::default()
        };
        let none = Vec::<String>::new();
        assert_eq!(ledger(2, 1).differences(&truth, 3), none);
        assert_eq!(ledger(3, 1).differences(&truth, 4), none);
        assert_eq!(ledger(3, 1).differences(&truth, 3), ["counted: 3 instead of 2"]);
        assert_eq!(ledger(2, 1).differences(&truth, 4), ["records: 3 instead of 4"]);
        assert_eq!(
            ledger(4, 0).differences(&truth, 4),
            ["duplicate: 0 instead of 1 or more"]
        );
    }

    #[test]
    fn no_request_yet_is_the_same_on_both_sides() {
        let served = json!({"requests": 0, "totalTokens": 0, "cost": {"amount": "0.000000000"}});
        assert_eq!(Shown::sent(&Totals::default()), Shown::served(&served));
    }
}
