//! The names of the collections, and the version of what is in them.

/// Rows of the ledger.
pub const LEDGER: &str = "usageLedger";
/// Rollups.
pub const ROLLUPS: &str = "usageRollups";
/// One document per lane.
pub const FENCES: &str = "usageFences";
/// Workers that live, and those of them that lead change streams.
pub const LEASES: &str = "usageLeases";
/// What was counted, event by event, a document per commit and lane.
pub const JOURNAL: &str = "usageJournal";
/// Ids of counted events that are unique in the whole ledger (`USAGE_LEDGER_DEDUPE_SCOPE=ledger`).
pub const EVENT_IDS: &str = "usageEventIds";
/// Rejected records.
pub const DEAD_LETTERS: &str = "usageDeadLetters";
/// A view of the rejected records that wait: of each its organization, day and reason, and nothing of its content.
pub const REJECTED: &str = "usageRejected";
/// What a job changed last, by which it knows whether it did.
pub const REPAIRS: &str = "usageRepairs";
/// The description of this ledger.
pub const META: &str = "usageMeta";

/// The version of everything stored.
pub const VERSION: i32 = 1;
