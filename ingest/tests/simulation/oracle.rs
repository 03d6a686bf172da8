//! The same sums the naive way: one event after the other, in big integers, with periods of its own.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike};
use ingest::fake::Stored;
use ingest::ledger::Tally;
use rollup::counters::{Counter, Sums};
use rollup::fold::RowDelta;
use rollup::journal::Journal;
use rollup::key;
use rollup::period::Granularity;

use crate::logs::{Expected, FULL, Log, PRESET, Usage};

/// Everything that names a row.
type Key = Vec<String>;
/// The counters, and the first and last completion (ms).
/// What a row counts, in stored order.
type Counts = [i128; 17];
type Row = (Counts, i64, i64);

/// The rows of the ledger and the rollups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    ledger: BTreeMap<Key, Row>,
    rollups: BTreeMap<Key, Row>,
}

impl Rows {
    pub(crate) fn of<'a>(usages: impl IntoIterator<Item = &'a Usage>) -> Self {
        let mut rows = Self::default();
        for usage in usages {
            rows.book(usage);
        }
        rows
    }

    fn book(&mut self, usage: &Usage) {
        let at = DateTime::from_timestamp_millis(usage.at_ms).expect("an instant");
        let week = at.iso_week();
        let agent = usage.agent.unwrap_or("__unattributed__");
        let user = usage.user.unwrap_or("__unattributed__");
        let (provider, model) = usage.model.unwrap_or(("__unknown__", "__unknown__"));
        for (granularity, period) in [
            ("daily", at.format("%Y-%m-%d").to_string()),
            ("weekly", format!("{}-W{:02}", week.year(), week.week())),
            ("monthly", at.format("%Y-%m").to_string()),
        ] {
            let key = |parts: &[&str]| -> Key {
                let head = [usage.organization, granularity, &period];
                head.iter().chain(parts).map(|part| (*part).to_owned()).collect()
            };
            add(
                &mut self.ledger,
                key(&[
                    agent,
                    provider,
                    model,
                    user,
                    "__none__",
                    "__none__",
                    usage.source,
                    "llm",
                ]),
                usage,
            );
            for set in [
                vec!["organization", usage.organization],
                vec!["agent", agent],
                vec!["model", model, provider],
                vec!["user", user],
                vec!["source", usage.source],
            ] {
                add(&mut self.rollups, key(&set), usage);
            }
        }
    }

    /// What is stored, named the same way.
    pub(crate) fn stored(stored: &Stored) -> Self {
        let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        let ledger = stored.rows.ledger.values().map(|row| {
            let (dimensions, period) = (&row.dimensions, row.period.to_string());
            let key: Key = owned(&[
                &dimensions.organization,
                row.period.granularity().name(),
                &period,
                &dimensions.agent,
                &dimensions.provider,
                &dimensions.model,
                &dimensions.user,
                &dimensions.team,
                &dimensions.api_key,
                &dimensions.source,
                dimensions.kind.name(),
            ]);
            (key, stored_row(&row.booked))
        });
        let rollups = stored.rows.rollups.values().map(|row| {
            let period = row.period.to_string();
            let granularity = row.period.granularity().name();
            let mut key: Key = owned(&[
                &row.organization,
                granularity,
                &period,
                row.marginal.name(),
                &row.value,
            ]);
            key.extend(row.provider.as_deref().map(str::to_owned));
            (key, stored_row(&row.booked))
        });
        Self {
            ledger: ledger.collect(),
            rollups: rollups.collect(),
        }
    }
}

fn add(rows: &mut BTreeMap<Key, Row>, key: Key, usage: &Usage) {
    let row = rows.entry(key).or_insert(([0; 17], i64::MAX, i64::MIN));
    let one_if = |is: bool| i64::from(is);
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    let is_metered = usage.input.is_some() || usage.output.is_some();
    let is_free = usage.outcome == Some("failed") && !is_metered;
    // In stored order.
    let added = [
        1,
        one_if(usage.outcome == Some("failed")),
        one_if(usage.outcome == Some("aborted")),
        input,
        0,
        0,
        output,
        0,
        input + output,
        0,
        0,
        0,
        usage.cost_nanos.unwrap_or(0),
        one_if(usage.cost_nanos.is_none() && !is_free),
        one_if(usage.outcome.is_none() && !is_metered),
        0,
        0,
    ];
    for (sum, added) in row.0.iter_mut().zip(added) {
        *sum += i128::from(added);
    }
    row.1 = row.1.min(usage.at_ms);
    row.2 = row.2.max(usage.at_ms);
}

fn stored_row(booked: &RowDelta) -> Row {
    let sums = Counter::ALL.map(|counter| booked.sums[counter]);
    (sums, booked.first_event_ms, booked.last_event_ms)
}

/// What the full row holds before anything is read.
pub(crate) fn preset() -> Usage {
    Usage::plain("preset", FULL, PRESET)
}

/// Checks the end of a history: everything was read, and each record became what it had to, once.
pub(crate) fn check(stored: &Stored, logs: &[Log], beforehand: &[Usage]) {
    let mut counted: Vec<&Usage> = beforehand.iter().collect();
    for log in logs {
        counted.extend(check_lane(stored, log));
    }
    assert_eq!(Rows::stored(stored), Rows::of(counted));
    check_journal(stored);
    let letters = usize::try_from(stored.tally().dead_letter).expect("a number");
    assert_eq!(stored.letters.len(), letters, "each letter is there once");
}

/// Days are the sums of the entries, always.
fn check_journal(stored: &Stored) {
    let mut entries: BTreeMap<String, Sums> = BTreeMap::new();
    for document in stored.journal.values() {
        let journal = Journal::open(&document.entries.bytes).expect("whole");
        for (organization, _) in journal.organizations() {
            let (rows, of_organization) = journal.of(organization).expect("whole");
            for entry in of_organization {
                let row = &rows[entry.row];
                let sums = entries
                    .entry(key::ledger(row.period, &row.dimensions))
                    .or_default();
                sums.add(&entry.counters);
            }
        }
    }
    let days = stored.rows.ledger.iter();
    let days = days.filter(|(_, row)| row.period.granularity() == Granularity::Daily);
    let days: BTreeMap<String, Sums> = days.map(|(id, row)| (id.clone(), row.booked.sums)).collect();
    assert_eq!(days, entries, "the rows are the sums of the entries");
}

/// Checks one lane, and gives what it counts.
fn check_lane<'a>(stored: &Stored, log: &'a Log) -> Vec<&'a Usage> {
    let mut usages = Vec::new();
    let mut least = Tally::default();
    let mut either = BTreeSet::new();
    let mut letters = BTreeMap::new();
    for item in &log.items {
        let place = item.place();
        match &item.expected {
            Expected::Counted(usage) => {
                usages.push(usage);
                least.counted += 1;
            }
            Expected::Duplicate => least.duplicate += 1,
            Expected::Skipped => least.skipped += 1,
            Expected::Rejected(reason) => drop(letters.insert(place, *reason)),
            Expected::Overflow => drop(letters.insert(place, "overflow")),
            Expected::OverflowOrDuplicate => drop(either.insert(place)),
        }
    }
    let fence = &stored.fences[&log.lane];
    let in_lane = stored.letters.iter().filter(|((lane, _), _)| *lane == log.lane);
    let mut found: BTreeMap<String, &str> = in_lane
        .map(|((_, place), stored)| (place.clone(), stored.letter.reject.reason.code()))
        .collect();
    let rejected = i64::try_from(found.len()).expect("few");
    for place in &either {
        if let Some(reason) = found.remove(place) {
            assert_eq!(reason, "overflow");
        }
    }
    assert_eq!(found, letters, "the dead letters of {}", log.lane);
    let duplicates = least.duplicate + i64::try_from(either.len() + letters.len()).expect("few") - rejected;
    let tally = Tally {
        duplicate: duplicates,
        dead_letter: rejected,
        ..least
    };
    assert_eq!(fence.tally, tally, "the tally of {}", log.lane);
    assert_eq!(fence.tally.read(), i64::try_from(log.items.len()).expect("few"));
    usages
}

/// Checks what holds at every instant: parents equal the sum of their children, and nothing is in a row that
/// is not in a tally.
pub(crate) fn check_coherence(stored: &Stored, beforehand: usize) {
    let rows = Rows::stored(stored);
    let sum = |rows: &BTreeMap<Key, Row>, named: &dyn Fn(&Key) -> bool| -> BTreeMap<Key, Counts> {
        let mut sums = BTreeMap::new();
        for (key, row) in rows.iter().filter(|(key, _)| named(key)) {
            let sum: &mut Counts = sums.entry(key[..3].to_vec()).or_default();
            for (sum, value) in sum.iter_mut().zip(row.0) {
                *sum += value;
            }
        }
        sums
    };
    let whole = sum(&rows.ledger, &|_| true);
    for set in ["organization", "agent", "model", "user", "source"] {
        assert_eq!(sum(&rows.rollups, &|key| key[3] == set), whole, "the set `{set}`");
    }
    let total = |granularity: &str| -> Counts {
        let mut total = [0; 17];
        for row in whole
            .iter()
            .filter(|(key, _)| key[1] == granularity)
            .map(|(_, row)| row)
        {
            for (sum, value) in total.iter_mut().zip(row) {
                *sum += value;
            }
        }
        total
    };
    let days = total("daily");
    assert_eq!((total("weekly"), total("monthly")), (days, days));
    let counted = i128::from(stored.tally().counted);
    assert_eq!(days[0], counted + i128::try_from(beforehand).expect("few"));
}
