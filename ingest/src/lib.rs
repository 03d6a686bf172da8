//! From a source of events to committed batches.
//!
//! * [`source`]: the signals of a source to the loop; [`change_stream`] and [`kafka`] give them
//! * [`decode`]: from payloads to raw events of the contract
//! * [`decide`]: the one judge of records
//! * [`dedupe`]: the window in which a duplicate is recognised
//! * [`batch`]: the records of a lane between reading and committing
//! * [`lane`]: lanes, positions and fences, and the outcome of a commit that is read off them
//! * [`lease`]: the workers that live, and the leader among them
//! * [`ledger`]: the port through which a batch becomes permanent
//! * `fake`: the fake ledger, for simulation (feature `fakes`)
//! * [`pump`]: the one loop that owns all of it
//! * [`server_error`]: the meaning of an error of MongoDB, and who must act
//!
//! Nothing is counted here that is not committed, and nothing is committed without the position it was
//! read at.

pub mod batch;
pub mod change_stream;
pub mod decide;
pub mod decode;
pub mod dedupe;
#[cfg(any(test, feature = "fakes"))]
pub mod fake;
pub mod health;
mod hold;
pub mod identity;
pub mod journal;
pub mod kafka;
pub mod lane;
pub mod lease;
pub mod ledger;
pub mod metrics;
mod outcome;
pub mod pump;
mod rejections;
pub mod server_error;
pub mod source;
