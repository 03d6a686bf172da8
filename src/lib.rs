//! An exact usage ledger for AI platforms.
//!
//! Services finish requests and say so in events. `usage-ledger` consumes these events from MongoDB change
//! streams or Kafka, merges them into rows keyed by agent, model, user and period, keeps precomputed rollups
//! beside them, and serves both.
//!
//! A stranger reads on in this order: the picture and the words, the two walks, the invariants; then the recipe of the
//! change to be made.
//!
#![doc = include_str!("architecture.md")]
//!
#![doc = include_str!("recipes.md")]
//!
#![doc = include_str!("metrics.md")]

pub mod command;
pub mod config;
pub mod rebuild;
pub mod store;
pub mod verify;

mod app;
#[cfg(test)]
mod architecture;
mod certificate;
mod failure;
mod files;
mod known;
#[cfg(test)]
mod metrics;
mod open_letters;
mod oplog;
mod telemetry;
