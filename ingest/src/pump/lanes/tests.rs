use std::time::Duration;

use chrono::{DateTime, Utc};
use rollup::event::Rules;
use rollup::fold::Grouping;

use super::*;
use crate::batch::Policy;
use crate::decode::Payload;
use crate::dedupe::Scope;
use crate::lane::Fence;
use crate::source::{Record, StopReason};

fn policy() -> Policy {
    Policy {
        rules: Rules {
            currency: "USD".into(),
            start_at_ms: None,
        },
        max_age: None,
        window: Duration::from_secs(60),
        scope: Scope::Lane,
    }
}

fn partition(partition: i32) -> LaneId {
    LaneId::kafka("t", partition)
}

/// The lane of this partition, granted in this epoch.
fn grant(lanes: &mut Lanes, id: i32, epoch: i64) -> (GrantId, Grant) {
    let fence = Fence {
        epoch,
        seq: 0,
        position: None,
        last: None,
        generation: 0,
        journal: None,
        merged_up_to: JournalId::default(),
        tally: Tally::default(),
        ends_accepted_until: None,
    };
    let key = lanes.next_grant();
    let granted = Granted {
        fence,
        windows: Windows::default(),
        grouping: Grouping::default(),
        damage: None,
    };
    let (lane, grant) = Lane::new(partition(id), key, granted);
    lanes.insert(key, lane);
    (key, grant)
}

/// Folds a record into a lane. Whether the lane took it.
fn fold(lanes: &mut Lanes, key: GrantId, offset: i64) -> bool {
    let record = Record {
        lane: key,
        payload: Payload::Message {
            value: Some(b"no event".to_vec()),
            headers: Vec::new(),
        },
        next: Position::offset(offset + 1),
        source_time_ms: 0,
        as_of_ms: None,
        index: None,
        historical: false,
        last: None,
    };
    let folded = lanes.fold(key, |lane| {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        lane.current.push(record, &policy(), &mut lane.windows, now);
    });
    lanes.begin_batch();
    folded
}

fn stop() -> Stop {
    Stop {
        reason: StopReason::TopicChanged,
        detail: String::new(),
        resumable: None,
    }
}

#[test]
fn a_lane_that_is_lost_takes_what_is_folded_of_it_along_and_nothing_else() {
    let mut lanes = Lanes::default();
    let ((first, lost), (second, kept)) = (grant(&mut lanes, 0, 1), grant(&mut lanes, 1, 1));
    assert!(fold(&mut lanes, first, 0) && fold(&mut lanes, second, 0) && fold(&mut lanes, second, 1));
    assert_eq!(lanes.open().events, 3);
    lanes.remove(first).expect("it was ours");
    assert!(lost.lost.is_cancelled() && !kept.lost.is_cancelled());
    assert_eq!(lanes.open().events, 2);
    assert!(lanes.open().since.is_some());
    assert!(!fold(&mut lanes, first, 1), "read under a grant that is over");
    lanes.remove(second).expect("it was ours");
    assert_eq!(*lanes.open(), OpenBatch::default());
    assert!(lanes.remove(second).is_none());
}

#[test]
fn what_is_taken_to_be_committed_is_folded_no_longer() {
    let mut lanes = Lanes::default();
    let ((first, _), (second, _)) = (grant(&mut lanes, 0, 1), grant(&mut lanes, 1, 1));
    fold(&mut lanes, first, 0);
    let batches = lanes.close();
    assert_eq!(batches.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [first]);
    assert_eq!(*lanes.open(), OpenBatch::default());
    assert!(!lanes.have_any());
    fold(&mut lanes, second, 0);
    assert_eq!(lanes.open().events, 1, "a batch begins anew");
}

#[test]
fn whoever_asks_anew_is_the_only_one_who_is_waited_for() {
    let mut lanes = Lanes::default();
    let first = lanes.ask(&partition(0));
    let second = lanes.ask(&partition(0));
    assert!(first.unwanted.is_cancelled());
    assert!(!lanes.asked(&partition(0), &first.unwanted));
    lanes.ask_no_more(&partition(0));
    assert!(second.unwanted.is_cancelled(), "an older answer changes nothing");
    let third = lanes.ask(&partition(0));
    assert!(lanes.asked(&partition(0), &third.unwanted));
    lanes.ask_no_more(&partition(0));
    assert!(!third.unwanted.is_cancelled(), "it was answered already");
}

#[test]
fn a_lane_that_stopped_is_let_go_of_when_all_that_was_read_of_it_is_permanent() {
    let mut lanes = Lanes::default();
    let ((first, _), (second, _)) = (grant(&mut lanes, 0, 1), grant(&mut lanes, 1, 1));
    fold(&mut lanes, first, 0);
    lanes.stop(&partition(0), stop());
    lanes.stop(&partition(7), stop());
    assert_eq!(lanes.stopped(|_| false), [], "it has folded something");
    lanes.close();
    assert_eq!(lanes.stopped(|key| key == first), [], "that is on its way");
    assert_eq!(lanes.stopped(|key| key == second), [first]);
}

#[test]
fn a_lane_that_stopped_here_is_looked_at_before_it_is_asked_for() {
    let mut lanes = Lanes::default();
    let noted = lanes.halt(&partition(0));
    let asking = lanes.ask(&partition(0)).noted.expect("it stopped here");
    noted.cancel();
    assert!(asking.is_cancelled(), "the stop is stored");
    assert!(lanes.ask(&partition(1)).noted.is_none());
    grant(&mut lanes, 0, 2);
    assert!(lanes.ask(&partition(0)).noted.is_none(), "somebody resumed it");
    lanes.halt(&partition(0));
    lanes.ask_no_more(&partition(0));
    assert!(
        lanes.ask(&partition(0)).noted.is_none(),
        "it was another's in between"
    );
}

#[test]
fn a_lane_that_is_ours_again_is_not_lost_with_an_older_epoch() {
    let mut lanes = Lanes::default();
    let (key, _) = grant(&mut lanes, 0, 2);
    assert_eq!(lanes.key_in_epoch(&partition(0), 1), None);
    assert_eq!(lanes.key_in_epoch(&partition(0), 2), Some(key));
    assert_eq!(lanes.key_of(&partition(1)), None);
}
