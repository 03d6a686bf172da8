//! The testkit: real servers, faults and traffic on one machine.
//!
//! The demo, the integration tests and the benchmarks stand on this crate. It starts MongoDB and Kafka as
//! processes of their own (nothing is linked), puts a [`proxy`] in front of them to make networks fail on
//! purpose, and makes request-completed events whose right totals are known ([`traffic`], [`trace`]). A
//! [`world`] is a ledger of a test's own, and workers on it.

pub mod check;
pub mod error;
pub mod feed;
pub mod kafka;
pub mod measure;
pub mod mongodb;
pub mod net;
pub mod process;
pub mod product;
pub mod proxy;
pub mod scratch;
pub mod shared;
pub mod sink;
pub mod tools;
pub mod trace;
pub mod traffic;
pub mod wait;
pub mod workload;
pub mod world;

pub use error::{Error, Result};
pub use wait::{PATIENCE, eventually, now};
