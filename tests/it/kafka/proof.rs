//! Every number is the sum of its entries at any instant: with several lanes in one transaction, and others' lanes.

use super::*;
use crate::verify::assert_clean;

/// Four partitions between two workers, one of which is killed and comes again: its lanes are taken over, and given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn there_is_no_false_alarm_while_lanes_change_hands() {
    let topic = Topic::new("proof", 4).await;
    let mut workers = [topic.worker(&[]), topic.worker(&[])];
    let traffic = async {
        for turn in 0..8_u64 {
            for partition in 0..4_u64 {
                let first = (turn * 4 + partition) * 200;
                topic.send(i32::try_from(partition).expect("small"), first..first + 200);
            }
            if turn % 3 == 2 {
                let worker = &mut workers[usize::try_from(turn % 2).expect("small")];
                worker.process().kill9().expect("kills");
                *worker = topic.worker(&[]);
            }
            let sent = i64::try_from((turn + 1) * 800).expect("small");
            eventually("half of it is read", || async {
                topic.sum("read").await >= sent / 2
            })
            .await;
        }
        eventually("everything is read", || async {
            topic.sum("read").await >= 6_400
        })
        .await;
    };
    let checks = async {
        loop {
            // Before the first start there is no ledger.
            if topic.sum("read").await > 0 {
                assert_clean(topic.world.variables(&[])).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        () = traffic => {}
        () = checks => {}
    }
    assert_clean(topic.world.variables(&[])).await;
    assert_eq!(topic.sum("counted").await, 6_400);
}
