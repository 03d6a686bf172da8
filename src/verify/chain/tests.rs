use chrono::DateTime;
use ingest::journal::{Boundary, Document as Journaled};
use ingest::ledger::Tally;
use proptest::prelude::*;
use rollup::journal::Packed;

use super::*;

/// A document as the journal has it.
#[derive(Debug, Clone)]
struct Document {
    previous: Option<i64>,
    /// The commits in it.
    seqs: Vec<i64>,
}

impl Document {
    fn id(&self) -> JournalId {
        let seq = *self.seqs.last().expect("a commit");
        JournalId { generation: 0, seq }
    }

    fn found(&self) -> Found {
        let commits = self.seqs.iter().map(|seq| Boundary {
            seq: *seq,
            content: ContentId(seq * 10),
            at: DateTime::from_timestamp_millis(*seq).expect("an instant"),
            entries: 0,
            ids: [0; 3],
            newest_ms: [None; 3],
        });
        Found {
            id: self.id(),
            written: Ok(Journaled {
                id: self.id(),
                edit: 0,
                previous: self.previous.map(|seq| ContentId(seq * 10)),
                commits: commits.collect(),
                // Each commit counts one record.
                tally: Tally {
                    counted: self.id().seq,
                    ..Tally::default()
                },
                position: None,
                last: None,
                entries: Packed::default(),
                ids: Default::default(),
                quantities: 1,
            }),
        }
    }
}

fn document(seq: i64, previous: Option<i64>) -> Document {
    Document {
        previous,
        seqs: vec![seq],
    }
}

fn chain() -> Chain {
    Chain::new(LaneId::from_stored("a"))
}

/// Reads on, so many documents at most. The commits that were new.
fn read(chain: &mut Chain, documents: &[Found], most: usize) -> Vec<i64> {
    let from = chain.read_from();
    let rest = documents
        .iter()
        .filter(|found| from.is_none_or(|from| found.id >= from));
    let mut new = Vec::new();
    for found in rest.take(most) {
        if let (New::From(commit), Ok(written)) = (chain.follow(found), &found.written) {
            let commits = &written.commits[commit as usize..];
            new.extend(commits.iter().map(|commit| commit.seq));
            let counted = Counted {
                entries: i64::try_from(commits.len()).expect("few"),
                are_requests: true,
            };
            chain.counted(found, Ok(counted));
        }
    }
    new
}

fn fence(seq: Option<i64>, counted: i64) -> StoredFence {
    let mut fence = mongodb::bson::doc! {"_id": "a", "read": counted, "counted": counted};
    if let Some(seq) = seq {
        fence.insert(
            "journal",
            mongodb::bson::doc! {"generation": 0_i64, "seq": seq, "content": seq * 10},
        );
    }
    mongodb::bson::deserialize_from_document(fence).expect("a fence")
}

#[derive(Debug, Clone)]
enum Step {
    Commit,
    /// So many documents from this one on are made one.
    Merge(usize, usize),
    /// So many documents are read.
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Commit),
        2 => (any::<usize>(), 2..5_usize).prop_map(|(at, count)| Step::Merge(at, count)),
        2 => (0..6_usize).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// However documents are merged meanwhile, each commit is taken once, in order, and nothing looks damaged.
    #[test]
    fn every_commit_is_taken_once_whatever_is_merged_meanwhile(steps in steps()) {
        let (mut chain, mut journal, mut seq) = (chain(), Vec::<Document>::new(), 0);
        let mut taken = Vec::new();
        let found = |journal: &[Document]| journal.iter().map(Document::found).collect::<Vec<_>>();
        for step in steps {
            match step {
                Step::Commit => {
                    journal.push(document(seq + 1, (seq > 0).then_some(seq)));
                    seq += 1;
                }
                Step::Merge(at, count) if !journal.is_empty() => {
                    let at = at % journal.len();
                    let end = (at + count).min(journal.len());
                    let merged = Document {
                        previous: journal[at].previous,
                        seqs: journal[at..end].iter().flat_map(|one| one.seqs.clone()).collect(),
                    };
                    journal.splice(at..end, [merged]);
                }
                Step::Merge(..) => {}
                Step::Read(most) => taken.extend(read(&mut chain, &found(&journal), most)),
            }
        }
        taken.extend(read(&mut chain, &found(&journal), usize::MAX));
        prop_assert_eq!(taken, (1..=seq).collect::<Vec<_>>());
        prop_assert_eq!(chain.faults().count(), 0);
        let fence = fence((seq > 0).then_some(seq), seq);
        prop_assert_eq!(chain.faults_of(Some(&fence)), []);
        prop_assert!(!chain.is_newest_lost(Some(&fence)) && chain.lost_until_ms().is_none());
    }
}

/// What is told of a journal with these documents, beside a fence.
fn told(documents: Vec<Found>, fence: Option<&StoredFence>) -> Vec<String> {
    let mut chain = chain();
    if let Some(fence) = fence {
        chain.know(fence);
    }
    // Twice: what was told once is not told again.
    read(&mut chain, &documents, usize::MAX);
    read(&mut chain, &documents, usize::MAX);
    let faults = chain.faults().cloned().chain(chain.faults_of(fence));
    faults
        .map(|fault| format!("{} {}", fault.id, fault.counter))
        .collect()
}

#[test]
fn one_test_per_way_in_which_a_journal_is_not_whole() {
    let found = |seq: i64, previous: Option<i64>| document(seq, previous).found();
    let damaged = |seq: i64| Found {
        id: JournalId { generation: 0, seq },
        written: Err(Unread::Damaged("checksum".into())),
    };
    let whole = || vec![found(1, None), found(2, Some(1)), found(3, Some(2))];
    assert_eq!(told(whole(), Some(&fence(Some(3), 3))), [""; 0]);
    let missing = vec![found(1, None), found(3, Some(2))];
    assert_eq!(told(missing, Some(&fence(Some(3), 3))), ["a/0/3 previous"]);
    let first = vec![found(2, Some(1)), found(3, Some(2))];
    assert_eq!(told(first, Some(&fence(Some(3), 3))), ["a/0/2 previous"]);
    let newest = vec![found(1, None), found(2, Some(1))];
    assert_eq!(told(newest, Some(&fence(Some(3), 3))), ["a journal"]);
    assert_eq!(told(whole(), Some(&fence(Some(2), 2))), ["a journal"], "behind");
    assert_eq!(told(whole(), None), ["a journal"]);
    let in_the_middle = vec![found(1, None), damaged(2), found(3, Some(2))];
    assert_eq!(told(in_the_middle, Some(&fence(Some(3), 3))), ["a/0/2 checksum"]);
    let at_the_end = vec![found(1, None), found(2, Some(1)), damaged(3)];
    assert_eq!(told(at_the_end, Some(&fence(Some(3), 3))), ["a/0/3 checksum"]);
    assert_eq!(
        told(whole(), Some(&fence(Some(3), 4))),
        ["a counted"],
        "a tally that is not that of the journal"
    );
    let mut wrong = fence(Some(3), 3);
    wrong.read = 9;
    assert_eq!(told(whole(), Some(&wrong)), ["a read"]);
}

#[test]
fn a_tally_that_counts_other_than_entries_is_told() {
    let mut chain = chain();
    let documents = [document(1, None).found(), document(2, Some(1)).found()];
    for (found, entries) in documents.iter().zip([1, 0]) {
        assert_eq!(chain.follow(found), New::From(0));
        let counted = Counted {
            entries,
            are_requests: true,
        };
        chain.counted(found, Ok(counted));
    }
    let told: Vec<&str> = chain.faults().map(|fault| fault.counter.as_str()).collect();
    assert_eq!(told, ["tally.counted"]);
}

/// What is old is not missed, in whatever document the last of it is; and everything after it is.
#[test]
fn documents_that_are_kept_no_more_are_not_missed() {
    let fence: StoredFence = mongodb::bson::deserialize_from_document(mongodb::bson::doc! {
        "_id": "a", "read": 4_i64, "counted": 4_i64,
        "keptAfter": {"generation": 0_i64, "seq": 2_i64, "content": 20_i64},
        "journal": {"generation": 0_i64, "seq": 4_i64, "content": 40_i64},
    })
    .expect("a fence");
    let [second, third, fourth] = [2, 3, 4].map(|seq| document(seq, Some(seq - 1)));
    let merged = Document {
        previous: Some(1),
        seqs: vec![2, 3],
    };
    for documents in [
        vec![&third, &fourth],
        vec![&second, &third, &fourth],
        vec![&merged, &fourth],
    ] {
        let found = documents.iter().map(|one| one.found()).collect();
        assert_eq!(told(found, Some(&fence)), [""; 0], "{documents:?}");
    }
    assert_eq!(told(vec![fourth.found()], Some(&fence)), ["a/0/4 previous"]);
}

/// A person gave up what was damaged: it is told no more, and whatever is damaged later is.
#[test]
fn what_was_given_up_is_no_fault() {
    let fence: StoredFence = mongodb::bson::deserialize_from_document(mongodb::bson::doc! {
        "_id": "a", "read": 5_i64, "counted": 5_i64,
        "journalsBegun": [
            {"at": mongodb::bson::DateTime::from_millis(9), "from": {"generation": 1_i64, "seq": 4_i64}},
        ],
    })
    .expect("a fence");
    let damaged = |generation: i64, seq: i64| Found {
        id: JournalId { generation, seq },
        written: Err(Unread::Damaged("checksum".into())),
    };
    let anew = |seq: i64, previous: Option<i64>| {
        let found = document(seq, previous).found();
        let id = JournalId { generation: 1, seq };
        Found { id, ..found }
    };
    let before = || vec![document(1, None).found(), damaged(0, 2)];
    assert_eq!(told(before(), Some(&fence)), [""; 0], "nothing was written since");
    let mut chain = chain();
    chain.know(&fence);
    for found in before().into_iter().chain([anew(4, None), anew(5, Some(4))]) {
        chain.follow(&found);
        // Its tally counts what was given up, too.
        let counted = Counted {
            entries: 1,
            are_requests: true,
        };
        chain.counted(&found, Ok(counted));
    }
    assert_eq!(chain.faults().count(), 0);
    assert_eq!(chain.lost_until_ms(), chain.given_up_until_ms());
    assert_eq!(chain.lost_until_ms(), Some(9 + CLOCKS_MS));
    chain.follow(&damaged(1, 6));
    assert_eq!(chain.faults().count(), 1);
    assert_eq!(chain.lost_until_ms(), Some(i64::MAX));
}

/// Whoever reads from the middle on asks for nothing before that.
#[test]
fn what_is_before_the_first_document_that_is_read_is_not_asked_for() {
    let second = document(2, Some(1));
    let mut chain = Chain::from(LaneId::from_stored("a"), second.id());
    let documents = [
        second.found(),
        document(3, Some(2)).found(),
        document(5, Some(4)).found(),
    ];
    assert_eq!(read(&mut chain, &documents, usize::MAX), [2, 3, 5]);
    let told: Vec<_> = chain.faults().map(|fault| fault.id.as_str()).collect();
    assert_eq!(told, ["a/0/5"]);
}
