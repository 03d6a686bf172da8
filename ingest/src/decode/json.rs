//! Plain JSON: one object, the event itself.

use rollup::event::{RawEvent, Reason, Reject};
use serde_json::error::Category;

pub(super) fn read(value: &[u8]) -> Result<RawEvent<'_>, Reject> {
    serde_json::from_str(text(value)?).map_err(|error| malformed(&error))
}

pub(super) fn text(value: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(value).map_err(|error| {
        let at = error.valid_up_to();
        Reject::record(Reason::InvalidUtf8).found(format_args!("is no UTF-8 at its byte {at}"))
    })
}

/// Where a value stops being what is read. The parser's own words quote the value.
pub(super) fn malformed(error: &serde_json::Error) -> Reject {
    let what = match error.classify() {
        Category::Eof => "is JSON that ends",
        Category::Data => "is no object",
        Category::Io | Category::Syntax => "is no JSON",
    };
    let (line, column) = (error.line(), error.column());
    Reject::record(Reason::InvalidJson).found(format_args!("{what} at line {line}, column {column}"))
}
