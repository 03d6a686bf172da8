//! The ledger in MongoDB: the only place that names its collections and writes them.
//!
//! A module for each collection, with its documents; and one for each way in which several of them are used:
//!
//! * [`fences`], `leases`, [`journal`], `event_ids`, [`dead_letters`], `meta`, `rows`: the collections
//! * [`schema`]: creation, checks and refusals
//! * [`lanes`]: the remedy for a stopped lane
//! * [`leases`]: the workers that live, and the leader among them
//! * `oplog`, `pools`: what metrics tell of the server, and of the connections to it
//! * [`ledger`]: the one transaction that makes a batch permanent
//! * [`dead_letters`]: rejected records, and their replay
//! * [`reader`]: the rows as the reader asks for them

pub mod dead_letters;
pub mod fences;
pub mod journal;
pub mod lanes;
pub mod leases;
pub mod ledger;
pub mod reader;
pub mod schema;

mod acquire;
mod answer;
mod connection;
mod convert;
mod errors;
mod event_ids;
mod events;
mod listing;
mod meta;
mod names;
pub(crate) mod oplog;
pub(crate) mod pools;
mod rows;
mod session;
mod writes;

pub use connection::Store;
pub use errors::Error;
pub(crate) use meta::Verified;
pub use names::{
    DEAD_LETTERS, EVENT_IDS, FENCES, JOURNAL, LEASES, LEDGER, META, REJECTED, REPAIRS, ROLLUPS, VERSION,
};
