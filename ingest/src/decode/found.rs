//! What was found in a record.

use rollup::event::{RawEvent, Skip};

/// What a record holds, before the rules of the contract are asked.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// An event, as its emitter wrote it.
    Event(RawEvent<'a>),
    /// Nothing that could be one, by rule.
    Skipped(Skip),
}

impl Found<'_> {
    /// The same, which nothing borrows.
    pub(super) fn into_owned(self) -> Found<'static> {
        match self {
            Found::Event(event) => Found::Event(event.into_owned()),
            Found::Skipped(skip) => Found::Skipped(skip),
        }
    }
}
