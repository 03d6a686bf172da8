use std::collections::BTreeMap;

use chrono::NaiveDate;
use proptest::prelude::*;

use super::*;
use crate::counters::{Counter, Counters};
use crate::event::{Dimensions, DocumentId, Identity, Kind};
use crate::fold::RowDelta;
use crate::period::Period;

fn row(granularity: Granularity, day: i32, hour: u32, organization: &str, user: &str) -> Row {
    let day = NaiveDate::from_epoch_days(20_000 + day).expect("a day");
    let first = Period::holding(granularity, day).first_day();
    let hour = if granularity == Granularity::Hourly {
        hour
    } else {
        0
    };
    Row {
        period: Period::at(granularity, first, hour).expect("a period"),
        dimensions: Dimensions {
            organization: organization.into(),
            agent: "bot".into(),
            provider: "openai".into(),
            model: "gpt".into(),
            user: user.into(),
            team: "__none__".into(),
            api_key: "__none__".into(),
            source: "chat".into(),
            kind: Kind::Llm,
        },
    }
}

fn packed(granularity: Granularity, rows: &[Row], entries: &[Entry<'_>]) -> Vec<u8> {
    let mut packer = Packer::default();
    entries.iter().for_each(|entry| packer.push(entry));
    let rows: Vec<RowRef<'_>> = rows.iter().map(|row| (row.period, &row.dimensions)).collect();
    packer.pack(granularity, &rows).bytes
}

fn request(row: usize, id: Identity<'static>, tokens: i64) -> Entry<'static> {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    counters[Counter::InputTokens] = tokens;
    counters[Counter::TotalTokens] = tokens;
    counters[Counter::CostNanos] = 7;
    Entry {
        commit: 0,
        change: Change::Completed,
        place: Place { offset: 42, index: 0 },
        completed_at_ms: 1_767_607_200_000,
        row,
        counters,
        id,
    }
}

/// Every entry of every organization, with the row in place of its index.
fn unpacked(journal: &Journal) -> Vec<(Row, Entry<'_>)> {
    let mut all = Vec::new();
    for (organization, count) in journal.organizations() {
        let (rows, entries) = journal.of(organization).expect("whole");
        assert_eq!(entries.len(), count);
        all.extend(
            entries
                .into_iter()
                .map(|entry| (rows[entry.row].clone(), Entry { row: 0, ..entry })),
        );
    }
    all
}

/// Stored for ever: what is read must not change.
#[test]
fn golden() {
    let rows = [
        row(Granularity::Daily, 458, 0, "acme", "ann"),
        row(Granularity::Daily, 458, 0, "beta", "bob"),
    ];
    let uuid = "c8edabc3-f738-4ca3-b68d-ab92a91478a3";
    let mut void = request(1, Identity::Document(DocumentId::Integer(7)), -5);
    void.change = Change::Voided;
    let entries = [request(0, Identity::EventId(uuid.into()), 5), void];
    let written = Journal::open(&packed(Granularity::Daily, &rows, &entries)).expect("whole");
    // Of the same zstd is not sure to make the same frame for ever.
    let hex = "01a10128b52ffd20a1bd0300b40601020461636d65014f046265746101420603626f74066f70656e61690367707403616e6e085f5f6e6f6e\
               655f5f046368617401d4bf020000010203040405000000540080a4cbd9f1660081020a0e01c8edabc3f7384ca3b68dab92a91478a36\
               26f628389220209090e070e0300601310ce27cdc10c9aa7457889d0e3b6";
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect();
    let stored = Journal::open(&bytes).expect("whole");
    assert_eq!(stored.unpacked, written.unpacked);
    assert_eq!(unpacked(&stored).len(), 2);
    let day = rows[0].period.first_day();
    assert_eq!(
        (day_hash("acme", day), day_hash("beta", day)),
        (-1_516_197_034_332_526_838, 5_405_515_514_365_382_217)
    );
}

#[test]
fn what_is_damaged_or_newer_is_told() {
    let rows = [row(Granularity::Daily, 0, 0, "acme", "ann")];
    let packed = packed(
        Granularity::Daily,
        &rows,
        &[request(0, Identity::EventId("e".into()), 5)],
    );
    for at in 0..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 1;
        assert_eq!(Journal::open(&damaged).expect_err("damaged"), Damaged::Checksum);
    }
    for length in 0..packed.len() {
        assert!(Journal::open(&packed[..length]).is_err());
    }
    let mut newer = packed[..packed.len() - CHECKSUM].to_vec();
    newer[0] = VERSION + 1;
    newer.extend(XxHash3_64::oneshot(&newer).to_be_bytes());
    assert_eq!(
        Journal::open(&newer).expect_err("newer"),
        Damaged::Version(VERSION + 1)
    );
}

#[test]
fn a_large_commit_takes_few_bytes_an_event() {
    let rows: Vec<Row> = (0..8)
        .map(|user| row(Granularity::Daily, 0, 0, "acme", &format!("u-{user}")))
        .collect();
    let entries: Vec<Entry<'_>> = (0..10_000)
        .map(|number: i64| {
            let id = format!("{:08x}-f738-4ca3-b68d-{:012x}", number * 7_919, number * 104_729);
            let mut entry = request(
                usize::try_from(number % 8).expect("small"),
                Identity::EventId(id.into()),
                number % 5_000,
            );
            entry.place.offset += number;
            entry.completed_at_ms += number * 13 % 997;
            entry.counters[Counter::CostNanos] = number * 31 % 1_000_000;
            entry
        })
        .collect();
    let packed = packed(Granularity::Daily, &rows, &entries);
    // Beside the identities, of 16 bytes each.
    assert!(packed.len() / entries.len() < 29, "{}", packed.len());
}

fn id() -> impl Strategy<Value = Identity<'static>> {
    prop_oneof![
        "[ -~]{0,20}".prop_map(|text| Identity::EventId(text.into())),
        "[0-9a-fA-F]{24}".prop_map(|text| Identity::EventId(text.into())),
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-fA-F]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
            .prop_map(|text| Identity::EventId(text.into())),
        "[0-9a-f]{24}".prop_map(|text| Identity::Document(DocumentId::Text(text.into()))),
        any::<[u8; 12]>().prop_map(|bytes| Identity::Document(DocumentId::ObjectId(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| Identity::Document(DocumentId::Uuid(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| Identity::Document(DocumentId::LegacyUuid(bytes))),
        any::<i64>().prop_map(|number| Identity::Document(DocumentId::Integer(number))),
        Just(Identity::Document(DocumentId::None)),
    ]
}

/// Counters of a request, or any at all.
fn counters() -> impl Strategy<Value = Counters> {
    let any_at_all =
        prop::collection::vec(prop_oneof![Just(0), any::<i64>()], Counter::ALL.len()).prop_map(|values| {
            let mut counters = Counters::default();
            for (counter, value) in Counter::ALL.into_iter().zip(values) {
                counters[counter] = value;
            }
            counters
        });
    let request = (0..1_000_000_i64, 0..1_000_i64, any::<bool>()).prop_map(|(input, output, is_unpriced)| {
        let mut counters = Counters::default();
        counters[Counter::Requests] = 1;
        counters[Counter::InputTokens] = input;
        counters[Counter::OutputTokens] = output;
        counters[Counter::TotalTokens] = input + output;
        counters[Counter::UnpricedRequests] = i64::from(is_unpriced);
        counters
    });
    prop_oneof![3 => request, 1 => any_at_all]
}

fn entry(rows: usize) -> impl Strategy<Value = Entry<'static>> {
    let change = prop_oneof![3 => Just(Change::Completed), 1 => prop::sample::select(&Change::ALL[..])];
    (
        any::<u32>(),
        change,
        any::<(i64, u32)>(),
        any::<i64>(),
        0..rows,
        counters(),
        id(),
    )
        .prop_map(
            |(commit, change, (offset, index), completed_at_ms, row, counters, id)| Entry {
                commit,
                change,
                place: Place { offset, index },
                completed_at_ms,
                row,
                counters,
                id,
            },
        )
}

/// The sums of the entries from a commit on, entry by entry, with how many they are and whether all are requests.
fn summed(journal: &Journal, organization: &str, from: u32) -> (BTreeMap<usize, RowDelta>, usize, bool) {
    let (mut sums, mut count, mut are_requests) = (BTreeMap::new(), 0, true);
    let (_, entries) = journal.of(organization).expect("whole");
    for entry in entries.iter().filter(|entry| entry.commit >= from) {
        let booked = RowDelta {
            sums: entry.counters.into(),
            first_event_ms: entry.completed_at_ms,
            last_event_ms: entry.completed_at_ms,
        };
        let sum = sums.entry(entry.row);
        sum.and_modify(|sum: &mut RowDelta| sum.merge(&booked))
            .or_insert(booked);
        count += 1;
        are_requests &= entry.change == Change::Completed;
    }
    (sums, count, are_requests)
}

proptest! {
    /// Entry by entry is the oracle.
    #[test]
    fn sums_are_those_of_the_entries(
        granularity in prop::sample::select(&Granularity::ALL[..]),
        rows in prop::collection::vec((0..100_i32, 0..24_u32, "[a-b]", "[u-w]"), 1..6),
        entries in prop::collection::vec((entry(6), 0..4_u32), 0..40),
        from in 0..4_u32,
    ) {
        let rows: Vec<Row> = rows.iter().map(|(day, hour, organization, user)| row(granularity, *day, *hour, organization, user)).collect();
        let entries: Vec<Entry<'_>> =
            entries.into_iter().map(|(entry, commit)| Entry { row: entry.row % rows.len(), commit, ..entry }).collect();
        let journal = Journal::open(&packed(granularity, &rows, &entries)).expect("whole");
        for organization in ["a", "b", "nobody"] {
            let (rows, _) = journal.of(organization).expect("whole");
            let (sums, count, are_requests) = summed(&journal, organization, from);
            let found = journal.sums_of(organization, from).expect("whole");
            let expected: Vec<_> = sums.iter().map(|(row, booked)| (rows[*row].clone(), *booked)).collect();
            let named = found.rows.iter().map(|sum| (sum.row.named(organization, &found.texts), sum.booked));
            prop_assert_eq!(named.collect::<Vec<_>>(), expected);
            prop_assert_eq!((found.entries, found.are_requests), (count, are_requests));
        }
    }

    #[test]
    fn entries_are_read_as_they_were_written(
        granularity in prop::sample::select(&Granularity::ALL[..]),
        rows in prop::collection::vec((0..100_i32, 0..24_u32, "[a-c]", "[u-w]"), 1..6),
        entries in prop::collection::vec(entry(6), 0..40),
    ) {
        let rows: Vec<Row> = rows.iter().map(|(day, hour, organization, user)| row(granularity, *day, *hour, organization, user)).collect();
        let entries: Vec<Entry<'_>> = entries.into_iter().map(|entry| Entry { row: entry.row % rows.len(), ..entry }).collect();
        let journal = Journal::open(&packed(granularity, &rows, &entries)).expect("whole");
        prop_assert_eq!(journal.granularity(), granularity);
        let mut expected: Vec<(Row, Entry<'_>)> = entries.iter().map(|entry| (rows[entry.row].clone(), Entry { row: 0, ..entry.clone() })).collect();
        expected.sort_by(|a, b| a.0.dimensions.organization.cmp(&b.0.dimensions.organization));
        prop_assert_eq!(unpacked(&journal), expected);
        prop_assert_eq!(journal.of("nobody").expect("whole").1.len(), 0);
    }

    /// Whatever the bytes are, where only their checksum is right.
    #[test]
    fn no_bytes_are_too_much_for_a_reader(bytes: Vec<u8>, organizations in 0..3_u8) {
        let unpacked = [&[1, organizations], bytes.as_slice()].concat();
        if let Ok(journal) = Journal::open(&pack(&unpacked)) {
            for (organization, _) in journal.organizations() {
                drop(journal.of(organization));
                drop(journal.sums_of(organization, 0));
            }
        }
    }
}
