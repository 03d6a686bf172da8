//! The Kafka source against a real broker, with the loop and a ledger in memory.

mod exactness;
mod faults;
mod memory;
mod stopped;
mod world;
