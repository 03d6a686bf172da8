//! Whatever a tester breaks in a ledger of real requests is named, and healed, while more of them come in and everybody is
//! killed again and again.

use std::path::Path;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use testkit::eventually;
use testkit::product::Product;
use testkit::trace::{Spread, Trace};
use testkit::traffic::Item;
use testkit::world::{World, run, start, truth};

use crate::rebuild::{damage, kill_after, rebuild};
use crate::verify::{assert_clean, id, named, some, verify};

const SPREAD: Spread = Spread {
    organizations: 12,
    agents: 6,
    users: 80,
    models: 5,
};
const KILLS: u32 = 20;

/// The 28,185 requests of `tests/data`, in the order of their times.
fn requests() -> Vec<Item> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure-llm-2023");
    let of = |file: &str| Trace::open(&folder.join(file)).expect("a trace");
    let (code, conversations) = (of("code.csv"), of("conv.csv"));
    let all = code
        .items(SPREAD)
        .chain(conversations.items(SPREAD))
        .collect::<Vec<_>>();
    assert_eq!(all.len(), 28_185);
    all
}

/// A ledger with traffic, and who is killed in it.
struct Stage<'a> {
    world: &'a World,
    worker: Product,
    kills: u32,
}

impl Stage<'_> {
    async fn kill_worker(&mut self) {
        self.worker.process().kill9().expect("kills");
        self.kills += 1;
        self.worker = self.world.start("run", &[]);
    }

    /// Repairs, and is killed so many times before it is let through.
    async fn rebuild(&mut self, killed: u64) -> String {
        for turn in 1..=killed {
            let mut product = start(&["rebuild"], self.world.variables(&[]));
            let has_ended = kill_after(&mut product, Duration::from_millis(120 * turn)).await;
            self.kills += u32::from(!has_ended);
        }
        let (code, told) = rebuild(self.world, &[]).await;
        assert_eq!(code, 0, "{told}");
        told
    }

    /// Everything is named that was broken, as collection and counter; and then all is healed.
    async fn is_named(&self, expected: &[(&str, &str)]) {
        let (code, report) = verify(self.world.variables(&[]), &[]).await;
        let found = named(&report);
        assert_eq!(code, 2, "{report:#}");
        for (collection, counter) in expected {
            let one = ((*collection).to_owned(), (*counter).to_owned());
            assert!(found.contains(&one), "{one:?} is not among {found:?}");
        }
    }

    /// Rows of every kind are changed, deleted, doubled and made up.
    async fn rows_are_damaged(&mut self) {
        damage(self.world, 25).await;
        self.is_named(&[
            ("usageLedger", "costNanos"),
            ("usageLedger", "requests"),
            ("usageLedger", "inputTokens"),
            ("usageLedger", "userId"),
            ("usageRollups", "requests"),
            ("usageRollups", "totalTokens"),
            ("usageRollups", "_id"),
        ])
        .await;
        self.kill_worker().await;
        let told = self.rebuild(5).await;
        assert!(!told.contains("not to be mended"), "{told}");
        assert_clean(self.world.variables(&[])).await;
    }

    /// The rows of yesterday come back, and nothing else does.
    async fn rows_are_restored(&mut self, yesterday: &[Document]) {
        let rows = self.world.collection("usageLedger");
        rows.delete_many(doc! {}).await.expect("drops");
        for row in yesterday {
            let which = doc! {"_id": id(row)};
            let put = rows.replace_one(which, row).upsert(true).await;
            put.expect("restores");
        }
        self.is_named(&[("usageLedger", "requests"), ("usageLedger", "totalTokens")])
            .await;
        self.kill_worker().await;
        self.rebuild(6).await;
        assert_clean(self.world.variables(&[])).await;
    }

    /// A fence of before comes back: its lane stops, and goes on where its journal ends.
    async fn fence_is_set_back(&mut self, before: &Document) {
        self.worker.process().kill9().expect("kills");
        self.kills += 1;
        let fences = self.world.collection("usageFences");
        let lane = before.get_str("_id").expect("a lane");
        fences
            .replace_one(doc! {"_id": lane}, before)
            .await
            .expect("sets back");
        self.worker = self.world.start("run", &[]);
        self.world.wait_stopped().await;
        self.is_named(&[("usageFences", "journal")]).await;
        self.rebuild(3).await;
        eventually("the lane goes on", || async {
            let fence = self.world.fence().await.expect("a fence");
            !fence.contains_key("stopped")
        })
        .await;
        assert_clean(self.world.variables(&[])).await;
    }

    /// A document of the journal is changed, and then it is gone: nothing can heal that but the document.
    async fn journal_is_damaged(&mut self) {
        let journal = self.world.collection("usageJournal");
        let document = some(self.world, "usageJournal", doc! {"days.0": {"$exists": true}}, 3).await;
        let which = doc! {"_id": document.get_document("_id").expect("an id")};
        let change = doc! {"$inc": {"tally.counted": 1_i64}};
        journal.update_one(which.clone(), change).await.expect("damages");
        self.is_named(&[("usageJournal", "checksum")]).await;
        let told = self.rebuild(1).await;
        assert!(told.contains("not to be mended from the journal"), "{told}");
        journal.delete_one(which).await.expect("deletes");
        self.is_named(&[("usageJournal", "previous")]).await;
        let told = self.rebuild(1).await;
        assert!(told.contains("nothing was taken away"), "{told}");
        journal.insert_one(document).await.expect("restores");
        assert_clean(self.world.variables(&[])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: 28,185 requests and 20 kills"]
async fn what_is_broken_in_a_ledger_of_real_requests_is_named_and_healed() {
    let world = World::new("proof").await;
    let mut worker = world.ready(&[]).await;
    let all = requests();
    let (past, live) = all.split_at(12_000);
    let (day_before, yesterday) = past.split_at(6_000);
    world.insert(day_before).await;
    world.wait_read(&mut worker, truth(day_before).read).await;
    let fence = world.fence().await.expect("a fence");
    let rows = world
        .collection("usageLedger")
        .find(doc! {})
        .await
        .expect("reads");
    let rows: Vec<Document> = futures_util::TryStreamExt::try_collect(rows)
        .await
        .expect("reads");
    world.insert(yesterday).await;
    world.wait_read(&mut worker, truth(past).read).await;

    let traffic = async {
        for some in live.chunks(50) {
            world.insert(some).await;
            // Slower than a worker counts: it goes on for as long as the rest takes.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let mut stage = Stage {
        world: &world,
        worker,
        kills: 0,
    };
    let acts = async {
        stage.rows_are_damaged().await;
        stage.rows_are_restored(&rows).await;
        stage.journal_is_damaged().await;
        stage.fence_is_set_back(&fence).await;
        while stage.kills < KILLS {
            damage(stage.world, 5).await;
            stage.kill_worker().await;
            stage.rebuild(3).await;
        }
        assert_clean(stage.world.variables(&[])).await;
    };
    tokio::join!(traffic, acts);
    let expected = truth(&all);
    let Stage { mut worker, .. } = stage;
    world.wait_read(&mut worker, expected.read).await;
    assert_clean(world.variables(&[])).await;
    world.assert_truth(&expected).await;
    let (code, told) = run(&["rebuild"], world.variables(&[])).await;
    assert!(
        code == 0 && told.contains("0 rows and rollups were changed"),
        "{told}"
    );
}
