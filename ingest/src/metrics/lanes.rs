//! Where lanes stand, for Prometheus. Told when it is asked for: the loop does nothing for it.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use crate::health::{Health, LaneHealth};

/// How many lanes are in each state.
pub(super) struct LaneStates {
    health: Health,
    lanes: IntGaugeVec,
}

impl LaneStates {
    pub(super) fn new(health: Health) -> Result<Self, prometheus::Error> {
        let options = Opts::new(
            "usage_ledger_lane_state",
            "Lanes that the source gave to this process, by where they stand; one that is `stopped` waits for a person",
        );
        Ok(Self {
            health,
            lanes: IntGaugeVec::new(options, &["state"])?,
        })
    }
}

impl Collector for LaneStates {
    fn desc(&self) -> Vec<&Desc> {
        self.lanes.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (state, lanes) in LaneHealth::STATES.iter().zip(self.health.lanes_by_state()) {
            self.lanes.with_label_values(&[*state]).set(lanes);
        }
        self.lanes.collect()
    }
}
