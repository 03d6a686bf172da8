//! Events as they are sent: one JSON object, or one document.

use bson::oid::ObjectId;
use bson::{Bson, DateTime as BsonTime, Document};
use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::usage::{Outcome, Usage, decimal};

/// What an event is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Its `eventId`; a duplicate is another document, or record, with the same one.
    EventId,
    /// The `_id` of its document, which MongoDB keeps unique: there are no duplicates. Not for Kafka.
    Document,
}

/// What a ledger must do with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Add this usage.
    Counted(Box<Usage>),
    /// Nothing: it was counted before.
    Duplicate,
    /// Nothing: it is no usage by rule.
    Skipped,
    /// Keep it as a dead letter.
    Rejected {
        /// The reason's code.
        reason: &'static str,
        /// The field at fault.
        field: &'static str,
    },
}

/// One event to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What must become of it.
    pub verdict: Verdict,
    /// The event.
    pub event: Map<String, Value>,
    /// The `_id` of its document.
    pub document_id: Bson,
}

impl Item {
    /// The JSON object, as Kafka carries it.
    #[must_use]
    pub fn json(&self) -> String {
        Value::Object(self.event.clone()).to_string()
    }

    /// What Kafka keys it by: its organization, so that an event and its duplicate share a partition.
    #[must_use]
    pub fn key(&self) -> &str {
        self.event
            .get("organizationId")
            .and_then(Value::as_str)
            .unwrap_or("none")
    }

    /// The document, as MongoDB carries it: UTC times as dates, and the numbers of the chat service, which
    /// is written in JavaScript, as doubles.
    #[must_use]
    pub fn document(&self) -> Document {
        let doubles = self.event.get("source").and_then(Value::as_str) == Some("chat");
        let mut document = Document::new();
        document.insert("_id", self.document_id.clone());
        for (name, value) in &self.event {
            document.insert(name, to_bson(name, value, doubles));
        }
        document
    }

    /// The same event in another document.
    pub(super) fn again(&self, number: u64) -> Self {
        let document_id = match &self.document_id {
            Bson::ObjectId(id) => {
                let mut bytes = id.bytes();
                bytes[4..].copy_from_slice(&unique(!0, number));
                Bson::ObjectId(ObjectId::from_bytes(bytes))
            }
            other => Bson::String(format!("{}-again-{number}", other.as_str().unwrap_or("document"))),
        };
        Self {
            verdict: Verdict::Duplicate,
            event: self.event.clone(),
            document_id,
        }
    }
}

/// How an event writes `completedAt`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TimeForm {
    Text,
    TextWithOffset,
    Millis,
}

/// How an event writes its cost.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CostForm {
    Amount,
    /// As programs write small numbers.
    Exponent,
    Number,
    Nanos,
    Cents,
}

/// An event before it is decided what is wrong with it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) prefix: String,
    pub(super) seed: u64,
    pub(super) number: u64,
    pub(super) identity: Identity,
    pub(super) arrives: DateTime<Utc>,
    pub(super) time_form: TimeForm,
    pub(super) cost_form: CostForm,
    pub(super) usage: Usage,
}

impl Draft {
    pub(super) fn counted(self) -> Item {
        let (event, document_id) = (self.event(), self.document_id());
        Item {
            verdict: Verdict::Counted(Box::new(self.usage)),
            event,
            document_id,
        }
    }

    pub(super) fn test_mode(self) -> Item {
        self.skipped("testMode", Value::Bool(true))
    }

    pub(super) fn of_other_type(self) -> Item {
        self.skipped("type", Value::from("request.started"))
    }

    /// With a field changed (`Null`: removed), for which it must be rejected.
    pub(super) fn rejected(
        &self,
        reason: &'static str,
        field: &'static str,
        changes: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Item {
        let mut event = self.event();
        for (name, value) in changes {
            if value.is_null() {
                event.remove(name);
            } else {
                event.insert(name.to_owned(), value);
            }
        }
        Item {
            verdict: Verdict::Rejected { reason, field },
            event,
            document_id: self.document_id(),
        }
    }

    fn skipped(&self, field: &str, value: Value) -> Item {
        let mut event = self.event();
        event.insert(field.to_owned(), value);
        Item {
            verdict: Verdict::Skipped,
            event,
            document_id: self.document_id(),
        }
    }

    fn name(&self) -> String {
        format!("{}-{}-{}", self.prefix, self.seed, self.number)
    }

    /// One in eight is a text: collections with both kinds exist.
    fn document_id(&self) -> Bson {
        if self.number.is_multiple_of(8) {
            return Bson::String(self.name());
        }
        let seconds = u32::try_from(self.arrives.timestamp()).unwrap_or(0).to_be_bytes();
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds);
        bytes[4..].copy_from_slice(&unique(hash(&self.prefix, self.seed), self.number));
        Bson::ObjectId(ObjectId::from_bytes(bytes))
    }

    fn event(&self) -> Map<String, Value> {
        let name = (self.identity == Identity::EventId).then(|| self.name());
        render(&self.usage, name.as_deref(), self.time_form, self.cost_form)
    }
}

/// The event that says this usage.
pub(crate) fn render(
    usage: &Usage,
    event_id: Option<&str>,
    time_form: TimeForm,
    cost_form: CostForm,
) -> Map<String, Value> {
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    if let Some(id) = event_id {
        set("eventId", Value::from(id));
    }
    set("completedAt", completed_at(usage.completed_at, time_form));
    set("source", Value::from(usage.source.as_str()));
    set("organizationId", Value::from(usage.organization.as_str()));
    for (name, text) in [
        ("agentSlug", &usage.agent),
        ("userId", &usage.user),
        ("model", &usage.model),
        ("provider", &usage.provider),
        ("teamId", &usage.team),
        ("apiKeyId", &usage.api_key),
    ] {
        if let Some(text) = text {
            set(name, Value::from(text.as_str()));
        }
    }
    if usage.kind != "llm" {
        set("kind", Value::from(usage.kind));
    }
    match usage.outcome {
        Outcome::Completed => {}
        Outcome::Failed => set("outcome", Value::from("failed")),
        Outcome::Aborted => set("outcome", Value::from("aborted")),
    }
    for (name, quantity) in [
        ("inputTokens", usage.input_tokens),
        ("outputTokens", usage.output_tokens),
        ("cachedInputTokens", usage.cached_input_tokens),
        ("cacheWriteTokens", usage.cache_write_tokens),
        ("reasoningTokens", usage.reasoning_tokens),
        ("images", usage.images),
    ] {
        if quantity > 0 {
            set(name, Value::from(quantity));
        }
    }
    if let Some(nanos) = usage.cost_nanos {
        let (name, value) = cost(nanos, cost_form);
        set(name, value);
    }
    event
}

fn completed_at(at: DateTime<Utc>, form: TimeForm) -> Value {
    match form {
        TimeForm::Text => Value::from(at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        TimeForm::TextWithOffset => FixedOffset::east_opt(2 * 3600).map_or(Value::Null, |zone| {
            Value::from(
                at.with_timezone(&zone)
                    .to_rfc3339_opts(SecondsFormat::Millis, false),
            )
        }),
        TimeForm::Millis => Value::from(at.timestamp_millis()),
    }
}

fn cost(nanos: u64, form: CostForm) -> (&'static str, Value) {
    match form {
        CostForm::Amount => ("cost", Value::from(decimal(u128::from(nanos)))),
        CostForm::Exponent => ("cost", Value::from(format!("{nanos}e-09"))),
        CostForm::Number => ("cost", number(nanos, 1e9)),
        CostForm::Nanos => ("costNanos", Value::from(nanos)),
        CostForm::Cents => ("costEstimateCents", number(nanos, 1e7)),
    }
}

/// Below 2^53 nanos the quotient is the double nearest to the true decimal, whose shortest form is that
/// very decimal: exact.
#[allow(clippy::cast_precision_loss, reason = "costs are far below 2^53")]
fn number(nanos: u64, in_one: f64) -> Value {
    json!(nanos as f64 / in_one)
}

fn to_bson(name: &str, value: &Value, doubles: bool) -> Bson {
    match value {
        Value::String(text) if name == "completedAt" && text.ends_with('Z') => {
            DateTime::parse_from_rfc3339(text).map_or_else(
                |_| Bson::from(text.as_str()),
                |at| BsonTime::from_millis(at.timestamp_millis()).into(),
            )
        }
        Value::String(text) => Bson::from(text.as_str()),
        Value::Bool(flag) => Bson::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if !doubles => Bson::Int64(integer),
            _ => Bson::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        _ => Bson::Null,
    }
}

fn unique(space: u64, number: u64) -> [u8; 8] {
    (space << 40 | number & ((1 << 40) - 1)).to_be_bytes()
}

/// FNV-1a.
fn hash(text: &str, seed: u64) -> u64 {
    let bytes = text.bytes().chain(seed.to_be_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
