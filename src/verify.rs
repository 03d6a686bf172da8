//! Rows against entries, while lanes go on.
//!
//! ```text
//! FOLLOW   read each lane's journal, from where it was read to, to its end        one snapshot after the other
//! PAGE     of the snapshot in which all of them were at their ends, read rows     these are the sums of those entries
//! COMPARE  each row with its sum                                                  next page: follow on, and compare on
//! ```
//! Entries are taken in by the document, and the content that each names as its predecessor's shows that none is left out.
//! Rows, entries and fences are of one instant, so nothing that goes on meanwhile looks like a fault: a commit, another
//! owner of a lane, documents that were made one. Of a document that holds several commits only those are taken that
//! were not taken before.
//!
//! * [`scope`]: which rows
//! * [`chain`]: the documents of a lane, one after the other
//! * [`entries`]: their sums
//! * [`reach`]: which of them have all their entries
//! * [`pass`]: all of it, page by page; [`pace`]: how much of a machine that takes
//! * [`finding`], [`report`]: what is found, and how it is told
//! * `schedule`, `gauges`: beside a worker, now and then, and what metrics tell of it

pub mod chain;
pub mod entries;
pub mod finding;
pub mod pace;
pub mod pass;
pub mod progress;
pub mod reach;
pub mod report;
pub mod scope;

mod files;
pub(crate) mod gauges;
pub(crate) mod schedule;

#[cfg(test)]
mod tests;
