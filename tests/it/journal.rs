//! The journal: every number is the sum of its entries, whatever happened.

use std::collections::BTreeMap;

use mongodb::bson::{Document, doc};
use rollup::counters::{Counter, Sums};
use rollup::journal::Journal;
use rollup::key;
use testkit::world::World;

/// Every row of the finest granularity is the sum of its entries, and no entry is without its row.
pub(crate) async fn assert_entries(world: &World) {
    let (rows, entries) = (days(world).await, entries(world).await);
    for (id, sums) in &entries {
        assert_eq!(rows.get(id), Some(sums), "the entries of {id}");
    }
    let alone: Vec<&String> = rows.keys().filter(|id| !entries.contains_key(*id)).collect();
    assert_eq!(alone, Vec::<&String>::new(), "rows without entries");
}

/// The rows of the ledger by their `_id`, of the finest granularity.
async fn days(world: &World) -> BTreeMap<String, Sums> {
    let rows = world.collection("usageLedger");
    let finest = match rows
        .find_one(doc! {"granularity": "hourly"})
        .await
        .expect("reads")
    {
        Some(_) => "hourly",
        None => "daily",
    };
    let mut cursor = rows.find(doc! {"granularity": finest}).await.expect("reads");
    let mut days = BTreeMap::new();
    while cursor.advance().await.expect("reads") {
        let row: Document = cursor.deserialize_current().expect("a row");
        let mut sums = Sums::default();
        for counter in Counter::ALL {
            sums[counter] = row.get_i64(counter.name()).expect("a counter").into();
        }
        days.insert(row.get_str("_id").expect("an id").to_owned(), sums);
    }
    days
}

async fn entries(world: &World) -> BTreeMap<String, Sums> {
    let mut cursor = world
        .collection("usageJournal")
        .find(doc! {})
        .await
        .expect("reads");
    let mut entries: BTreeMap<String, Sums> = BTreeMap::new();
    while cursor.advance().await.expect("reads") {
        let document = cursor.deserialize_current().expect("a document");
        let packed = document.get_binary_generic("entries").expect("entries");
        let journal = Journal::open(packed).expect("whole");
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
    entries
}
