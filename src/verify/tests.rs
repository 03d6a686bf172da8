//! A ledger in memory, with everything that goes on in one: whatever it is, no page shows a difference, unless there is one.

use std::collections::BTreeMap;
use std::io::{self, Cursor};

use chrono::{DateTime, NaiveDate};
use ingest::journal::{Boundary, Document as Journaled};
use ingest::lane::{ContentId, JournalId, LaneId};
use ingest::ledger::Tally;
use mongodb::bson::{deserialize_from_document, doc};
use proptest::prelude::*;
use rollup::audit::compare::{self, Difference, StoredRow};
use rollup::audit::key::{RowKey, rows_of};
use rollup::audit::sums::{Files, RowSums};
use rollup::counters::{Counter, Counters, Sums};
use rollup::event::{Dimensions, Identity, Kind};
use rollup::fold::{Delta, Grouping, RowDelta};
use rollup::journal::{Change, Entry, Packer, Place, Row};
use rollup::kept::Kept;
use rollup::period::{Calendar, Granularity, Period};

use super::chain::{Chain, New};
use super::entries::Summing;
use super::reach::{Compared, Reach};
use super::scope::{Days, Scope};
use crate::store::fences::StoredFence;
use crate::store::journal::Found;
use crate::store::reader::audit::Described;

const GRANULARITIES: [Granularity; 4] = Granularity::ALL;

fn day(number: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 30).expect("a day") + chrono::Days::new(number)
}

fn described(reach: Option<NaiveDate>) -> Described {
    Described {
        kept: GRANULARITIES.map(Kept::always).to_vec(),
        grouping: Grouping::new(Calendar::UTC, &GRANULARITIES).expect("with days"),
        revision: 0,
        reach,
    }
}

struct InMemory;

impl Files for InMemory {
    type File = Cursor<Vec<u8>>;

    fn file(&mut self) -> io::Result<Self::File> {
        Ok(Cursor::default())
    }
}

/// A request: of which organization and user, in which hour.
type Request = (u8, u8, u8);

fn row((organization, user, hour): Request) -> Row {
    let day = day(u64::from(hour % 96) / 24);
    let text = |text: &str| Box::from(text);
    Row {
        period: Period::at(Granularity::Hourly, day, u32::from(hour % 24)).expect("an hour"),
        dimensions: Dimensions {
            // One whose rows come between those of another, where only their `_id`s are looked at.
            organization: text(["a", "a!", "b"][usize::from(organization % 3)]),
            agent: text("agent"),
            provider: text("p"),
            model: text("m"),
            user: format!("u{}", user % 3).into(),
            team: text("t"),
            api_key: text("k"),
            source: text("chat"),
            kind: Kind::Llm,
        },
    }
}

fn one() -> Counters {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    counters
}

#[derive(Debug, Clone)]
struct Document {
    previous: Option<ContentId>,
    commits: Vec<(i64, Vec<Request>)>,
    counted: i64,
}

impl Document {
    fn id(&self) -> JournalId {
        JournalId {
            generation: 0,
            seq: self.commits.last().expect("a commit").0,
        }
    }

    /// Whether it has entries of this day or of later ones.
    fn has_entries_from(&self, day: NaiveDate) -> bool {
        let mut requests = self.commits.iter().flat_map(|(_, requests)| requests);
        requests.any(|request| row(*request).period.first_day() >= day)
    }

    fn found(&self) -> Found {
        let mut packer = Packer::default();
        let requests = (0..).zip(&self.commits);
        let requests: Vec<(u32, Request)> = requests
            .flat_map(|(commit, (_, requests))| requests.iter().map(move |request| (commit, *request)))
            .collect();
        let rows: Vec<Row> = requests.iter().map(|(_, request)| row(*request)).collect();
        for (at, (commit, _)) in requests.iter().enumerate() {
            packer.push(&Entry {
                commit: *commit,
                change: Change::Completed,
                place: Place { offset: 0, index: 0 },
                completed_at_ms: 0,
                row: at,
                counters: one(),
                id: Identity::EventId("e".into()),
            });
        }
        let rows: Vec<_> = rows.iter().map(|row| (row.period, &row.dimensions)).collect();
        let commits = self.commits.iter().map(|(seq, _)| Boundary {
            seq: *seq,
            content: ContentId(seq * 7),
            at: DateTime::UNIX_EPOCH,
            entries: 0,
            ids: [0; 3],
            newest_ms: [None; 3],
        });
        Found {
            id: self.id(),
            written: Ok(Journaled {
                id: self.id(),
                edit: 0,
                previous: self.previous,
                commits: commits.collect(),
                tally: Tally {
                    counted: self.counted,
                    ..Tally::default()
                },
                position: None,
                last: None,
                entries: packer.pack(Granularity::Hourly, &rows),
                ids: Default::default(),
                quantities: 1,
            }),
        }
    }
}

/// What is stored.
#[derive(Default)]
struct Ledger {
    rows: BTreeMap<RowKey, i64>,
    lanes: [Vec<Document>; 2],
    seqs: [i64; 2],
    counted: [i64; 2],
    /// The last document of each lane that was old.
    forgotten: [Option<i64>; 2],
    /// The first day of whose entries none are gone.
    reach: Option<NaiveDate>,
}

impl Ledger {
    /// One transaction, of one lane or of both.
    fn commit(&mut self, requests: &[Vec<Request>; 2]) {
        for (lane, requests) in requests
            .iter()
            .enumerate()
            .filter(|(_, requests)| !requests.is_empty())
        {
            let mut delta = Delta::default();
            for request in requests {
                let row = row(*request);
                let booked = RowDelta {
                    sums: Sums::from(one()),
                    first_event_ms: 0,
                    last_event_ms: 0,
                };
                delta.book(&GRANULARITIES, row.period, &row.dimensions, &booked);
            }
            for (key, booked) in rows_of(delta) {
                *self.rows.entry(key).or_default() +=
                    i64::try_from(booked.sums[Counter::Requests]).expect("few");
            }
            let seq = self.seqs[lane];
            self.seqs[lane] += 1;
            self.counted[lane] += i64::try_from(requests.len()).expect("few");
            self.lanes[lane].push(Document {
                previous: (seq > 0).then_some(ContentId(seq * 7)),
                commits: vec![(seq + 1, requests.clone())],
                counted: self.counted[lane],
            });
        }
    }

    /// Entries of days before this one are kept no more. Once pages are compared, only what was read is that old.
    fn forget(&mut self, day: NaiveDate, comparing: &Comparing) {
        self.reach = self.reach.max(Some(day));
        for (lane, (documents, forgotten)) in self.lanes.iter_mut().zip(&mut self.forgotten).enumerate() {
            let read = comparing.chains[lane].read_from();
            let is_read =
                |one: &Document| comparing.after.is_none() || read.is_some_and(|read| one.id() <= read);
            let is_old = |one: &&Document| !one.has_entries_from(day) && is_read(one);
            let old = documents.iter().take_while(is_old).count();
            for document in documents.drain(..old) {
                *forgotten = Some(document.id().seq);
            }
        }
    }

    /// What the fence of a lane says.
    fn fence(&self, lane: usize) -> StoredFence {
        let mut fence = doc! {"_id": "a"};
        if let Some(seq) = self.forgotten[lane] {
            fence.insert(
                "keptAfter",
                doc! {"generation": 0_i64, "seq": seq, "content": seq * 7},
            );
        }
        deserialize_from_document(fence).expect("a fence")
    }

    fn merge(&mut self, lane: usize, at: usize, count: usize) {
        let documents = &mut self.lanes[lane];
        if documents.is_empty() {
            return;
        }
        let at = at % documents.len();
        let end = (at + count).min(documents.len());
        let merged = Document {
            previous: documents[at].previous,
            commits: documents[at..end]
                .iter()
                .flat_map(|one| one.commits.clone())
                .collect(),
            counted: documents[end - 1].counted,
        };
        documents.splice(at..end, [merged]);
    }
}

/// Who compares.
struct Comparing {
    chains: [Chain; 2],
    summing: Summing<InMemory>,
    scope: Scope,
    reach: Option<NaiveDate>,
    after: Option<RowKey>,
    is_done: bool,
    differences: Vec<(RowKey, i128)>,
    compared: Compared,
}

impl Comparing {
    fn new(scope: Scope, ledger: &Ledger) -> Self {
        let lanes = ledger.lanes.each_ref();
        let chains = lanes.map(|documents| {
            let lane = LaneId::from_stored("a");
            let from = scope.days.begin(&GRANULARITIES);
            let asked_for = |one: &&Document| from.is_none_or(|from| one.has_entries_from(from));
            let before = documents
                .iter()
                .position(|one| asked_for(&one))
                .unwrap_or(documents.len());
            match documents[..before].last() {
                Some(before) => Chain::from(lane, before.id()),
                None => Chain::new(lane),
            }
        });
        let grouping = described(None).grouping;
        Self {
            chains,
            summing: Summing::new(scope.with_siblings(), grouping, RowSums::new(4_000, InMemory)),
            reach: scope.days.begin(&GRANULARITIES),
            scope,
            after: None,
            is_done: false,
            differences: Vec::new(),
            compared: Compared::default(),
        }
    }

    /// Reads so many documents of each lane, at most.
    fn follow(&mut self, ledger: &Ledger, most: usize) {
        if self.after.is_none() {
            self.reach = self.reach.max(ledger.reach);
        }
        for (lane, (chain, documents)) in self.chains.iter_mut().zip(&ledger.lanes).enumerate() {
            chain.know(&ledger.fence(lane));
            let from = chain.read_from();
            let found = documents.iter().map(Document::found);
            for found in found
                .filter(|found| from.is_none_or(|from| found.id >= from))
                .take(most)
            {
                if let (New::From(commit), Ok(written)) = (chain.follow(&found), &found.written) {
                    let counted = self.summing.add(&written.entries.bytes, commit).expect("sums");
                    chain.counted(&found, counted.map_err(|damaged| damaged.to_string()));
                }
            }
        }
    }

    /// Compares so many rows of the present instant, as a pass does.
    fn page(&mut self, ledger: &Ledger, most: usize) {
        if self.is_done {
            return;
        }
        self.follow(ledger, usize::MAX);
        let rest = ledger
            .rows
            .iter()
            .filter(|(key, _)| self.after.as_ref().is_none_or(|after| *key > after));
        let rows: Vec<(&RowKey, &i64)> = rest.take(most).collect();
        let up_to = (rows.len() == most).then(|| rows[most - 1].0.clone());
        let within = Reach {
            scope: self.scope.clone(),
            ledger: described(ledger.reach),
            first_day: self.reach,
            given_up_until_ms: None,
        };
        let stored = rows.into_iter().map(|(key, requests)| {
            let mut counters = Counters::default();
            counters[Counter::Requests] = *requests;
            let fields = key.row().map(|row| row.fields()).unwrap_or_default();
            StoredRow::read(
                key.clone(),
                counters,
                Vec::new(),
                compare::Times::default(),
                |name| {
                    fields
                        .iter()
                        .find(|(field, _)| *field == name)
                        .map(|(_, value)| value.as_str())
                },
            )
        });
        let sums = self.summing.sums().expect("sums");
        let differences = &mut self.differences;
        let found = |difference: Difference| {
            differences.push((difference.key.clone(), difference.missing()[Counter::Requests]));
        };
        let compared = within.compare(stored.collect(), up_to.as_ref(), sums, &mut self.compared, found);
        compared.expect("compares");
        self.is_done = up_to.is_none();
        self.after = up_to;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit([Vec<Request>; 2]),
    Merge(usize, usize, usize),
    Forget(NaiveDate),
    Follow(usize),
    Page(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let requests = || prop::collection::vec(any::<Request>(), 0..4);
    let step = prop_oneof![
        4 => [requests(), requests()].prop_map(Step::Commit),
        2 => (0..2_usize, any::<usize>(), 2..5_usize).prop_map(|(lane, at, count)| Step::Merge(lane, at, count)),
        1 => (0..5_u64).prop_map(|number| Step::Forget(day(number))),
        1 => (1..4_usize).prop_map(Step::Follow),
        2 => (1..60_usize).prop_map(Step::Page),
    ];
    prop::collection::vec(step, 0..40)
}

fn scope() -> impl Strategy<Value = Scope> {
    let day = prop::option::of((0..4_u64).prop_map(day));
    let organization = prop::option::of(prop::sample::select(vec!["a", "a!", "b"]));
    (organization, day.clone(), day, any::<bool>()).prop_map(|(organization, from, to, with_siblings)| {
        Scope {
            organization: organization.map(Into::into),
            days: Days { from, to },
            with_siblings,
            fills: with_siblings,
        }
    })
}

fn play(steps: Vec<Step>, scope: Scope, damage: impl FnOnce(&mut Ledger)) -> Comparing {
    let mut ledger = Ledger::default();
    ledger.commit(&[vec![(0, 0, 0), (1, 1, 30)], vec![(2, 2, 80)]]);
    ledger.commit(&[vec![(0, 0, 50), (1, 1, 80)], vec![(0, 2, 10)]]);
    damage(&mut ledger);
    let mut comparing = Comparing::new(scope, &ledger);
    for step in steps {
        match step {
            Step::Forget(day) => ledger.forget(day, &comparing),
            Step::Commit(requests) => ledger.commit(&requests),
            Step::Merge(lane, at, count) => ledger.merge(lane, at, count),
            Step::Follow(most) => comparing.follow(&ledger, most),
            Step::Page(most) => comparing.page(&ledger, most),
        }
    }
    while !comparing.is_done {
        comparing.page(&ledger, 40);
    }
    comparing
}

proptest! {
    #[test]
    fn whatever_goes_on_there_is_no_false_alarm(steps in steps(), scope in scope()) {
        let comparing = play(steps, scope, |_| {});
        prop_assert_eq!(comparing.differences, []);
        prop_assert!(comparing.chains.iter().all(|chain| chain.faults().next().is_none()));
    }

    #[test]
    fn whatever_goes_on_a_difference_is_found(steps in steps(), at in any::<usize>(), by in 1..5_i64) {
        let forgets = |step: &Step| matches!(step, Step::Forget(_));
        let steps = steps.into_iter().filter(|step| !forgets(step)).collect();
        let mut damaged = None;
        let comparing = play(steps, Scope::default(), |ledger| {
            let count = ledger.rows.len();
            let (key, requests) = ledger.rows.iter_mut().nth(at % count).expect("a row");
            *requests += by;
            damaged = Some(key.clone());
        });
        prop_assert_eq!(comparing.differences, [(damaged.expect("a row"), i128::from(-by))]);
    }
}
