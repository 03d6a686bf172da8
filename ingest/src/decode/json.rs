//! Plain JSON: one object, the event itself.

use rollup::event::{RawEvent, Reason, Reject};

pub(super) fn read(value: &[u8]) -> Result<RawEvent<'_>, Reject> {
    serde_json::from_str(text(value)?).map_err(|_| Reject::record(Reason::InvalidJson))
}

pub(super) fn text(value: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(value).map_err(|_| Reject::record(Reason::InvalidUtf8))
}
