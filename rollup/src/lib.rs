//! The pure core of usage-ledger: events and their rules, periods, amounts, and the fold of many events to few rows.
//!
//! Nothing here reads a clock, a file or a socket. Every function takes values and returns values, so that
//! each can be tested against a naive oracle and replayed from a seed.
//!
//! * [`event`]: the contract of `request.completed`, and the validation of every rule of it
//! * [`period`]: granularities, period keys and the calendar of the ledger's time zone
//! * [`kept`]: the granularities of a ledger, and from when on each is whole
//! * [`decimal`]: decimal numbers in every form that programs write
//! * [`money`]: amounts as integer nano-units of a currency
//! * [`key`]: the canonical `_id` of a stored row
//! * [`counters`]: the counters of a row, and their exact sums
//! * [`fold`]: events to rows and rollups
//! * [`audit`]: rows against the entries that they must be the sums of, and how they become that
//! * [`inert`]: texts of events as terminals and logs may show them
//! * [`clock`]: the clock, as a parameter of the other crates

pub mod audit;
pub mod clock;
pub mod counters;
pub mod decimal;
pub mod event;
pub mod fold;
pub mod inert;
pub mod journal;
pub mod kept;
pub mod key;
mod marginal;
pub mod money;
pub mod period;
