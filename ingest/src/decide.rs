//! The one judge: what becomes of a record.
//!
//! The batch that books asks it, and the dry run of a replay. It knows no ledger: the caller says which ids are known,
//! and what time it is. The first line that holds decides:
//!
//! | | what was read | what becomes of it |
//! |---|---|---|
//! | 1 | more than a record may have, or more than the server can deliver | rejected: `too_large` |
//! | 2 | a change that is a delete | skipped: it leaves the bill as it is |
//! | 3 | an insert without its document; an update, a replacement, anything else that is no insert | rejected: `image_missing` |
//! | 4 | a Kafka record without a value | skipped: connectors write one after a deletion |
//! | 5 | a Kafka record whose `ce_type` is not ours | skipped, whatever its value is |
//! | 6 | a Kafka record with an empty value | rejected: `empty_record` |
//! | 7 | a Kafka record whose content type is not JSON, nor CloudEvents as JSON; or in a frame that holds no JSON | rejected: `unsupported_content_type` |
//! | 8 | a Kafka record of several events that holds none; more than 4,096 | skipped; rejected: `too_large` |
//! | 9 | a connector's record of a deletion; of a change, or without the document | skipped; rejected: `image_missing` |
//! | 10 | what is no event, no CloudEvent and no document of one | rejected, with the reason of the format |
//! | 11 | a field that is there twice | rejected: `duplicate_field` |
//! | 12 | a `type` of its own; `request.corrected` | skipped; rejected: `unsupported_type` |
//! | 13 | `testMode` | skipped |
//! | 14 | an event that completed before the ledger's start | skipped |
//! | 15 | a field that breaks a rule of the contract, or contradicts another | rejected, with the reason and the field |
//! | 16 | an event whose identity is known, with the same quantities | a duplicate, whatever the clock says by now |
//! | 17 | the same with other quantities | rejected: `id_reused` |
//! | 18 | an event that completed before 2000, longer ago than it may have, or more than 5 min ahead | rejected: `too_old`, `in_the_future` |
//! | 19 | any other event | counted |
//!
//! What is counted and not known is counted as such: a request without a cost as unpriced, a completed one of kind `llm`
//! or `embedding` without any quantity as unmetered. One that failed without either cost nothing. Every rejection says in
//! one sentence what was found and what to send instead.
//!
//! What a Kafka value is, in this order, once the frame of a schema registry is off: a whole CloudEvent, or an array of
//! them, where the content type says so · the data of one where there are `ce_*` headers · an array of events, each
//! judged as a record of its own · the event where it has an `eventId` or an `organizationId` · a whole CloudEvent where
//! it has a `specversion` · what a connector copied, where it has an `op`, or an `operationType` and a `documentKey` ·
//! what is in it, where it has a `payload` · the event.

use chrono::{DateTime, TimeDelta, Utc};
use rollup::event::{Checked, Event, Field, Reason, Reject, Rules, Skip, check_time};

use crate::decode::{Name, Payload, Source};
use crate::identity::{Identity, Quantities};
use crate::ledger::ReplayRequest;
use crate::source::Record;

/// What becomes of a record.
#[derive(Debug, PartialEq)]
pub enum Decision<'a> {
    /// It is usage that nobody has counted yet.
    Count {
        /// The event.
        event: Event<'a>,
        /// What it is known by from now on.
        identity: Identity,
        /// What tells it from another event that has its identity.
        quantities: Quantities,
    },
    /// Its identity is known.
    Duplicate,
    /// It is no usage, by rule.
    Skip(Skip),
    /// It is a dead letter.
    Reject(Reject),
}

/// What becomes of a record, and what could be read of it either way.
#[derive(Debug)]
pub struct Decided<'a> {
    /// Which service emitted it.
    pub source: Source,
    /// What it is known by, as far as that could be read.
    pub name: Name<'a>,
    /// What becomes of it.
    pub decision: Decision<'a>,
}

/// The clock that a record is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    now: DateTime<Utc>,
    /// How long ago its event may have completed; `None`: any time since 2000.
    max_age: Option<TimeDelta>,
}

impl Time {
    /// That of a record that was read now. History may be of any age.
    #[must_use]
    pub fn of_record(record: &Record, max_age: Option<TimeDelta>, now: DateTime<Utc>) -> Self {
        let max_age = if record.historical { None } else { max_age };
        Self { now, max_age }
    }

    /// That of a dead letter: it grows no older by waiting, and what was there before the ledger is history.
    #[must_use]
    pub fn of_letter(letter: &ReplayRequest, max_age: Option<TimeDelta>, now: DateTime<Utc>) -> Self {
        let waited = TimeDelta::milliseconds(now.timestamp_millis().saturating_sub(letter.source_time_ms));
        let max_age = match letter.payload {
            Payload::Document(_) => None,
            _ => max_age.and_then(|age| age.checked_add(&waited.max(TimeDelta::zero()))),
        };
        Self { now, max_age }
    }
}

/// Judges a record: see the module.
pub fn decide<'a>(
    payload: &'a Payload,
    rules: &Rules,
    time: Time,
    counted: impl FnOnce(Identity) -> Option<Quantities>,
) -> Decided<'a> {
    let read = payload.check(rules);
    let decision = match read.checked {
        Err(reject) => Decision::Reject(reject),
        Ok(Checked::Skipped(skip)) => Decision::Skip(skip),
        Ok(Checked::Event(event)) => decide_event(event, &read.name, time, counted),
    };
    Decided {
        source: read.source,
        name: read.name,
        decision,
    }
}

fn decide_event<'a>(
    event: Event<'a>,
    name: &Name<'_>,
    time: Time,
    counted: impl FnOnce(Identity) -> Option<Quantities>,
) -> Decision<'a> {
    let identity = name.identity().expect("an event that is valid has an identity");
    let quantities = Quantities::of(event.dimensions.kind, &event.counters);
    match counted(identity) {
        Some(known) if known.agree(quantities) => return Decision::Duplicate,
        Some(_) => return Decision::Reject(reused(identity)),
        None => {}
    }
    match check_time(event.completed_at_ms, time.now, time.max_age) {
        Err(reject) => Decision::Reject(reject),
        Ok(()) => Decision::Count {
            event,
            identity,
            quantities,
        },
    }
}

/// An event has the identity of another one.
pub(crate) fn reused(identity: Identity) -> Reject {
    let field = match identity {
        Identity::Event(_) => Field::EventId,
        Identity::Document(_) | Identity::Copy(_) => Field::DocumentId,
    };
    Reject::field(Reason::IdReused, field)
}

#[cfg(test)]
mod tests;
