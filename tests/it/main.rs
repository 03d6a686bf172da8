//! The real program against real servers: what a user would see, with faults made on purpose.
//!
//! The suite starts its own MongoDB, one for all tests that only need a database of their own; a test that
//! breaks its server has one for itself.

mod changes;
mod cli;
mod consistency;
mod dashboard;
mod dead_letters;
mod errors;
mod exactness;
mod faults;
mod health;
mod history;
mod hostile_documents;
mod hostile_reader;
mod hours;
mod identity;
mod journal;
mod kafka;
mod kafka_storm;
mod kept;
mod leases;
mod long_answers;
mod metrics;
mod monitoring;
mod proof;
mod queries;
mod reader_consistency;
mod reader_contract;
mod reader_routes;
mod readme;
mod rebuild;
mod rejected;
mod replicas;
mod roles;
mod rows;
mod runbook;
mod silence;
mod slow_server;
mod stopped;
mod tls;
mod tokens;
mod verify;
mod verify_schedule;
