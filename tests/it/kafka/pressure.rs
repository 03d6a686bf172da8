//! MongoDB stands still while far more arrives than a worker may hold.

use testkit::mongodb::{Mongo, Options};

use super::{LEAVE, Topic, event};
use testkit::eventually;
use testkit::world::World;

/// Bytes of a record.
const RECORD: usize = 128 * 1024;
/// Records: half a gigabyte.
const RECORDS: i64 = 4_096;
/// What a worker may take, with 32 MiB of librdkafka's, 64 signals of at most 1 MiB and a record, three batches of
/// 8 MiB, and itself.
const MOST: u64 = 256 * 1024;

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a size");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_holds_a_bounded_part_of_what_waits_and_stays_in_its_group() {
    let broker = testkit::shared::broker().await;
    let mut mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let world = World::on(&mongo, "kafka_pressure").await;
    let topic = Topic::on(&broker, world, "pressure", 4, &[]).await;
    let quick = "session.timeout.ms=3000,heartbeat.interval.ms=500,max.poll.interval.ms=6000";
    let mut worker = topic.worker(&[("KAFKA_PROPERTIES", quick)]);
    for partition in 0..4 {
        let first = u64::try_from(partition).expect("fits");
        topic.send(partition, first..first + 1);
        topic.wait_next(partition, 1).await;
    }
    let pid = worker.process().pid();
    let idle = resident(pid);
    mongo.pause().expect("freezes");
    let sender = topic.sender();
    let padding = "x".repeat(RECORD);
    for number in 0..RECORDS {
        let record = event(&format!("large-{number}")).replacen('{', &format!(r#"{{"x":"{padding}","#), 1);
        let partition = i32::try_from(number % 4).expect("fits");
        sender
            .send(partition, "acme", Some(record.as_bytes()))
            .expect("sends");
    }
    sender.flush().expect("arrives");
    // Everything has arrived, and the worker takes no more: it is as large as it gets.
    let (mut before, mut most) = (idle, idle);
    eventually("the worker takes no more", || {
        let now = resident(pid);
        let settled = now > idle && now.abs_diff(before) < 1024;
        (before, most) = (now, most.max(now));
        async move {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            settled
        }
    })
    .await;
    println!("{idle} KiB resident when idle, {most} under pressure");
    assert!(most < MOST, "{most} KiB resident");
    mongo.resume().expect("goes on");
    for partition in 0..4 {
        topic.wait_next(partition, 1 + RECORDS / 4).await;
        let epoch = topic.fence(partition).await.get_i64("epoch").expect("a number");
        assert_eq!(epoch, 1, "the worker was never put out of its group");
    }
    assert_eq!(topic.sum("counted").await, 4 + RECORDS);
    worker.stop(LEAVE).await.expect("leaves");
}
