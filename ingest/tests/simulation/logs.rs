//! What a source holds: the records of each lane, and what is to become of each.

use std::borrow::Cow;

use ingest::decode::Payload;
use ingest::lane::{LaneId, LastRecord, Position};
use ingest::source::{GrantId, Record};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rollup::counters::{Counter, Counters};
use rollup::event::{Dimensions, DocumentId, Event, Identity, Kind, NONE};
use serde_json::{Value, json};

use crate::world::START_MS;

/// The organization with a row that has room for small quantities only.
pub(crate) const FULL: &str = "full";
/// The largest quantity of an event: more than there is room for.
pub(crate) const HUGE: i64 = 1_000_000_000_000_000;
/// What the row holds beforehand.
pub(crate) const PRESET: i64 = i64::MAX - HUGE / 2;
/// The day of that row.
pub(crate) const FULL_AT_MS: i64 = 1_767_607_200_000;
/// The dedupe window of the simulation.
pub(crate) const WINDOW_MS: i64 = 10_000;

/// A finished request, as the test knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) id: String,
    pub(crate) at_ms: i64,
    pub(crate) organization: &'static str,
    pub(crate) agent: Option<&'static str>,
    pub(crate) model: Option<(&'static str, &'static str)>,
    pub(crate) user: Option<&'static str>,
    pub(crate) source: &'static str,
    pub(crate) outcome: Option<&'static str>,
    /// `None`: nobody knows it.
    pub(crate) input: Option<i64>,
    pub(crate) output: Option<i64>,
    pub(crate) cost_nanos: Option<i64>,
}

impl Usage {
    /// A plain request.
    pub(crate) fn plain(id: &str, organization: &'static str, input: i64) -> Self {
        Self {
            id: id.into(),
            at_ms: FULL_AT_MS,
            organization,
            agent: Some("bot"),
            model: Some(("openai", "gpt")),
            user: Some("ann"),
            source: "chat",
            outcome: None,
            input: Some(input),
            output: Some(0),
            cost_nanos: Some(7),
        }
    }

    fn random(rng: &mut StdRng, id: String) -> Self {
        // Around the ends of weeks, months and years.
        let days = [
            "2025-12-28",
            "2025-12-31",
            "2026-01-01",
            "2026-01-05",
            "2026-02-28",
            "2026-03-01",
            "2026-03-02",
        ];
        let day = pick(rng, &days).parse::<chrono::NaiveDate>().expect("a day");
        let midnight = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
        Self {
            id,
            at_ms: (midnight + rng.random_range(0..86_400_000)).min(START_MS),
            organization: pick(rng, &["acme", "initech", FULL]),
            agent: pick(rng, &[None, Some("bot"), Some("a/b"), Some("a%2Fb")]),
            model: pick(
                rng,
                &[
                    None,
                    Some(("openai", "gpt")),
                    Some(("azure", "gpt")),
                    Some(("self", "llama")),
                ],
            ),
            user: pick(rng, &[None, Some("ann"), Some("bob")]),
            source: pick(rng, &["chat", "workflow", "openai-compat", "batch"]),
            outcome: pick(rng, &[None, None, Some("failed"), Some("aborted")]),
            input: rng.random_bool(0.7).then(|| rng.random_range(0..1_000)),
            output: rng.random_bool(0.7).then(|| rng.random_range(0..1_000)),
            cost_nanos: rng.random_bool(0.8).then(|| rng.random_range(0..1_000_000)),
        }
    }

    /// As the fold takes it, also where no emitter could send it. Only of plain requests.
    pub(crate) fn event(&self) -> Event<'static> {
        let mut counters = Counters::default();
        counters[Counter::Requests] = 1;
        let input = self.input.expect("metered");
        counters[Counter::InputTokens] = input;
        counters[Counter::TotalTokens] = input;
        counters[Counter::CostNanos] = self.cost_nanos.expect("priced");
        let (provider, model) = self.model.expect("known");
        let dimensions = Dimensions {
            organization: self.organization,
            agent: self.agent.expect("named"),
            provider,
            model,
            user: self.user.expect("named"),
            team: NONE,
            api_key: NONE,
            source: self.source,
            kind: Kind::Llm,
        };
        Event {
            identity: Identity::Document(DocumentId::None),
            completed_at_ms: self.at_ms,
            dimensions: dimensions.map(|text| Cow::Borrowed(*text)),
            counters,
            is_cost_rounded: false,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let at = chrono::DateTime::from_timestamp_millis(self.at_ms).expect("an instant");
        let mut json = json!({
            "eventId": self.id, "completedAt": at.to_rfc3339(), "organizationId": self.organization,
            "agentSlug": self.agent, "userId": self.user, "source": self.source,
            "inputTokens": self.input, "outputTokens": self.output,
        });
        if let Some((provider, model)) = self.model {
            json["provider"] = provider.into();
            json["model"] = model.into();
        }
        if let Some(outcome) = self.outcome {
            json["outcome"] = outcome.into();
        }
        if let Some(nanos) = self.cost_nanos {
            json["costNanos"] = nanos.into();
        }
        json
    }
}

fn pick<T: Copy>(rng: &mut StdRng, choice: &[T]) -> T {
    choice[rng.random_range(0..choice.len())]
}

/// What is to become of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Counted(Usage),
    Duplicate,
    Skipped,
    /// A dead letter with this reason.
    Rejected(&'static str),
    /// Its id has not been read before: a dead letter, `overflow`.
    Overflow,
    /// Its id has been read before and was rejected as an overflow, perhaps after this record was judged.
    OverflowOrDuplicate,
}

/// One event of a record that holds several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) index: u32,
    pub(crate) is_last: bool,
}

/// One record of a lane, or one event of such a record.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) offset: i64,
    /// Which event of its record it is; `None`: there is one.
    pub(crate) part: Option<Part>,
    pub(crate) source_time_ms: i64,
    pub(crate) payload: Vec<u8>,
    pub(crate) expected: Expected,
}

impl Item {
    /// Where it is in its lane.
    pub(crate) fn place(&self) -> String {
        match self.part {
            Some(part) => format!("{}.{}", self.offset, part.index),
            None => self.offset.to_string(),
        }
    }

    /// Where the lane stands when it is done.
    fn next(&self) -> Position {
        match self.part {
            Some(Part {
                index,
                is_last: false,
            }) => Position::Offset {
                next: self.offset,
                index: index + 1,
            },
            _ => Position::offset(self.offset + 1),
        }
    }

    pub(crate) fn record(&self, lane: GrantId) -> Record {
        Record {
            lane,
            payload: Payload::Message {
                value: Some(self.payload.clone()),
                headers: Vec::new(),
            },
            next: self.next(),
            source_time_ms: self.source_time_ms,
            as_of_ms: Some(self.source_time_ms),
            index: self.part.map(|part| part.index),
            historical: false,
            last: Some(LastRecord {
                offset: self.offset,
                timestamp_ms: self.source_time_ms,
                hash: self.offset,
            }),
        }
    }
}

/// All records of a lane.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) lane: LaneId,
    pub(crate) items: Vec<Item>,
    /// Where reading would go on after the last.
    pub(crate) end: i64,
}

impl Log {
    /// A lane with these plain events, one millisecond apart, without gaps between their offsets.
    pub(crate) fn plain(lane: &str, usages: impl IntoIterator<Item = Usage>) -> Self {
        let item = |(offset, usage): (i64, Usage)| Item {
            offset,
            part: None,
            source_time_ms: START_MS - 60_000 + offset,
            payload: usage.json().to_string().into_bytes(),
            expected: Expected::Counted(usage),
        };
        let items: Vec<Item> = (0..).zip(usages).map(item).collect();
        Self {
            lane: LaneId::from_stored(format!("kafka/{lane}/0")),
            end: i64::try_from(items.len()).expect("short"),
            items,
        }
    }

    /// A lane of the simulation, with everything that may be in one.
    pub(crate) fn random(number: usize, length: usize, seed: u64) -> Self {
        let mut writer = Writer {
            rng: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            number,
            now_ms: START_MS - 3_600_000,
            counted: Vec::new(),
            overflowed: Vec::new(),
            free: Vec::new(),
        };
        let mut items: Vec<Item> = Vec::with_capacity(length);
        let mut offset = 0;
        while items.len() < length {
            // Transaction markers take offsets, and have no record.
            offset += writer.rng.random_range(0..10) / 8;
            writer.now_ms += writer.rng.random_range(0..1_000);
            // Most records hold one event.
            let events = writer.rng.random_range(0..24_u32).saturating_sub(18).max(1);
            for index in 0..events {
                let (payload, expected) = writer.write(items.len());
                items.push(Item {
                    offset,
                    part: (events > 1).then_some(Part {
                        index,
                        is_last: index + 1 == events,
                    }),
                    source_time_ms: writer.now_ms,
                    payload,
                    expected,
                });
            }
            offset += 1;
        }
        Self {
            lane: LaneId::kafka("events", i32::try_from(number).expect("few lanes")),
            end: offset + writer.rng.random_range(0..2),
            items,
        }
    }

    /// The index of the first record at or after a position.
    pub(crate) fn from(&self, position: Option<&Position>) -> usize {
        let next = match position {
            Some(Position::Offset { next, index }) => (*next, *index),
            _ => (0, 0),
        };
        let place = |item: &Item| (item.offset, item.part.map_or(0, |part| part.index));
        self.items.partition_point(|item| place(item) < next)
    }
}

struct Writer {
    rng: StdRng,
    number: usize,
    now_ms: i64,
    /// With the source time of the record that counts.
    counted: Vec<(i64, Usage)>,
    overflowed: Vec<Usage>,
    /// Ids whose record was rejected: another record may have them.
    free: Vec<String>,
}

impl Writer {
    fn write(&mut self, at: usize) -> (Vec<u8>, Expected) {
        let usage = Usage::random(&mut self.rng, format!("{}-{at}", self.number));
        match self.rng.random_range(0..20) {
            0..=3 => self.again(usage),
            4 | 5 => self.huge(usage),
            6 | 7 => self.invalid(usage),
            8 => {
                let mut json = usage.json();
                match self.rng.random_range(0..2) {
                    0 => json["type"] = "request.started".into(),
                    _ => json["testMode"] = true.into(),
                }
                (json.to_string().into_bytes(), Expected::Skipped)
            }
            _ => self.count(usage),
        }
    }

    fn count(&mut self, mut usage: Usage) -> (Vec<u8>, Expected) {
        if let Some(id) = self.free.pop_if(|_| self.rng.random_bool(0.3)) {
            usage.id = id;
        }
        self.counted.push((self.now_ms, usage.clone()));
        (usage.json().to_string().into_bytes(), Expected::Counted(usage))
    }

    /// The same id again, sometimes with another content: the first is the one that counts.
    fn again(&mut self, other: Usage) -> (Vec<u8>, Expected) {
        let oldest = self.now_ms - WINDOW_MS;
        let from = self.counted.partition_point(|(at_ms, _)| *at_ms < oldest);
        if from == self.counted.len() {
            return self.count(other);
        }
        let known = &self.counted[self.rng.random_range(from..self.counted.len())].1;
        let known = known.clone();
        let (usage, expected) = match self.rng.random_range(0..4) {
            0 | 1 => (known, Expected::Duplicate),
            // Another place, the same usage.
            2 => (
                Usage {
                    agent: other.agent,
                    user: other.user,
                    model: other.model,
                    at_ms: other.at_ms,
                    ..known
                },
                Expected::Duplicate,
            ),
            _ => (
                Usage {
                    input: Some(known.input.unwrap_or(0) + 1_000_000),
                    ..known
                },
                Expected::Rejected("id_reused"),
            ),
        };
        (usage.json().to_string().into_bytes(), expected)
    }

    fn huge(&mut self, usage: Usage) -> (Vec<u8>, Expected) {
        if !self.overflowed.is_empty() && self.rng.random_bool(0.3) {
            let usage = pick(&mut self.rng, &self.overflowed.iter().collect::<Vec<_>>()).clone();
            return (
                usage.json().to_string().into_bytes(),
                Expected::OverflowOrDuplicate,
            );
        }
        let usage = Usage::plain(&usage.id, FULL, HUGE);
        self.overflowed.push(usage.clone());
        (usage.json().to_string().into_bytes(), Expected::Overflow)
    }

    /// A rejected record; its id is free for a later, valid one.
    fn invalid(&mut self, usage: Usage) -> (Vec<u8>, Expected) {
        let mut json = usage.json();
        let reason = match self.rng.random_range(0..5) {
            0 => return (b"{".to_vec(), Expected::Rejected("invalid_json")),
            1 => return (Vec::new(), Expected::Rejected("empty_record")),
            2 => {
                json["organizationId"] = Value::Null;
                "missing_field"
            }
            3 => {
                json["inputTokens"] = (-1).into();
                "out_of_range"
            }
            // Known only after the id was looked up.
            _ => {
                json["completedAt"] = "2027-01-01T00:00:00Z".into();
                "in_the_future"
            }
        };
        self.free.push(usage.id);
        (json.to_string().into_bytes(), Expected::Rejected(reason))
    }
}
