//! The contract of an event: a finished request, as an emitter describes it.
//!
//! Decoding is split in two. A decoder of a wire format (JSON, BSON, CloudEvents) fills a [`RawEvent`] with
//! the values of the emitter; [`validate`] is the only judge of it, so that every format obeys the same
//! rules. Nothing is clamped, defaulted or guessed beyond the contract: an event that breaks a rule is
//! rejected with a [`Reason`] and the name of the field.

mod contract;
mod document_id;
mod extended_json;
mod hex;
mod raw;
mod reason;
mod reject;
mod time;
mod validate;
mod value;

pub use contract::{
    COMPLETED, CORRECTED, Checked, Dimensions, Event, Identity, Kind, MAX_QUANTITY, MAX_RECORD_BYTES,
    MAX_TEXT_CHARS, NONE, Skip, UNATTRIBUTED, UNKNOWN,
};
pub use document_id::DocumentId;
pub use raw::{Field, RawEvent};
pub use reason::Reason;
pub use reject::{Reject, shown};
pub use time::{MAX_CLOCK_SKEW, MIN_COMPLETED_AT_MS, check_time};
pub use validate::{About, Rules, validate};
pub use value::Value;
