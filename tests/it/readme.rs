//! The README as it is written: every block is run, in order, in one place with real servers, and what it says is
//! counted exactly. Nothing of its prose is known here.

pub(crate) mod blocks;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use mongodb::bson::doc;
use serde_json::{Value, json};
use testkit::kafka::Broker;
use testkit::kafka::records;
use testkit::mongodb::Mongo;
use testkit::product::{self, Product, Settings};
use testkit::scratch::Scratch;
use testkit::wait::{PATIENCE, eventually};
use testkit::world::World;
use testkit::{net, shared, tools};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use blocks::{Block, Shown, blocks, spans};

const README: &str = include_str!("../../README.md");
const MAKEFILE: &str = include_str!("../../Makefile");

/// Where the examples find things; each stands for a server of this test's own.
const MONGODB: &str = "mongodb://127.0.0.1:27017/?replicaSet=rs0";
const KAFKA: &str = "localhost:9092";
const READER: &str = "127.0.0.1:8080";
/// The ledger of the topic. It is what commands are about until the README has started a worker of its own.
const GIVEN: &str = "it_readme";
const DATABASE_VARIABLE: &str = "USAGE_LEDGER_MONGODB_DATABASE";
/// The database and the topic that are used where nothing else is said.
const DATABASE: &str = "usage";
const TOPIC: &str = "request-events";
const PARTITIONS: u16 = 4;
/// The dead letter that the examples show.
const LETTER: (i32, i64) = (3, 1042);

/// What a variable of the examples stands for: it is theirs to have, as in a real service.
const JS: [&str; 2] = [
    r#"const { MongoClient } = require("mongodb");
const client = new MongoClient(process.env.USAGE_LEDGER_MONGODB_URI);
const requestId = crypto.randomUUID();
(async () => {
"#,
    "\nawait client.close();\n})().catch((error) => { console.error(error); process.exit(1); });\n",
];
const PYTHON: &str = "import os
from datetime import datetime, timezone
from pymongo import MongoClient
events = MongoClient(os.environ['USAGE_LEDGER_MONGODB_URI'], w='majority').usage.requestEvents
run_id, step = 'run-1', 3
";

/// A folder that looks like a checkout with the program built, and what runs beside it.
struct Place {
    folder: Scratch,
    mongo: Arc<Mongo>,
    broker: Arc<Broker>,
    /// `NAME=value` of what the blocks have exported so far.
    variables: Vec<(String, String)>,
    running: Vec<Product>,
}

impl Place {
    async fn new() -> Self {
        let folder = Scratch::new("readme").expect("a folder");
        let place = Self {
            mongo: shared::mongo().await,
            broker: shared::broker().await,
            variables: vec![(DATABASE_VARIABLE.to_owned(), GIVEN.to_owned())],
            running: Vec::new(),
            folder,
        };
        let program = product::program().expect("the program is built");
        for link in ["target/release/usage-ledger", "bin/usage-ledger"] {
            let link = place.path(link);
            fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
            symlink(&program, link).expect("a link");
        }
        // What cargo builds is what is tested here, in the profile of the tests.
        place.script("cargo", "[ \"$*\" = 'build --release -p usage-ledger' ]");
        let jars = tools::folder().join("kafka/lib");
        let java = "exec \"${JAVA_HOME:+$JAVA_HOME/bin/}java\" -cp";
        let class = "org.apache.kafka.tools.ConsoleProducer";
        place.script(
            "kafka-console-producer.sh",
            &format!("{java} '{}/*' {class} \"$@\"", jars.display()),
        );
        // An answer that is a problem is a failure.
        fs::write(place.path(".curlrc"), "fail-with-body\nsilent\nshow-error\n").expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, line: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    /// The text of a block with this test's servers in it.
    fn here(&self, text: &str) -> String {
        let reader = self.running.last().map_or(READER, |product| product.api());
        text.replace(MONGODB, self.mongo.uri())
            .replace(KAFKA, self.broker.brokers())
            .replace(&format!("http://{READER}"), reader)
    }

    /// Runs a program to its end; what it printed.
    async fn run(&self, program: &Path, arguments: &[&str], what: &Block) -> String {
        let path = std::env::join_paths(
            std::iter::once(self.path("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").expect("a PATH"))),
        );
        let mut command = Command::new(program);
        // What the caller has set for itself is not what the README says.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("USAGE_LEDGER_") {
                command.env_remove(name);
            }
        }
        let run = command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path.expect("a PATH"))
            .env("HOME", self.folder.path())
            .env("NODE_PATH", tools::folder().join("node-driver/node_modules"))
            .env("USAGE_LEDGER_MONGODB_URI", self.mongo.uri())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .unwrap_or_else(|_| panic!("does not end: {what}"))
            .unwrap_or_else(|error| panic!("{}: {error} (deploy/setup.sh test): {what}", program.display()));
        let (said, told) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{}: {what}\n{said}\n{told}",
            output.status
        );
        said.into_owned()
    }

    /// Runs a block. A last line that starts a server leaves it running.
    async fn block(&mut self, block: &Block) -> String {
        let text = self.here(&block.text);
        match block.language.as_str() {
            "js" => {
                let node = tools::from_folder("node/bin/node");
                let node = node
                    .or_else(|| tools::on_path("node"))
                    .expect("Node: deploy/setup.sh test");
                self.run(&node, &["-e", &JS.join(&text)], block).await
            }
            "python" => {
                let python = tools::folder().join("secantus-python/bin/python");
                self.run(&python, &["-c", &format!("{PYTHON}{text}")], block)
                    .await
            }
            _ => self.shell(&text, block).await,
        }
    }

    async fn shell(&mut self, text: &str, block: &Block) -> String {
        let (text, server) = match text.trim_end().rsplit_once('\n') {
            Some((before, last)) if is_server(last) => (before, Some(last)),
            None if is_server(text.trim_end()) => ("", Some(text.trim_end())),
            _ => (text, None),
        };
        let kept = self.path("variables");
        let script = format!("set -euo pipefail\n{text}\nenv -0 > '{}'\n", kept.display());
        let said = self.run(Path::new("bash"), &["-c", &script], block).await;
        let kept = fs::read_to_string(kept).expect("variables");
        self.variables = kept
            .split('\0')
            .filter_map(|variable| variable.split_once('='))
            .filter(|(name, _)| name.starts_with("USAGE_LEDGER_") || *name == "TOKEN")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if let Some(line) = server {
            self.serve(line).await;
        }
        said
    }

    async fn serve(&mut self, line: &str) {
        self.variables.retain(|(name, _)| name != DATABASE_VARIABLE);
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        let program = self.path(&words.next().expect("a program"));
        let variables = self.variables.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("USAGE_LEDGER_")?;
            Some((name.to_owned(), value.clone()))
        });
        let product = Product::start(Settings {
            program,
            arguments: words.collect(),
            variables: variables.collect(),
            api_port: net::free_port().expect("a port"),
            admin_port: net::free_port().expect("a port"),
        });
        let mut product = product.expect("starts");
        product.wait_ready(PATIENCE).await.expect("ready");
        self.running.push(product);
        let secret = self
            .variables
            .iter()
            .find(|(name, _)| name == "USAGE_LEDGER_JWT_SECRET");
        if let Some((_, secret)) = secret {
            let token = ("TOKEN".to_owned(), token(secret));
            self.variables.push(token);
        }
    }
}

/// A line that starts the program for as long as it is wanted.
fn is_server(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], [program, "run" | "ingest" | "serve", ..] if program.ends_with("usage-ledger"))
}

fn token(secret: &str) -> String {
    let claims = json!({"sub": "u-1", "exp": 4_000_000_000_u64, "organizations": {"acme": "owner"}});
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), &claims, &key).expect("a token")
}

/// What the examples presuppose: a worker on the topic, and the dead letter that they show.
async fn given(place: &mut Place) -> World {
    place
        .broker
        .create_topic(TOPIC, PARTITIONS, &[])
        .await
        .expect("a topic");
    let sender = records::Sender::new(place.broker.brokers(), TOPIC, &[]).expect("a producer");
    let skipped = json!({"eventId": "t", "completedAt": "2026-01-05T10:00:00Z", "source": "chat",
        "organizationId": "acme", "testMode": true});
    let mut wrong = skipped.clone();
    wrong["testMode"] = json!(false);
    wrong["currency"] = json!("EUR");
    wrong["cost"] = json!("1");
    let (partition, offset) = LETTER;
    for number in 0..=offset {
        let event = if number == offset { &wrong } else { &skipped };
        sender
            .send(partition, "acme", Some(event.to_string().as_bytes()))
            .expect("sent");
    }
    sender.flush().expect("arrives");
    let world = World::on(&place.mongo, "readme").await;
    assert_eq!(world.name, GIVEN);
    let brokers = place.broker.brokers().to_owned();
    let worker = world.start("ingest", &[("SOURCE", "kafka"), ("KAFKA_BROKERS", &brokers)]);
    place.running.push(worker);
    let letters = world.collection("usageDeadLetters");
    let letter = || async {
        letters
            .find_one(doc! {"reason": "currency_mismatch"})
            .await
            .expect("reads")
            .is_some()
    };
    eventually("the dead letter that is shown", letter).await;
    world
}

#[test]
fn every_block_is_run_or_shown_for_a_known_reason() {
    let all = blocks(README).unwrap_or_else(|wrong| panic!("{wrong}"));
    let goals = goals();
    for block in all.iter().filter(|block| block.shown == Some(Shown::Make)) {
        for line in block.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(
                matches!(words[..], ["make", goal, ..] if goals.contains(goal)),
                "no goal of the Makefile: {block}"
            );
        }
    }
    for language in ["sh", "js", "python"] {
        let run = |block: &&Block| block.language == language && block.shown.is_none();
        assert!(
            all.iter().any(|block| run(&block)),
            "no block in {language} is run"
        );
    }
}

fn goals() -> BTreeSet<&'static str> {
    let line = MAKEFILE.lines().find_map(|line| line.strip_prefix(".PHONY:"));
    line.expect("goals").split_whitespace().collect()
}

/// What is named within lines exists: goals of the Makefile, commands of the program and their flags.
#[tokio::test]
async fn commands_named_in_the_text_exist() {
    let goals = goals();
    let mut asked = 0;
    for span in spans(README) {
        let words: Vec<&str> = span.split_whitespace().collect();
        match words[..] {
            ["make", goal, ..] => assert!(goals.contains(goal), "`{span}` is no goal of the Makefile"),
            ["usage-ledger", command, ..] if !command.starts_with('-') => {
                help(&span, &words[1..]).await;
                asked += 1;
            }
            _ => {}
        }
    }
    assert!(asked > 0, "no command is named");
}

/// Asks for the help of a command as the text names it: `lanes list|show` are two.
async fn help(span: &str, words: &[&str]) {
    let is_command = |word: &&&str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '|'))
            && !word.starts_with('-')
    };
    let commands: Vec<&str> = words.iter().take_while(is_command).copied().collect();
    let alternatives = commands.last().map_or("", |last| *last).split('|');
    for last in alternatives {
        let mut arguments = commands.clone();
        arguments.pop();
        arguments.extend([last, "--help"]);
        let (code, told) = testkit::world::run(&arguments, Vec::new()).await;
        assert_eq!(code, 0, "`{span}`: {told}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(told.contains(flag), "`{span}` has no {flag}: {told}");
        }
    }
}

#[tokio::test]
async fn the_blocks_run_in_order_and_count_exactly() {
    let mut place = Place::new().await;
    let given = given(&mut place).await;
    let mut own = World::on(&place.mongo, DATABASE).await;
    DATABASE.clone_into(&mut own.name);
    own.database = place.mongo.client().await.expect("a client").database(DATABASE);
    let (mut inserted, mut produced) = (0, 0);
    for block in blocks(README).expect("blocks") {
        if block.shown.is_some() {
            continue;
        }
        let said = place.block(&block).await;
        let has = |word: &str| block.text.contains(word);
        inserted += i64::from(has("insertOne(") || has("insert_one("));
        produced += i64::from(has("kafka-console-producer.sh"));
        if has("curl ") {
            let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{block}\n{said}"));
            assert!(answer["totals"]["requests"].is_u64(), "{block}\n{said}");
        }
    }
    assert!(inserted > 1 && produced > 0, "the README emits nothing");
    // The examples, and the letter that they show and its predecessors: nothing else, and nothing twice.
    let (_, skipped) = LETTER;
    for (world, tally) in [
        (&given, [produced + skipped + 1, produced, 0, skipped, 1]),
        (&own, [inserted, inserted, 0, 0, 0]),
    ] {
        let sums = || async {
            let mut sums = [0; 5];
            for (sum, name) in sums
                .iter_mut()
                .zip(["read", "counted", "duplicate", "skipped", "deadLetter"])
            {
                *sum = world.sum_of_lanes(name).await;
            }
            sums
        };
        eventually(&format!("{tally:?} of {}", world.name), || async {
            sums().await == tally
        })
        .await;
        let rows = world.sums(doc! {"organizationId": "acme"}).await;
        assert_eq!(
            rows["ledger daily"]["requests"],
            i128::from(tally[1]),
            "{}",
            world.name
        );
    }
    for mut product in place.running {
        product.stop(Duration::from_secs(20)).await.expect("drains");
    }
}

/// As a newcomer does: starts the demo, pastes the line that it prints into another shell, and waits for the verdict.
#[tokio::test]
#[ignore = "in make test-all: builds the demo, and lets it run for a while"]
async fn the_demo_counts_what_it_sends_and_an_event_of_ones_own() {
    let demo = Command::new("make")
        .arg("demo")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DURATION", "20s")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut demo = demo.expect("make");
    let mut lines = BufReader::new(demo.stdout.take().expect("an output")).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.expect("lines") {
        if line.contains("/demo send ") {
            let sent = Command::new("sh").args(["-c", &line]).status().await.expect("sh");
            assert!(sent.success(), "{line}");
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = demo.wait().await.expect("ends");
    assert!(status.success(), "{said}");
    for words in [
        "exact: every total",
        "events of your own: 1",
        "everything that was started has ended",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
