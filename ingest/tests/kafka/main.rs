//! The Kafka source against a real broker, with the loop and the fake ledger.

mod damaged;
mod exactness;
mod faults;
mod stopped;
mod world;
