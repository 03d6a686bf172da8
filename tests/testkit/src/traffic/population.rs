//! Who acts: organizations, their agents and users, and the models with their prices.

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::usage::{Outcome, Usage};

const NAMES: [&str; 8] = [
    "acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "tyrell",
];
const CHAT_AGENTS: [&str; 4] = ["support-bot", "sales-copilot", "hr-helper", "onboarding"];
const WORKFLOW_AGENTS: [&str; 3] = ["invoice-triage", "nightly-report", "lead-scoring"];
const TEAMS: [&str; 3] = ["platform", "finance", "growth"];
/// The mean length of a prompt and of an answer, in tokens.
const PROMPT: f64 = 1200.0;
const ANSWER: f64 = 260.0;

/// Prices in nano-units per token.
struct Model {
    name: &'static str,
    provider: &'static str,
    input: u64,
    cached: u64,
    output: u64,
    priced: bool,
}

const fn model(name: &'static str, provider: &'static str, input: u64, cached: u64, output: u64) -> Model {
    Model {
        name,
        provider,
        input,
        cached,
        output,
        priced: true,
    }
}

/// The same model from two providers is two rows; what runs in the own cellar has no price.
const MODELS: [Model; 5] = [
    model("gpt-5-mini", "openai", 250, 25, 2_000),
    model("claude-sonnet-4-5", "anthropic", 3_000, 300, 15_000),
    model("gpt-5-mini", "azure", 275, 28, 2_200),
    model("mistral-small", "mistral", 100, 100, 300),
    Model {
        name: "llama-3.3-70b",
        provider: "self-hosted",
        input: 0,
        cached: 0,
        output: 0,
        priced: false,
    },
];
const EMBEDDING: Model = model("text-embedding-3-small", "openai", 20, 20, 0);
const IMAGE: (&str, &str, u64) = ("gpt-image-1", "openai", 42_000_000);

#[derive(Debug)]
pub(super) struct Population {
    organizations: Vec<String>,
    users: usize,
}

impl Population {
    pub(super) fn new(organizations: usize, users: usize) -> Self {
        let name = |index: usize| {
            NAMES
                .get(index)
                .map_or_else(|| format!("org-{:03}", index + 1), |name| (*name).to_owned())
        };
        Self {
            organizations: (0..organizations.max(1)).map(name).collect(),
            users: users.max(1),
        }
    }

    pub(super) fn organizations(&self) -> &[String] {
        &self.organizations
    }

    /// One request of one of the services.
    pub(super) fn usage(&self, rng: &mut StdRng, completed_at: DateTime<Utc>) -> Usage {
        let mut usage = blank(completed_at);
        usage
            .organization
            .clone_from(&self.organizations[skewed(rng, self.organizations.len())]);
        match rng.random_range(0..100) {
            0..50 => self.chat(rng, &mut usage),
            50..75 => workflow(rng, &mut usage),
            _ => self.gateway(rng, &mut usage),
        }
        usage.outcome = match rng.random_range(0..100) {
            0..3 => Outcome::Failed,
            3..6 => Outcome::Aborted,
            _ => Outcome::Completed,
        };
        match usage.outcome {
            Outcome::Failed if rng.random_bool(0.5) => {
                unused(&mut usage);
                usage.cost_nanos = None;
            }
            // The provider answered, and did not say what it took.
            Outcome::Completed if rng.random_bool(0.01) => unused(&mut usage),
            _ => {}
        }
        usage
    }

    fn chat(&self, rng: &mut StdRng, usage: &mut Usage) {
        "chat".clone_into(&mut usage.source);
        usage.agent = some(CHAT_AGENTS[skewed(rng, CHAT_AGENTS.len())]);
        usage.user = Some(self.user(rng));
        usage.team = rng
            .random_bool(0.6)
            .then(|| TEAMS[skewed(rng, TEAMS.len())].to_owned());
        if rng.random_bool(0.04) {
            image(rng, usage);
        } else {
            completion(rng, usage);
        }
    }

    /// Callers of the gateway come with a key; many name no agent, some no user, a few no model.
    fn gateway(&self, rng: &mut StdRng, usage: &mut Usage) {
        "openai-compat".clone_into(&mut usage.source);
        usage.api_key = Some(format!("key-{:02}", skewed(rng, 12) + 1));
        usage.agent = rng.random_bool(0.3).then(|| "code-assistant".to_owned());
        usage.user = rng.random_bool(0.7).then(|| self.user(rng));
        if rng.random_bool(0.35) {
            embedding(rng, usage);
        } else {
            completion(rng, usage);
        }
        if rng.random_bool(0.02) {
            usage.model = None;
            usage.provider = None;
            usage.cost_nanos = None;
        }
    }

    fn user(&self, rng: &mut StdRng) -> String {
        format!("user-{:03}", skewed(rng, self.users) + 1)
    }
}

/// Without any quantity.
fn unused(usage: &mut Usage) {
    usage.input_tokens = 0;
    usage.cached_input_tokens = 0;
    usage.cache_write_tokens = 0;
    usage.output_tokens = 0;
    usage.reasoning_tokens = 0;
    usage.images = 0;
}

fn workflow(rng: &mut StdRng, usage: &mut Usage) {
    "workflow".clone_into(&mut usage.source);
    usage.agent = some(WORKFLOW_AGENTS[skewed(rng, WORKFLOW_AGENTS.len())]);
    usage.team = some(TEAMS[skewed(rng, TEAMS.len())]);
    if rng.random_bool(0.15) {
        embedding(rng, usage);
    } else {
        completion(rng, usage);
    }
}

fn completion(rng: &mut StdRng, usage: &mut Usage) {
    let model = &MODELS[skewed(rng, MODELS.len())];
    usage.model = some(model.name);
    usage.provider = some(model.provider);
    usage.input_tokens = around(rng, PROMPT);
    usage.output_tokens = around(rng, ANSWER);
    if rng.random_bool(0.4) {
        usage.cached_input_tokens = rng.random_range(0..=usage.input_tokens);
    }
    if rng.random_bool(0.1) {
        usage.cache_write_tokens = rng.random_range(0..=usage.input_tokens - usage.cached_input_tokens);
    }
    if rng.random_bool(0.2) {
        usage.reasoning_tokens = rng.random_range(0..=usage.output_tokens);
    }
    let fresh = usage.input_tokens - usage.cached_input_tokens;
    let cost =
        fresh * model.input + usage.cached_input_tokens * model.cached + usage.output_tokens * model.output;
    usage.cost_nanos = model.priced.then_some(cost);
}

fn embedding(rng: &mut StdRng, usage: &mut Usage) {
    usage.kind = "embedding";
    usage.model = some(EMBEDDING.name);
    usage.provider = some(EMBEDDING.provider);
    usage.input_tokens = around(rng, PROMPT);
    usage.cost_nanos = Some(usage.input_tokens * EMBEDDING.input);
}

/// No token at all: it counts all the same.
fn image(rng: &mut StdRng, usage: &mut Usage) {
    let (name, provider, price) = IMAGE;
    usage.kind = "image";
    usage.model = some(name);
    usage.provider = some(provider);
    usage.images = rng.random_range(1..=4);
    usage.cost_nanos = Some(usage.images * price);
}

fn blank(completed_at: DateTime<Utc>) -> Usage {
    Usage {
        completed_at,
        source: String::new(),
        organization: String::new(),
        agent: None,
        user: None,
        model: None,
        provider: None,
        team: None,
        api_key: None,
        kind: "llm",
        outcome: Outcome::Completed,
        input_tokens: 0,
        cached_input_tokens: 0,
        cache_write_tokens: 0,
        output_tokens: 0,
        reasoning_tokens: 0,
        images: 0,
        cost_nanos: None,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "fields of an event are optional")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The first ones act most.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small"
)]
fn skewed(rng: &mut StdRng, count: usize) -> usize {
    let part = rng.random::<f64>().powi(2);
    ((part * count as f64) as usize).min(count - 1)
}

/// A length with a long tail; at least one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and 100,000"
)]
fn around(rng: &mut StdRng, mean: f64) -> u64 {
    let part = 1.0 - rng.random::<f64>();
    (-part.ln() * mean).clamp(1.0, 100_000.0) as u64
}
