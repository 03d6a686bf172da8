//! The Kafka source against a real broker, with the loop and a fake ledger.

mod exactness;
mod fake;
mod faults;
mod stopped;
mod world;
