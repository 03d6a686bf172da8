//! An exact usage ledger for AI platforms.
//!
//! Services finish requests and say so in events. `usage-ledger` consumes these events from MongoDB change
//! streams or Kafka, merges them into rows keyed by agent, model, user and period, keeps precomputed rollups
//! beside them, and serves both.
//!
//! # Architecture
//!
//! ```text
//! chat, workflow, openai-compat
//!        │ insertOne / produce
//!        ▼
//! events collection ──change stream──▶ ingest ──one transaction──▶ usageLedger, usageRollups, usageFences,
//!   or Kafka topic ───────────────────▶   │                        usageDedupe, usageDeadLetters
//!                                         │                             │ one snapshot per answer
//!                                       rollup (pure)                   ▼
//!                                                                      api ──▶ dashboard, scripts, auditors
//! ```
//!
//! | part | job | may depend on |
//! |---|---|---|
//! | `rollup` | events, periods, money, keys, the fold: values in, values out | nothing outside |
//! | `ingest` | sources, decoding, de-duplication, batches, the commit loop; owns the port [`ingest::ledger::Ledger`] | `rollup` |
//! | `api` | routes, queries, access; owns the port [`api::reader::Reader`] | `rollup` |
//! | `src` | settings, signals, telemetry, and [`store`], which implements both ports in MongoDB | all of these |
//! | `deploy/stack` | the demo, a load generator, the benchmark of the whole program | nothing of these |
//! | `tests/testkit` | real servers, a proxy that speaks MongoDB's protocol, traffic whose totals are known, worlds | nothing of these |
//!
//! # Invariants
//!
//! 1. The position in a source is stored in the transaction that counts what lies before it, and nowhere
//!    else. So redelivery, crash, rebalance and fail-over change nothing.
//! 2. A commit is applied as a whole, at most once, and only while every fence in it is where the commit
//!    expects it: `{_id, epoch, seq}`. Who loses a lane writes nothing to it any more.
//! 3. While the outcome of a commit is in doubt, nothing but the same content is tried again. Each content has a random
//!    id, which the fence takes with it: what was applied is that content and no other.
//! 4. Exactness never depends on where a batch ends. A batch keeps its records until they are committed, and is halved
//!    where a server does not take it: how many statements a transaction may have is learned.
//! 5. Every record read ends as exactly one of counted, duplicate, skipped and dead letter, in the
//!    transaction that moves past it; the four add up to the records read.
//! 6. All granularities and rollups of an event are made from one row of one fold, and change in one
//!    transaction. So parents equal the sum of their children, at every instant.
//! 7. Sums are 128 bits wide and narrowed with a check; amounts are integer nano-units. No float ever holds
//!    money or a counter.
//! 8. A lane that cannot go on stops, loudly. Nothing here skips ahead by itself.
//! 9. Of rows and rollups only fields that never change are indexed, so that adding to a counter touches no index.
//! 10. Nothing reads the clock, the environment or a socket but the edges: clock, source, ledger and stop
//!     signal are parameters.
//! 11. Metric labels come from closed sets.
//! 12. Leases say who lives and who leads, fences who may write: safety never depends on a lease.
//! 13. No error of a server ends the process once it has started. One table says who must act; what it does not know is
//!     waited out, and said.
//! 14. A failed read is an error, never a zero; an answer says how fresh it is and what is missing.
//!
//! Deliberately absent: an HTTP endpoint for events (a second way in would need a second log), a cluster
//! protocol of our own (partitions, consumer groups and the fences are enough), and any in-memory queue that
//! holds the only copy of an event.

pub mod command;
pub mod config;
pub mod store;

mod app;
mod failure;
mod files;
mod open_letters;
mod telemetry;
