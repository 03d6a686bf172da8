//! The lanes that the source has, on their way to the ledger.

use crate::lane::LaneId;

/// One after the other: an older topology must not arrive behind a newer one.
#[derive(Debug, Default)]
pub(super) struct Topology {
    /// The lanes that the source had when it last said so.
    known: Option<Vec<LaneId>>,
    /// The newest that are not on their way to the ledger yet.
    newest: Option<Vec<LaneId>>,
    is_being_stored: bool,
}

impl Topology {
    /// The source has these lanes now. How many of them are new.
    pub(super) fn changed(&mut self, lanes: Vec<LaneId>) -> usize {
        let added = self.known.as_ref().map_or(0, |known| {
            lanes.iter().filter(|lane| !known.contains(lane)).count()
        });
        self.known = Some(lanes.clone());
        self.newest = Some(lanes);
        added
    }

    /// What is to be stored now, if anything.
    pub(super) fn next(&mut self) -> Option<Vec<LaneId>> {
        if self.is_being_stored {
            return None;
        }
        let lanes = self.newest.take();
        self.is_being_stored = lanes.is_some();
        lanes
    }

    /// What was given out is stored.
    pub(super) const fn stored(&mut self) {
        self.is_being_stored = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(partitions: i32) -> Vec<LaneId> {
        (0..partitions)
            .map(|partition| LaneId::kafka("t", partition))
            .collect()
    }

    #[test]
    fn a_newer_topology_waits_for_an_older_one_and_those_between_are_never_stored() {
        let mut topology = Topology::default();
        assert_eq!(topology.next(), None);
        assert_eq!(topology.changed(lanes(2)), 0, "nothing was known before");
        assert_eq!(topology.next(), Some(lanes(2)));
        assert_eq!(topology.changed(lanes(3)), 1);
        assert_eq!(topology.changed(lanes(5)), 2);
        assert_eq!(topology.next(), None, "one is on its way");
        topology.stored();
        assert_eq!(topology.next(), Some(lanes(5)));
        topology.stored();
        assert_eq!(topology.next(), None);
    }
}
