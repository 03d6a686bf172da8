//! The runbook: every alert has its page, and every command of a page is run as it stands, in the state that the alert
//! is about where that can be made.

use std::path::Path;
use std::process::Stdio;

use mongodb::bson::doc;
use testkit::product::{self, Product};
use testkit::scratch::Scratch;
use testkit::wait::{PATIENCE, eventually};
use testkit::world::{World, event};
use tokio::process::Command;

use crate::readme::blocks::{Block, blocks, spans};

const RUNBOOK: &str = include_str!("../../deploy/RUNBOOK.md");
const RULES: &str = include_str!("../../deploy/helm/usage-ledger/files/rules.yaml");
/// Where the pages find things; each stands for one of this test's own.
const ADMIN: &str = "http://127.0.0.1:9464";
/// A setting of the workers, which replay is judged by, too.
const MAX_AGE: &str = "1h";
const LANE: &str = "mongodb/usage.requestEvents";

/// The pages by their headings, with their text.
fn pages() -> Vec<(&'static str, &'static str)> {
    let pages = RUNBOOK.split("\n## ").skip(1);
    pages.map(|page| page.split_once('\n').expect("a text")).collect()
}

#[test]
fn each_alert_has_its_page_and_links_to_it() {
    let alerts: Vec<&str> = RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let pages: Vec<&str> = pages().into_iter().map(|(alert, _)| alert).collect();
    assert_eq!(alerts, pages);
    for alert in alerts {
        let anchor = alert.to_ascii_lowercase();
        assert_eq!(
            RULES
                .matches(&format!("runbook_url: RUNBOOK.md#{anchor}\n"))
                .count(),
            1,
            "{alert}"
        );
        assert!(
            RUNBOOK.contains(&format!("| [{alert}](#{anchor}) |")),
            "{alert} is not in the list"
        );
    }
}

#[test]
fn commands_named_in_the_text_are_run_in_a_block() {
    for span in spans(RUNBOOK) {
        if span.starts_with("usage-ledger ") {
            assert!(
                RUNBOOK.contains(&format!("\n{span}\n")),
                "`{span}` is in no block"
            );
        }
    }
}

/// A worker, and a folder in which `usage-ledger` is on the PATH.
struct Place {
    world: World,
    worker: Product,
    folder: Scratch,
}

impl Place {
    async fn new() -> Self {
        let world = World::new("runbook").await;
        let folder = Scratch::new("runbook").expect("a folder");
        let program = product::program().expect("the program is built");
        std::os::unix::fs::symlink(program, folder.path().join("usage-ledger")).expect("a link");
        let worker = world.ready(&[("MAX_AGE", MAX_AGE)]).await;
        Self {
            world,
            worker,
            folder,
        }
    }

    /// What a page is about, as far as a test can make it so.
    async fn make(&self, alert: &str) {
        match alert {
            "UsageLedgerStopped" => {
                let events = self.world.collection("requestEvents");
                events.drop().await.expect("drops");
                self.world.wait_stopped().await;
            }
            "UsageLedgerDeadLetters" => {
                self.world.insert_one(event("acme")).await;
                let letters = || async { self.world.letters_where(doc! {"reason": "too_old"}).await > 0 };
                eventually("a letter", letters).await;
            }
            _ => {}
        }
    }

    async fn run(&self, block: &Block) -> String {
        let here = block
            .text
            .replace(ADMIN, self.worker.admin())
            .replace(LANE, &format!("mongodb/{}.requestEvents", self.world.name));
        let found = std::env::var_os("PATH").expect("a PATH");
        let path = std::iter::once(self.folder.path().to_owned()).chain(std::env::split_paths(&found));
        let admin = self.worker.admin().trim_start_matches("http://");
        let variables = self
            .world
            .variables(&[("ADMIN_ADDR", admin), ("MAX_AGE", MAX_AGE)]);
        let variables = variables
            .into_iter()
            .map(|(name, value)| (format!("USAGE_LEDGER_{name}"), value));
        let run = Command::new(Path::new("bash"))
            .args(["-euo", "pipefail", "-c", &here])
            .env("PATH", std::env::join_paths(path).expect("a PATH"))
            .envs(variables)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run).await;
        let output = output
            .unwrap_or_else(|_| panic!("does not end: {block}"))
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {block}\n{said}\n{told}",
            output.status
        );
        assert!(!said.trim().is_empty(), "says nothing: {block}");
        said
    }
}

#[tokio::test]
async fn every_command_is_run_as_it_stands() {
    let place = Place::new().await;
    let mut run = 0;
    for (alert, page) in pages() {
        place.make(alert).await;
        let blocks = blocks(page).unwrap_or_else(|wrong| panic!("{alert}: {wrong}"));
        let mut said = String::new();
        for block in blocks.iter().filter(|block| block.shown.is_none()) {
            said += &place.run(block).await;
            run += 1;
        }
        let expected = match alert {
            "UsageLedgerNotReady" => "ready: ",
            "UsageLedgerStopped" => "goes on; events from",
            "UsageLedgerDeadLetters" => "would stay a dead letter",
            _ => "",
        };
        assert!(said.contains(expected), "{alert}: {said}");
        if alert == "UsageLedgerStopped" {
            assert!(said.contains("stopped: invalidated"), "{said}");
        }
    }
    assert!(run >= pages().len(), "{run} blocks were run");
}
