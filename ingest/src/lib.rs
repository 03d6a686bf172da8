//! From a source of events to committed batches.
//!
//! * [`source`]: what a source says to the loop; [`change_stream`] and [`kafka`] speak it
//! * [`decode`]: from what was read to what the contract says of it
//! * [`decide`]: what becomes of it: the one judge
//! * [`dedupe`]: the window in which a duplicate is recognised
//! * [`batch`]: the records of a lane between reading and committing
//! * [`lane`]: lanes, positions and fences, and how an unknown outcome is read off them
//! * [`lease`]: who lives, and who leads
//! * [`ledger`]: the port through which a batch becomes permanent
//! * `fake`: the fake ledger, for simulation (feature `fakes`)
//! * [`pump`]: the one loop that owns all of it
//! * [`server_error`]: what an error of MongoDB means, and who must act
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
