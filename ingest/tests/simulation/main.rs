//! The loop under everything that can happen to it, in virtual time, against a ledger in memory.
//!
//! * `beforehand`: what is stored before a history begins
//! * `logs`: what a source holds, and what is to become of each record
//! * `oracle`: the same sums, the naive way
//! * `cluster`: processes with a scripted source each, among which lanes move
//! * `hand`: one process with a source that is moved by hand
//! * `random`: many small histories, each checked against the oracle
//! * `letters`: the same, of ids that come in many lanes and as dead letters that are judged again
//! * `refused`: records that the server refuses
//! * `named`: one test per lesson of commits; `lanes`: of the life of lanes

mod cluster;
mod lanes;
mod leases;
mod letters;
mod logs;
mod manual_source;
mod oracle;
mod preloaded;
mod random;
mod refused;
mod scenarios;
mod small_servers;
mod source;
mod world;
