//! What becomes of the topic as a whole: partitions are added, it is deleted, or was never there. Pure: it is told what
//! was seen.

use std::collections::BTreeSet;

use crate::source::{Stop, StopReason};

/// How often in a row a topic must be missing before it counts as deleted: brokers that start know less.
const MISSING: u32 = 3;

/// A topic that is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It never was.
    Never,
    /// It was before, and may be again, or is known to be deleted.
    Unclear,
    /// It was deleted, with these partitions of ours.
    Deleted(BTreeSet<i32>),
}

/// A topic that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Partitions that were ours when the topic was deleted, and were not assigned to us again.
    pub(super) not_ours: Vec<i32>,
    /// Whether it has another number of partitions than before.
    pub(super) is_changed: bool,
}

/// What is known of the topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    partitions: Option<i32>,
    /// Looks in a row that did not find it.
    missing: u32,
    /// The partitions that were ours when it was last seen, or became ours since.
    ours: BTreeSet<i32>,
    /// It was deleted, with these partitions.
    gone: BTreeSet<i32>,
}

impl Topic {
    /// Partitions became ours.
    pub(super) fn assign(&mut self, partitions: &[i32]) {
        self.ours.extend(partitions);
    }

    /// The partitions that were ours when it was last seen, or became ours since.
    pub(super) fn ours(&self) -> Vec<i32> {
        self.ours.iter().copied().collect()
    }

    /// Whether a partition of ours was deleted with the topic.
    pub(super) fn is_gone(&self, partition: i32) -> bool {
        self.gone.contains(&partition)
    }

    /// The topic is not there.
    pub(super) fn missing(&mut self) -> Missing {
        if self.partitions.is_none() {
            return Missing::Never;
        }
        self.missing += 1;
        if self.missing != MISSING {
            return Missing::Unclear;
        }
        self.gone = std::mem::take(&mut self.ours);
        Missing::Deleted(self.gone.clone())
    }

    /// The topic has so many partitions, of which these are assigned to us.
    pub(super) fn found(&mut self, partitions: i32, assigned: impl Iterator<Item = i32>) -> Found {
        let before = self.partitions.replace(partitions);
        self.missing = 0;
        self.ours = assigned.collect();
        let gone = std::mem::take(&mut self.gone);
        Found {
            not_ours: gone.difference(&self.ours).copied().collect(),
            is_changed: before != Some(partitions),
        }
    }
}

/// Why a lane stops whose topic is no longer what it was.
pub(super) fn changed(detail: String) -> Stop {
    Stop {
        reason: StopReason::TopicChanged,
        detail,
        resumable: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_deleted_when_it_was_there_and_is_missing_for_long() {
        let mut topic = Topic::default();
        for _ in 0..MISSING * 2 {
            assert_eq!(topic.missing(), Missing::Never);
        }
        topic.assign(&[0, 1]);
        topic.found(2, [0, 1].into_iter());
        for _ in 0..2 {
            // One look that finds it, and all begins anew.
            assert_eq!(topic.missing(), Missing::Unclear);
            assert_eq!(topic.missing(), Missing::Unclear);
            topic.found(2, [0, 1].into_iter());
        }
        topic.missing();
        topic.missing();
        assert_eq!(topic.missing(), Missing::Deleted(BTreeSet::from([0, 1])));
        assert_eq!(topic.missing(), Missing::Unclear, "it is told once");
        assert!(topic.is_gone(1) && !topic.is_gone(2));
        assert_eq!(topic.ours(), [0; 0]);
    }

    #[test]
    fn a_topic_that_was_created_again_has_the_partitions_that_are_assigned_anew() {
        let mut topic = Topic::default();
        let first = topic.found(2, [0, 1].into_iter());
        assert!(first.is_changed);
        for _ in 0..MISSING {
            topic.missing();
        }
        topic.assign(&[1]);
        let again = topic.found(2, [1].into_iter());
        let expected = Found {
            not_ours: vec![0],
            is_changed: false,
        };
        assert_eq!(again, expected);
        assert!(!topic.is_gone(0) && !topic.is_gone(1));
        assert_eq!(topic.ours(), [1]);
        assert!(topic.found(3, [1].into_iter()).is_changed);
    }
}
