//! The workers, and what they said.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::process::was_killed;
use testkit::product::Product;

use super::churn::Act;
use super::scale::{SESSION, TOPIC, WORKERS};
use testkit::world::{World, admin};

/// How long a worker may take to leave: it has 20 s for its drain.
const LEAVE: Duration = Duration::from_secs(40);

/// One life of a worker.
struct Life {
    product: Product,
    name: String,
    leaving: bool,
}

/// What a worker says that ends since there is no MongoDB, and what one says that has begun.
const NO_START: &str = "MongoDB cannot be reached";
const READS: &str = "reading";

/// The workers, each alive or not.
pub(super) struct Workers {
    variables: Vec<(String, String)>,
    lives: [Option<Life>; WORKERS],
    begun: usize,
    logs: PathBuf,
    since: Instant,
    notes: String,
    problems: Vec<String>,
}

impl Workers {
    pub(super) fn new(world: &World, brokers: &str, logs: &Path) -> Self {
        let properties = format!(
            "session.timeout.ms={},heartbeat.interval.ms=500",
            SESSION.as_millis()
        );
        Self {
            variables: world.variables(&[
                ("SOURCE", "kafka"),
                ("KAFKA_BROKERS", brokers),
                ("KAFKA_TOPIC", TOPIC),
                ("KAFKA_PROPERTIES", &properties),
                ("BATCH_MAX_EVENTS", "2000"),
                ("BATCH_MAX_AGE", "50ms"),
            ]),
            lives: [const { None }; WORKERS],
            begun: 0,
            logs: logs.to_owned(),
            since: Instant::now(),
            notes: String::new(),
            problems: Vec::new(),
        }
    }

    /// Writes into the diary of the storm.
    pub(super) fn note(&mut self, what: &str) {
        self.notes
            .push_str(&format!("{:7.3} {what}\n", self.since.elapsed().as_secs_f64()));
        fs::write(self.logs.join("diary"), &self.notes).expect("writes the diary");
    }

    pub(super) async fn act(&mut self, act: Act) {
        match act {
            Act::Join(worker) => {
                self.bury(worker).await;
                self.launch(worker);
            }
            Act::Kill(worker) => {
                self.look_after(worker);
                self.living(worker).product.process().kill9().expect("kills");
            }
            Act::Leave(worker) => {
                self.look_after(worker);
                let life = self.living(worker);
                life.leaving = true;
                life.product.process().terminate().expect("asks");
            }
            Act::Freeze(worker) => {
                self.look_after(worker);
                // One that is dead already cannot freeze: told by `look_after`.
                drop(self.living(worker).product.process().pause());
            }
            Act::Thaw(worker) => self.living(worker).product.process().resume().expect("wakes"),
            Act::KillBroker | Act::KillMongo => unreachable!("not workers"),
        }
    }

    fn launch(&mut self, worker: usize) {
        self.begun += 1;
        let command = if self.begun.is_multiple_of(2) {
            "run"
        } else {
            "ingest"
        };
        let mut product = testkit::world::start(&[command], self.variables.clone());
        let name = format!("{:02}-worker-{worker}", self.begun);
        self.note(&format!("{name} is process {}", product.process().pid()));
        self.lives[worker] = Some(Life {
            product,
            name,
            leaving: false,
        });
    }

    fn keep(&mut self, worker: usize) {
        let logs = self.logs.clone();
        keep(self.living(worker), &logs);
    }

    fn living(&mut self, worker: usize) -> &mut Life {
        self.lives[worker].as_mut().expect("the plan joins first")
    }

    /// A worker never ends by itself, but for one that found no MongoDB when it started: whoever looks after it starts it
    /// again.
    fn look_after(&mut self, worker: usize) {
        let life = self.living(worker);
        let Err(error) = life.product.process().check() else {
            return;
        };
        let said = life.product.said();
        if said.contains(NO_START) && !said.contains(READS) {
            self.keep(worker);
            self.note("it found no MongoDB, and is started again");
            self.launch(worker);
        } else {
            let problem = format!("{} ended by itself: {error}", life.name);
            self.problems.push(problem);
        }
    }

    /// Waits for the end of a life, and keeps what it said.
    async fn bury(&mut self, worker: usize) {
        let Some(mut life) = self.lives[worker].take() else {
            return;
        };
        let ended = life.product.process().wait_ended(LEAVE).await;
        let said = testkit::process::log_after(life.product.process().log(), 0);
        match ended {
            Ok(status) if was_killed(status) && !life.leaving => {}
            Ok(status) if status.success() && life.leaving => {}
            // Asked to end before it could listen.
            Ok(_) if life.leaving && said.is_empty() => {}
            // A drain takes longer than it may while MongoDB is away: said, and nothing is lost.
            Ok(status) if status.code() == Some(1) && life.leaving => {
                self.note(&format!("{} did not drain in time", life.name));
                if !said.contains("the drain took longer than") {
                    self.problems.push(format!("{} failed: {said}", life.name));
                }
            }
            Ok(status) => self.problems.push(format!("{} ended with {status}", life.name)),
            Err(error) => self
                .problems
                .push(format!("{} did not leave: {error}", life.name)),
        }
        keep(&mut life, &self.logs);
    }

    /// Which workers are not ready, and why.
    pub(super) async fn not_ready(&mut self) -> Vec<String> {
        let mut reasons = Vec::new();
        for life in self.lives.iter_mut().flatten() {
            if let Err(error) = life.product.process().check() {
                reasons.push(format!("{}: {error}", life.name));
            }
            let (status, body) = admin(&life.product, "/readyz").await;
            if status != 200 {
                reasons.push(format!("{} is not ready: {status} {body}", life.name));
            }
        }
        reasons
    }

    /// All leave in good order. Everything that went wrong with a worker since the beginning.
    pub(super) async fn leave(&mut self) -> Vec<String> {
        for worker in 0..WORKERS {
            if self.lives[worker].is_some() {
                self.act(Act::Leave(worker)).await;
            }
        }
        for worker in 0..WORKERS {
            self.bury(worker).await;
        }
        std::mem::take(&mut self.problems)
    }
}

impl Drop for Workers {
    /// A panic must not take the logs with it.
    fn drop(&mut self) {
        for life in self.lives.iter_mut().flatten() {
            keep(life, &self.logs);
        }
    }
}

fn keep(life: &mut Life, logs: &Path) {
    if logs.exists() {
        fs::copy(life.product.process().log(), logs.join(&life.name)).expect("keeps the log");
    }
}
