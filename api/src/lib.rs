//! The reader: questions of people and programs to the ledger, and their answers.
//!
//! * [`reader`]: the port through which stored rows are read; one answer reads one snapshot
//! * [`rows`]: the rows that answer a question
//! * [`router`]: the public routes over a [`Reader`](reader::Reader)
//! * [`admin`]: metrics and health, on their own port
//! * [`serve`](fn@serve): a listener, a router and a signal to stop
//! * [`tls`]: the certificate of a listener
//!
//! Totals are summed where the rows are, never capped on the way, and a failed read is an error, never a zero. The clock
//! is a parameter.

pub mod admin;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod reader;
pub mod rows;
pub mod settings;
pub mod tls;

mod access;
mod answer;
mod application;
mod bucket;
mod budget;
mod cache;
mod csv_table;
mod cursor;
mod dashboard;
mod envelope;
mod etag;
#[cfg(test)]
mod fake;
mod group_by;
mod held;
mod host;
mod key_interner;
mod limit;
mod metrics;
mod openapi;
mod pages;
mod parameter;
mod period_columns;
mod problem;
mod query;
mod question;
mod range;
mod ranking;
mod rejected;
mod render;
mod route;
mod router;
mod routes;
mod serve;
mod share;
mod shared_snapshot;
#[cfg(test)]
mod tests;
mod totals;
mod turns;

pub use access::token::check_access;
pub use application::QUESTIONS_AT_ONCE;
pub use axum::Router;
pub use router::router;
pub use serve::{listen, serve};
pub use settings::{Access, Claims, Jwt, Key, Limits, NoPointer, Pointer, Settings, SettingsError};
