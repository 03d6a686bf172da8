//! Rows against entries: every row is the sum of its entries, and so is every rollup.
//!
//! * [`key`]: rows of both collections in one order, organization by organization
//! * [`finest`]: sums while entries come in
//! * [`sums`]: what rows must be, in as much memory as is given, and in files beyond
//! * [`compare`]: what rows are not
//! * [`repair`]: the changes by which they become what they must be
//!
//! Nothing here knows where rows and entries come from.

pub mod compare;
pub mod finest;
pub mod key;
pub mod repair;
pub mod sums;

mod run;
