//! What an event is, and its limits.

use std::borrow::Cow;

use super::document_id::DocumentId;
use crate::counters::Counters;

/// Stands for an agent or a user that the event does not name.
pub const UNATTRIBUTED: &str = "__unattributed__";
/// Stands for a model or a provider that the event does not name.
pub const UNKNOWN: &str = "__unknown__";
/// Stands for a team or an API key that the event does not name.
pub const NONE: &str = "__none__";

/// The `type` of a finished request; that of an event without one.
pub const COMPLETED: &str = "request.completed";
/// The `type` of a correction of one.
pub const CORRECTED: &str = "request.corrected";

/// The largest quantity that one event may report, also for a cost in nano-units.
pub const MAX_QUANTITY: i64 = 1_000_000_000_000_000;
/// The longest text, in characters.
pub const MAX_TEXT_CHARS: usize = 128;
/// The largest record, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

/// What a request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Kind {
    /// A call of a language model.
    #[default]
    Llm,
    /// Texts to vectors.
    Embedding,
    /// Generated images.
    Image,
    /// Speech to text.
    Transcription,
    /// Text to speech.
    Speech,
    /// A call of a connected system.
    Connector,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::Llm,
        Kind::Embedding,
        Kind::Image,
        Kind::Transcription,
        Kind::Speech,
        Kind::Connector,
    ];

    /// The name used in events, rows and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Llm => "llm",
            Kind::Embedding => "embedding",
            Kind::Image => "image",
            Kind::Transcription => "transcription",
            Kind::Speech => "speech",
            Kind::Connector => "connector",
        }
    }
}

/// The dimensions of a row besides its period. `S` is a borrowed text while decoding and an owned one in
/// a fold. No part is ever absent: a sentinel stands for what the event did not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimensions<S> {
    /// Whose usage it is.
    pub organization: S,
    /// The assistant, or [`UNATTRIBUTED`].
    pub agent: S,
    /// Who serves the model, or [`UNKNOWN`].
    pub provider: S,
    /// The model, or [`UNKNOWN`].
    pub model: S,
    /// The person, or [`UNATTRIBUTED`].
    pub user: S,
    /// The person's team, or [`NONE`].
    pub team: S,
    /// The API key, or [`NONE`].
    pub api_key: S,
    /// The emitting service.
    pub source: S,
    /// What the request was.
    pub kind: Kind,
}

impl<S> Dimensions<S> {
    /// Dimensions of these texts, which come in the order of the fields.
    pub fn of(texts: [S; 8], kind: Kind) -> Self {
        let [organization, agent, provider, model, user, team, api_key, source] = texts;
        Self {
            organization,
            agent,
            provider,
            model,
            user,
            team,
            api_key,
            source,
            kind,
        }
    }

    /// The texts, in the order of the fields.
    pub const fn texts(&self) -> [&S; 8] {
        [
            &self.organization,
            &self.agent,
            &self.provider,
            &self.model,
            &self.user,
            &self.team,
            &self.api_key,
            &self.source,
        ]
    }

    /// The same dimensions with every text converted.
    pub fn map<'s, T>(&'s self, mut convert: impl FnMut(&'s S) -> T) -> Dimensions<T> {
        Dimensions {
            organization: convert(&self.organization),
            agent: convert(&self.agent),
            provider: convert(&self.provider),
            model: convert(&self.model),
            user: convert(&self.user),
            team: convert(&self.team),
            api_key: convert(&self.api_key),
            source: convert(&self.source),
            kind: self.kind,
        }
    }
}

/// What makes an event the same event when it is seen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The emitter's own id; the same id again, wherever it is, is a duplicate.
    EventId(Cow<'a, str>),
    /// The `_id` of the event's document.
    Document(DocumentId<'a>),
}

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// What makes it the same event when it is seen again.
    pub identity: Identity<'a>,
    /// When the request completed: milliseconds since 1970-01-01T00:00:00Z. Decides the period.
    pub completed_at_ms: i64,
    /// Who used what.
    pub dimensions: Dimensions<Cow<'a, str>>,
    /// How much of it.
    pub counters: Counters,
    /// Whether its cost had more decimals than are kept.
    pub is_cost_rounded: bool,
}

/// A record that is no usage by rule, and is only counted as skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// `type` is not one that this ledger books.
    OtherType,
    /// `testMode` is true.
    TestMode,
    /// Completed before the instant at which this ledger starts.
    BeforeStart,
    /// The deletion of an event's document: the bill stays as it is.
    Deleted,
    /// A Kafka record without a value: what a connector writes after a deletion.
    Tombstone,
    /// A record of several events that holds none.
    EmptyBatch,
}

/// What a structurally valid record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<'a> {
    /// Usage to be booked.
    Event(Event<'a>),
    /// No usage, by rule.
    Skipped(Skip),
}
