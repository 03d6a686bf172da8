use rollup::counters::{Counter, Counters};
use rollup::event::{Identity, Kind};
use rollup::journal::{Change, Place};

use super::*;
use crate::identity::IdentityHash;

/// A document of one commit: so many events of each of these organizations.
fn document(seq: i64, of: &[(&str, u32)]) -> Document {
    let rows: Vec<Row> = of.iter().map(|(organization, _)| row(organization)).collect();
    let mut packer = Packer::default();
    let mut ids = Vec::new();
    for (row, (organization, events)) in of.iter().enumerate() {
        for index in 0..*events {
            let id = format!("{seq}-{index}");
            let mut counters = Counters::default();
            counters[Counter::Requests] = 1;
            packer.push(&Entry {
                commit: 0,
                change: Change::Completed,
                place: Place { offset: seq, index },
                completed_at_ms: seq * 1_000 + i64::from(index),
                row,
                counters,
                id: Identity::EventId(id.clone().into()),
            });
            ids.push(CountedId::of_document(IdentityHash::of_event(
                organization,
                "chat",
                "",
                &id,
            )));
        }
    }
    let entries = packer.pack(
        Granularity::Daily,
        &rows
            .iter()
            .map(|row| (row.period, &row.dimensions))
            .collect::<Vec<_>>(),
    );
    let newest = (!ids.is_empty()).then_some(seq * 1_000);
    Document {
        id: JournalId { generation: 1, seq },
        edit: 0,
        previous: (seq > 1).then_some(ContentId(seq - 1)),
        commits: vec![Boundary {
            seq,
            content: ContentId(seq),
            at: DateTime::UNIX_EPOCH,
            entries: entries.entries,
            ids: [ids.len(), 0, 0],
            newest_ms: [newest, None, None],
        }],
        position: (seq != 3).then(|| Position::offset(seq)),
        last: None,
        tally: Tally {
            counted: seq,
            ..Tally::default()
        },
        entries,
        ids: [ids, Vec::new(), Vec::new()],
        quantities: 1,
    }
}

fn row(organization: &str) -> Row {
    let day = chrono::NaiveDate::from_ymd_opt(2026, 1, 5).expect("a day");
    Row {
        period: Period::holding(Granularity::Daily, day),
        dimensions: Dimensions {
            organization: organization.into(),
            agent: "bot".into(),
            provider: "openai".into(),
            model: "gpt".into(),
            user: "ann".into(),
            team: "__none__".into(),
            api_key: "__none__".into(),
            source: "chat".into(),
            kind: Kind::Llm,
        },
    }
}

/// Every entry with the seq of its commit and its row.
fn entries(documents: &[Document]) -> Vec<(i64, Row, Place, i64)> {
    let mut all = Vec::new();
    for document in documents.iter().filter(|document| document.entries.entries > 0) {
        let journal = Journal::open(&document.entries.bytes).expect("whole");
        for (organization, _) in journal.organizations() {
            let (rows, entries) = journal.of(organization).expect("whole");
            all.extend(entries.iter().map(|entry| {
                let seq = document.commits[entry.commit as usize].seq;
                (seq, rows[entry.row].clone(), entry.place, entry.completed_at_ms)
            }));
        }
    }
    all.sort_by_key(|(seq, row, place, _)| (*seq, row.dimensions.organization.clone(), *place));
    all
}

fn four() -> [Document; 4] {
    [
        document(1, &[("acme", 2), ("beta", 1)]),
        document(2, &[]),
        document(3, &[("acme", 1)]),
        document(4, &[("zeta", 3), ("acme", 1)]),
    ]
}

#[test]
fn a_merged_document_says_what_its_parts_say() {
    let documents = four();
    let merged = merge(&documents).expect("whole").expect("alike");
    assert_eq!(merged.head(), documents[3].head());
    assert_eq!((merged.previous, merged.tally.counted), (None, 4));
    assert_eq!(merged.commits.len(), 4);
    assert_eq!(entries(std::slice::from_ref(&merged)), entries(&documents));
    assert_eq!(merged.entries.entries, 8);
    assert_eq!(merged.entries.completed_ms, Some((1_000, 4_002)));
    let generations = |document: &Document| document.generations(0).expect("whole");
    let of_parts: Vec<_> = documents.iter().flat_map(generations).collect();
    assert_eq!(generations(&merged), of_parts);
    // Again, and in another order of merging.
    let [a, b, c, d] = documents;
    let again = [
        merge(&[a, b]).expect("whole").expect("alike"),
        merge(&[c, d]).expect("whole").expect("alike"),
    ];
    assert_eq!(merge(&again).expect("whole").expect("alike"), merged);
}

#[test]
fn the_position_is_the_last_that_is_known() {
    let [first, second, third, _] = four();
    let merged = merge(&[first, second, third]).expect("whole").expect("alike");
    assert_eq!(
        merged.position,
        Some(Position::offset(2)),
        "the third did not move it"
    );
}

#[test]
fn what_is_not_alike_is_not_merged_and_what_is_damaged_is_told() {
    let [first, second, mut third, mut fourth] = four();
    third.id.generation = 2;
    assert_eq!(merge(&[second.clone(), third]), Ok(None));
    let other = Document {
        quantities: 2,
        ..second.clone()
    };
    assert_eq!(merge(&[first, other]), Ok(None));
    fourth.entries.bytes[7] ^= 1;
    let [_, _, before, _] = four();
    assert_eq!(merge(&[before, fourth]), Err(Damaged::Checksum));
    assert_eq!(merge(&[]), Ok(None));
    let [one, _, three, _] = four();
    assert_eq!(merge(&[one, three]), Ok(None), "what was between them is missing");
}

#[test]
fn ids_that_are_not_those_of_the_commits_are_told() {
    let [mut first, ..] = four();
    first.ids[0].pop();
    assert_eq!(first.generations(0), None);
}
