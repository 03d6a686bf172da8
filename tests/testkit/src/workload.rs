//! The workloads of the benchmarks: events of [`BYTES`] bytes whose keys are spread in a known way.
//!
//! Each dimension is drawn by itself from a Zipf distribution with exponent 1: the second is half as frequent
//! as the first, the third a third, and so on. The same seed gives the same events.

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value};

use crate::traffic::{CostForm, Item, Outcome, TimeForm, Usage, Verdict, render};

/// The size of each event.
pub const BYTES: usize = 500;
/// How far apart events complete.
const APART: TimeDelta = TimeDelta::microseconds(100);
const SOURCES: [&str; 3] = ["chat", "workflow", "openai-compat"];
const PROVIDERS: [&str; 4] = ["openai", "anthropic", "google", "mistral"];

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// What the workload is called.
    pub name: &'static str,
    /// Organizations.
    pub organizations: usize,
    /// Agents of each.
    pub agents: usize,
    /// Models.
    pub models: usize,
    /// Users of each organization.
    pub users: usize,
}

impl Keys {
    /// Few keys: nearly every event adds to a row that is being added to anyway.
    pub const HOT: Self = Self {
        name: "hot",
        organizations: 4,
        agents: 1,
        models: 2,
        users: 1,
    };

    /// Those of a platform: most rows are added to once in a while.
    pub const TYPICAL: Self = Self {
        name: "typical",
        organizations: 20,
        agents: 50,
        models: 20,
        users: 5_000,
    };
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its `eventId`.
    pub id: String,
    /// What it says.
    pub usage: Usage,
}

impl Event {
    /// What Kafka keys it by.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.usage.organization
    }

    /// The same as a document, known by its `_id`, and what must become of it.
    #[must_use]
    pub fn item(&self) -> Item {
        Item {
            verdict: Verdict::Counted(Box::new(self.usage.clone())),
            event: self.fields(None),
            document_id: self.id.as_str().into(),
        }
    }

    fn fields(&self, id: Option<&str>) -> Map<String, Value> {
        render(&self.usage, id, TimeForm::Text, CostForm::Amount)
    }

    /// The JSON object: the fields of the contract, and one that is ignored.
    #[must_use]
    pub fn json(&self) -> String {
        let mut event = self.fields(Some(&self.id));
        event.insert("requestId".into(), Value::from(""));
        let mut json = Value::Object(event).to_string();
        let filler = "0123456789abcdef".chars().cycle();
        let at = json.find("\"requestId\":\"").unwrap_or(0) + "\"requestId\":\"".len();
        let filler: String = filler.take(BYTES.saturating_sub(json.len())).collect();
        json.insert_str(at, &filler);
        json
    }
}

/// Makes the events of a workload, without end.
#[derive(Debug)]
pub struct Workload {
    organization: Zipf,
    agent: Zipf,
    model: Zipf,
    user: Zipf,
    rng: StdRng,
    at: DateTime<Utc>,
    made: u64,
}

impl Workload {
    /// From the beginning; the first event completes at `start`.
    #[must_use]
    pub fn new(keys: Keys, start: DateTime<Utc>) -> Self {
        Self {
            organization: Zipf::new(keys.organizations),
            agent: Zipf::new(keys.agents),
            model: Zipf::new(keys.models),
            user: Zipf::new(keys.users),
            rng: StdRng::seed_from_u64(1),
            at: start,
            made: 0,
        }
    }
}

impl Iterator for Workload {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.made += 1;
        self.at += APART;
        let rng = &mut self.rng;
        let (organization, agent) = (self.organization.draw(rng), self.agent.draw(rng));
        let (model, user) = (self.model.draw(rng), self.user.draw(rng));
        let (input_tokens, output_tokens) = (rng.random_range(200..20_000), rng.random_range(20..2_000));
        let usage = Usage {
            completed_at: self.at,
            source: SOURCES[agent % SOURCES.len()].into(),
            organization: format!("organization-{organization:02}"),
            agent: Some(format!("agent-{agent:02}")),
            user: Some(format!("user-{user:04}")),
            model: Some(format!("model-{model:02}-large")),
            provider: Some(PROVIDERS[model % PROVIDERS.len()].into()),
            team: Some(format!("team-{:02}", user % 10)),
            api_key: Some(format!("key-{organization:02}")),
            kind: "llm",
            outcome: Outcome::Completed,
            input_tokens,
            cached_input_tokens: input_tokens / 2,
            cache_write_tokens: 0,
            output_tokens,
            reasoning_tokens: output_tokens / 4,
            images: 0,
            cost_nanos: Some(input_tokens * 250 + output_tokens * 2_000),
        };
        let id: u64 = rng.random();
        Some(Event {
            id: format!("{id:016x}-{:016x}", self.made),
            usage,
        })
    }
}

/// Draws a number below `n`, the smallest most often.
#[derive(Debug)]
struct Zipf {
    /// The sums of the weights up to each number.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(n: usize) -> Self {
        let weight = |rank: u32| 1.0 / f64::from(rank);
        let mut sum = 0.0;
        let sums = (1_u32..)
            .take(n.max(1))
            .map(|rank| {
                sum += weight(rank);
                sum
            })
            .collect();
        Self { sums }
    }

    fn draw(&self, rng: &mut StdRng) -> usize {
        let all = self.sums.last().copied().unwrap_or(1.0);
        let drawn = rng.random::<f64>() * all;
        self.sums
            .partition_point(|sum| *sum <= drawn)
            .min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn start() -> DateTime<Utc> {
        "2026-01-05T10:00:00Z".parse().expect("an instant")
    }

    #[test]
    fn every_event_is_json_of_the_same_size_with_an_id_of_its_own() {
        for keys in [Keys::HOT, Keys::TYPICAL] {
            let mut ids = BTreeSet::new();
            for event in Workload::new(keys, start()).take(500) {
                let json = event.json();
                assert_eq!(json.len(), BYTES, "{json}");
                let read: Value = serde_json::from_str(&json).expect("JSON");
                assert_eq!(read["eventId"], event.id.as_str());
                assert_eq!(read["organizationId"], event.key());
                assert!(ids.insert(event.id));
            }
        }
    }

    #[test]
    fn hot_is_few_keys_and_typical_follows_zipf() {
        let rows = |keys| {
            let mut rows = BTreeMap::new();
            for event in Workload::new(keys, start()).take(10_000) {
                let usage = event.usage;
                *rows
                    .entry((usage.organization, usage.agent, usage.model, usage.user))
                    .or_insert(0) += 1;
            }
            rows
        };
        assert_eq!(rows(Keys::HOT).len(), 8);
        let typical = rows(Keys::TYPICAL);
        assert!(typical.len() > 9_000, "{}", typical.len());
        let of = |organization: &str| {
            let its = typical.iter().filter(|(row, _)| row.0 == organization);
            its.map(|(_, events)| f64::from(*events)).sum::<f64>()
        };
        let ratio = of("organization-00") / of("organization-03");
        assert!((3.5..4.5).contains(&ratio), "{ratio}");
    }
}
