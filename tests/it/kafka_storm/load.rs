//! What is sent: events of three services, duplicates, test requests, broken ones, tombstones, and transactions of
//! which many are aborted.

use std::collections::{BTreeSet, HashMap};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::feed::due;
use testkit::kafka::records::{Ended, Partition, Sender};
use testkit::now;
use testkit::traffic::{Generator, Item, Options, Verdict};

use super::scale::{PARTITIONS, TOPIC};

/// Events per second outside of transactions, and how often some are sent.
const RATE: u32 = 400;
const TICK: Duration = Duration::from_millis(20);
/// How many organizations; the first writes to every partition, each other one to one of them.
const ORGANIZATIONS: usize = 17;

/// What was sent, and what must become of it.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// By event id: what its first copy in a partition must become.
    pub(super) verdicts: HashMap<String, Verdict>,
    /// Ids that arrived beyond doubt.
    arrived: BTreeSet<String>,
    /// Ids of which every copy was aborted beyond doubt.
    aborted: BTreeSet<String>,
}

impl Sent {
    fn note(&mut self, item: &Item) -> String {
        let id = item.event["eventId"].as_str().expect("an id").to_owned();
        if item.verdict != Verdict::Duplicate {
            self.verdicts.insert(id.clone(), item.verdict.clone());
        }
        id
    }

    fn merge(&mut self, other: Sent) {
        self.verdicts.extend(other.verdicts);
        self.arrived.extend(other.arrived);
        self.aborted.extend(other.aborted);
    }

    /// Where the topic does not hold what was sent to it: then nothing else can be judged.
    pub(super) fn problems(&self, topic: &[Partition]) -> Vec<String> {
        let records = topic.iter().flat_map(|partition| &partition.records);
        let held: BTreeSet<String> = records
            .filter_map(|record| event_id(record.value.as_deref()?))
            .collect();
        let lost = self.arrived.difference(&held);
        let lost = lost.map(|id| format!("the topic does not hold `{id}`, which had arrived"));
        let aborted = self.aborted.intersection(&held);
        lost.chain(aborted.map(|id| format!("the topic shows `{id}`, which was aborted")))
            .collect()
    }
}

/// The id of the event in a record, if it holds one.
pub(super) fn event_id(value: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some(event["eventId"].as_str()?.to_owned())
}

/// Sends for as long as the storm lasts.
pub(super) struct Load {
    plain: JoinHandle<Sent>,
    transactions: JoinHandle<Sent>,
}

impl Load {
    pub(super) fn start(brokers: &str, seed: u64, length: Duration) -> Self {
        let until = Instant::now() + length;
        let (plain, transactional) = (brokers.to_owned(), brokers.to_owned());
        Self {
            plain: thread::spawn(move || send(&plain, seed, until)),
            transactions: thread::spawn(move || transact(&transactional, seed, until)),
        }
    }

    /// Waits until everything has arrived.
    pub(super) fn join(self) -> Sent {
        let mut sent = self.plain.join().expect("sends");
        sent.merge(self.transactions.join().expect("transacts"));
        sent
    }
}

fn generator(seed: u64, prefix: &str) -> Generator {
    Generator::new(Options {
        seed,
        prefix: prefix.into(),
        organizations: ORGANIZATIONS,
        users: 5,
        duplicates: 0.05,
        skipped: 0.02,
        invalid: 0.01,
        ..Options::default()
    })
}

/// An event and its duplicates share a partition.
fn partition(item: &Item, organizations: &[String]) -> i32 {
    let of = match organizations.iter().position(|name| name == item.key()) {
        Some(0) | None => item.event["eventId"]
            .as_str()
            .map_or(0, |id| id.bytes().map(usize::from).sum()),
        Some(organization) => organization,
    };
    i32::try_from(of).expect("fits") % PARTITIONS
}

fn send(brokers: &str, seed: u64, until: Instant) -> Sent {
    let sender = Sender::new(brokers, TOPIC, &[]).expect("a producer");
    let mut generator = generator(seed, "plain");
    let organizations = generator.organizations().to_vec();
    let (mut sent, begun, mut made) = (Sent::default(), Instant::now(), 0);
    while Instant::now() < until {
        while made < due(RATE, begun.elapsed()) {
            made += 1;
            let item = generator.item(now());
            let to = partition(&item, &organizations);
            let id = sent.note(&item);
            sender
                .send(to, item.key(), Some(item.json().as_bytes()))
                .expect("sends");
            sent.arrived.insert(id);
            if made.is_multiple_of(101) {
                let poison: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"\xff\xfe"), Some(b"{\"eventId\":")];
                let which = usize::try_from(made / 101 % 4).expect("fits");
                sender.send(to, item.key(), poison[which]).expect("sends");
            }
        }
        thread::sleep(TICK);
    }
    sender.flush().expect("everything arrives");
    sent
}

/// Transactions one after the other; of those that are aborted every second one is sent again.
fn transact(brokers: &str, seed: u64, until: Instant) -> Sent {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut generator = generator(seed, "transaction");
    let organizations = generator.organizations().to_vec();
    let mut sent = Sent::default();
    let new = || Sender::transactional(brokers, TOPIC, "storm").expect("a producer");
    let (mut sender, mut again) = (new(), Vec::new());
    while Instant::now() < until {
        let count = rng.random_range(5..60);
        let mut items: Vec<Item> = std::mem::take(&mut again);
        items.extend((0..count).map(|_| generator.item(now())));
        let wish = match rng.random_bool(0.6) {
            true => Ended::Committed,
            false => Ended::Aborted,
        };
        sender.begin().expect("begins");
        let mut ids = BTreeSet::new();
        for item in &items {
            ids.insert(sent.note(item));
            sender
                .send(
                    partition(item, &organizations),
                    item.key(),
                    Some(item.json().as_bytes()),
                )
                .expect("sends");
        }
        sender.flush().expect("everything arrives, to be aborted or not");
        thread::sleep(Duration::from_millis(rng.random_range(0..200)));
        match sender.end(wish) {
            Ok(Ended::Committed) => {
                sent.aborted.retain(|id| !ids.contains(id));
                sent.arrived.extend(ids);
            }
            Ok(Ended::Aborted) => {
                sent.aborted.extend(ids.difference(&sent.arrived).cloned());
                if rng.random_bool(0.5) {
                    again = items;
                }
            }
            // Nobody knows what became of it; the topic will tell.
            Err(error) => {
                eprintln!("a transaction in doubt: {error}");
                sent.aborted.retain(|id| !ids.contains(id));
                sender = new();
            }
        }
    }
    // A transaction is answered before its marks are in every partition, and until then hides what is behind it.
    // The next sender of the id is let in when they are: from here on the topic stays as it is.
    drop(new());
    sent
}
