//! The headers of a Kafka record.

use rollup::event::Reject;

use super::json;

/// A header as it was read: its name and its value.
pub(super) type Header = (String, Vec<u8>);

/// The text of a header; `None` where it is not there, or empty.
pub(super) fn header<'a>(headers: &'a [Header], name: &str) -> Result<Option<&'a str>, Reject> {
    let found = headers
        .iter()
        .find(|(header, _)| header.eq_ignore_ascii_case(name));
    let text = found.map(|(_, value)| json::text(value)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}
