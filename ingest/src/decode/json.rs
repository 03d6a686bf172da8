//! Plain JSON.

use rollup::event::{RawEvent, Reason, Reject};

pub(super) fn read(value: &[u8]) -> Result<RawEvent<'_>, Reject> {
    let text = std::str::from_utf8(value).map_err(|_| Reject::record(Reason::InvalidUtf8))?;
    serde_json::from_str(text).map_err(|_| Reject::record(Reason::InvalidJson))
}
