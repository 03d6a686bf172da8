//! The same ids again and again: in one lane or in many, broken, too early, and judged again when a person says so.

use std::collections::BTreeMap;
use std::time::Duration;

use ingest::dedupe::Scope;
use ingest::fake::{FakeLedger, LetterState, Plan, StoredLetter};
use ingest::lane::LaneId;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rollup::fold::Delta;

use crate::logs::{Expected, Item, Log, Usage};
use crate::oracle::{Rows, check_coherence, preset};
use crate::preloaded::commit_alone;
use crate::random::{Case, case, config, happen};
use crate::world::{self, START_MS};

/// Different events, over all lanes.
const EVENTS: usize = 25;
/// Longer than any history.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// How far ahead of the clock an event may have completed.
const SKEW_MS: i64 = 300_000;
/// How long an event that comes too early is too early, at most.
const EARLY_MS: i64 = 20_000;

/// The event of a number, always the same: some complete in the future.
fn event(number: usize, seed: u64) -> Usage {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number as u64));
    let mut usage = Usage::plain(&format!("event {number}"), "acme", rng.random_range(1..1_000_000));
    usage.at_ms = match rng.random_bool(0.4) {
        true => START_MS + SKEW_MS + rng.random_range(0..EARLY_MS),
        false => START_MS - rng.random_range(0..86_400_000),
    };
    usage
}

/// A lane of copies of these events, some of them broken; and which events are in it whole.
fn log(lane: usize, length: usize, case: &Case) -> (Log, Vec<usize>) {
    let mut rng = StdRng::seed_from_u64(case.seed.wrapping_add(lane as u64));
    let lanes = case.lengths.len();
    let mut whole = Vec::new();
    let mut item = |offset: i64| {
        let mut number = rng.random_range(0..EVENTS);
        if case.scope == Scope::Lane {
            // Copies of an event have its key.
            number = number / lanes * lanes + lane;
        }
        let mut json = event(number, case.seed).json();
        match rng.random_bool(0.2) {
            true => json["inputTokens"] = (-1).into(),
            false => whole.push(number),
        }
        Item {
            offset,
            part: None,
            source_time_ms: START_MS - 60_000 + offset,
            payload: json.to_string().into_bytes(),
            expected: Expected::Skipped,
        }
    };
    let end = i64::try_from(length).expect("short");
    let log = Log {
        lane: LaneId::kafka("events", i32::try_from(lane).expect("few lanes")),
        items: (0..end).map(&mut item).collect(),
        end,
    };
    (log, whole)
}

/// Waits until nothing is left to be judged again.
async fn judged(ledger: &FakeLedger) {
    let is_marked = || {
        ledger.read(|stored| {
            stored
                .letters
                .values()
                .any(|letter| letter.state == LetterState::ReplayRequest)
        })
    };
    let done = async {
        while is_marked() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), done)
        .await
        .expect("letters are judged again");
}

async fn simulate(case: &Case) {
    let (logs, whole): (Vec<Log>, Vec<Vec<usize>>) = case
        .lengths
        .iter()
        .enumerate()
        .map(|(lane, length)| log(lane, *length, case))
        .unzip();
    let records: usize = case.lengths.iter().sum();
    let distinct: BTreeMap<usize, Usage> = whole
        .into_iter()
        .flatten()
        .map(|number| (number, event(number, case.seed)))
        .collect();
    let cluster = happen(case, WINDOW, logs).await;
    tokio::time::sleep(Duration::from_millis(u64::try_from(EARLY_MS).expect("positive"))).await;
    // Verdicts that are older than that first.
    judged(&cluster.ledger).await;
    cluster.ledger.mark_letters();
    judged(&cluster.ledger).await;
    let ledger = cluster.stop().await;
    ledger.set_plan(Plan::default());
    commit_alone(&ledger, "probe", Delta::default()).await;
    ledger.read(|stored| {
        let tally = stored.tally();
        let letters = || {
            let state = |((lane, place), stored): (&(LaneId, String), &StoredLetter)| {
                let (letter, state) = (&stored.letter, stored.state);
                format!(
                    "\n{lane} {place} {:?} {} {state:?}",
                    letter.names.event_id, letter.reject
                )
            };
            stored.letters.iter().map(state).collect::<String>()
        };
        assert_eq!(tally.read(), i64::try_from(records).expect("few"));
        assert_eq!(
            tally.counted,
            i64::try_from(distinct.len()).expect("few"),
            "{}",
            letters()
        );
        check_coherence(stored, 1);
        let beforehand = preset();
        let expected = distinct.values().chain([&beforehand]);
        assert_eq!(Rows::stored(stored), Rows::of(expected));
        let unclosed = stored.letters.values().filter(|stored| {
            let is_broken = stored.letter.reject.reason.code() == "out_of_range";
            stored.state.is_open() && !is_broken
        });
        assert_eq!(unclosed.count(), 0, "what could be counted is closed");
    });
}

proptest! {
    #![proptest_config(config())]

    /// Every event is counted once, whichever comes first: a copy, in this lane or another, or a replay.
    #[test]
    fn an_event_is_counted_once_however_often_it_comes_and_is_judged(case in case()) {
        world::run(simulate(&case));
    }
}
