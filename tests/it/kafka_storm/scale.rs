//! How large a storm is.

use std::time::Duration;

/// The topic that everything is sent to.
pub(super) const TOPIC: &str = "storm";
/// Its partitions.
pub(super) const PARTITIONS: i32 = 8;
/// Workers that share them.
pub(super) const WORKERS: usize = 3;
/// How long a member may be silent before the group goes on without it.
pub(super) const SESSION: Duration = Duration::from_secs(3);
