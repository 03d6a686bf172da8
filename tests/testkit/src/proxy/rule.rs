//! What is done to the commands that are meant: pure, but for a rule's counts.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{Document, doc};
use tokio::sync::watch;

use super::command::{Command, Seen};
use crate::wait::PATIENCE;

/// Which of the commands that match a rule fires for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Always,
    Nth(u64),
    First(u64),
}

impl Times {
    /// Whether it fires for the match with this number, from 1.
    fn fires(self, number: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(nth) => number == nth,
            Self::First(count) => number <= count,
        }
    }
}

/// How long a command is delayed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delay {
    Fixed(Duration),
    PerStatement(Duration),
    PerTransactionStatement(Duration),
}

impl Delay {
    fn of(self, seen: &Seen) -> Duration {
        let times = |each: Duration, count: usize| each * u32::try_from(count).unwrap_or(u32::MAX);
        match self {
            Self::Fixed(delay) => delay,
            Self::PerStatement(each) => times(each, seen.statements),
            Self::PerTransactionStatement(each) => {
                times(each, seen.transaction.map_or(0, |place| place.statements))
            }
        }
    }
}

/// What the client gets in place of the server's reply.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Fail(Failure),
    Reply(Document),
    /// None: the request (or, after the server, the reply) does not arrive, and its connection is closed.
    Lose,
}

impl Answer {
    /// The reply that the client gets, if any. `real` is that of the server, where it executed the command.
    pub(super) fn reply(&self, seen: &Seen, real: Option<Document>) -> Option<Document> {
        match self {
            Self::Fail(failure) => Some(failure.reply(seen, real)),
            Self::Reply(reply) => Some(reply.clone()),
            Self::Lose => None,
        }
    }
}

/// An error in a reply.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) form: Form,
    pub(super) code: i32,
    pub(super) code_name: String,
    pub(super) message: String,
    pub(super) labels: Vec<String>,
}

/// The three places where servers put errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Command,
    Write { statement: i32 },
    WriteConcern,
}

impl Failure {
    /// The reply with this error in it. `real` is that of the server, where it executed the command: a write
    /// error and a write concern error stand beside what it says, an error of the command in its place.
    pub(super) fn reply(&self, seen: &Seen, real: Option<Document>) -> Document {
        let mut reply = match (self.form, real) {
            (Form::Command, _) => {
                doc! {"ok": 0.0, "errmsg": &self.message, "code": self.code, "codeName": &self.code_name}
            }
            (_, Some(real)) => real,
            (_, None) => nothing_done(seen),
        };
        match self.form {
            Form::Command => {}
            Form::Write { statement } => {
                let error = doc! {"index": statement, "code": self.code, "errmsg": &self.message};
                reply.insert("writeErrors", vec![error]);
            }
            Form::WriteConcern => {
                let error = doc! {"code": self.code, "codeName": &self.code_name, "errmsg": &self.message};
                reply.insert("writeConcernError", error);
            }
        }
        if !self.labels.is_empty() {
            reply.insert("errorLabels", self.labels.clone());
        }
        reply
    }
}

/// A reply as good as any to a command that did nothing.
fn nothing_done(seen: &Seen) -> Document {
    let mut reply = Document::new();
    if seen.statements > 0 {
        reply.insert("n", 0);
    }
    if seen.name == "update" {
        reply.insert("nModified", 0);
    }
    reply.insert("ok", 1.0);
    reply
}

pub(super) type Edit = Mutex<Box<dyn FnMut(&mut Document) + Send>>;

/// What a rule does.
#[derive(Default)]
pub(super) struct Effects {
    /// After the server executed the command, not before it is passed on.
    pub(super) after: bool,
    pub(super) delays: Vec<Delay>,
    pub(super) holds: bool,
    pub(super) answer: Option<Answer>,
    pub(super) aborts: bool,
    pub(super) edits: Vec<Edit>,
}

/// When a rule counts as fired: at the last of its effects, but a hold counts when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Matched,
    Delayed,
    Edited,
    Answered,
    Held,
}

/// A rule at work.
pub(super) struct Armed {
    command: Command,
    times: Times,
    effects: Effects,
    stopped: AtomicBool,
    matched: watch::Sender<u64>,
    fired: watch::Sender<u64>,
    holding: watch::Sender<bool>,
}

impl Armed {
    pub(super) fn new(command: Command, times: Times, effects: Effects) -> Self {
        Self {
            command,
            times,
            stopped: AtomicBool::new(false),
            matched: watch::Sender::new(0),
            fired: watch::Sender::new(0),
            holding: watch::Sender::new(effects.holds),
            effects,
        }
    }

    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Counts a match, and tells whether the rule fires for it.
    pub(super) fn matches(&self) -> bool {
        self.matched.send_modify(|count| *count += 1);
        self.times.fires(*self.matched.borrow())
    }

    pub(super) fn answer(&self) -> Option<&Answer> {
        self.effects.answer.as_ref()
    }

    pub(super) fn aborts(&self) -> bool {
        self.effects.aborts
    }

    /// Whether it acts only after the server executed the command.
    pub(super) fn is_after(&self) -> bool {
        self.effects.after
    }

    pub(super) fn edits(&self) -> bool {
        !self.effects.edits.is_empty()
    }

    pub(super) fn waits(&self) -> bool {
        self.effects.holds || !self.effects.delays.is_empty()
    }

    /// Its delays, then its hold.
    pub(super) async fn wait(&self, seen: &Seen) {
        for delay in &self.effects.delays {
            tokio::time::sleep(delay.of(seen)).await;
        }
        self.reached(Stage::Delayed);
        if self.effects.holds {
            let mut holding = self.holding.subscribe();
            self.reached(Stage::Held);
            // The sender is here, so this ends only with the hold.
            drop(holding.wait_for(|holding| !holding).await);
        }
    }

    pub(super) fn edit(&self, reply: &mut Document) {
        for edit in &self.effects.edits {
            edit.lock().unwrap_or_else(PoisonError::into_inner)(reply);
        }
        self.reached(Stage::Edited);
    }

    /// Counts it as fired where this is the stage that does.
    pub(super) fn reached(&self, stage: Stage) {
        if stage == self.decisive() {
            self.fired.send_modify(|count| *count += 1);
        }
    }

    fn decisive(&self) -> Stage {
        let effects = &self.effects;
        if effects.holds {
            Stage::Held
        } else if effects.answer.is_some() {
            Stage::Answered
        } else if self.edits() {
            Stage::Edited
        } else if self.waits() {
            Stage::Delayed
        } else {
            Stage::Matched
        }
    }

    pub(super) fn let_go(&self) {
        self.holding.send_replace(false);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.let_go();
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, times, .. } = self;
        write!(f, "{command:?}, {times:?}")?;
        if let Some(answer) = &self.effects.answer {
            write!(f, ", {answer:?}")?;
        }
        Ok(())
    }
}

/// A rule at work: its counts, and its end. Dropping the handle changes nothing.
#[derive(Debug, Clone)]
pub struct Rule(pub(super) Arc<Armed>);

impl Rule {
    /// How many commands matched so far, whether it fired for them or not.
    #[must_use]
    pub fn matched(&self) -> u64 {
        *self.0.matched.borrow()
    }

    /// How often it fired: its effect has taken place. A hold counts when it begins, a rule without effects when
    /// it matches, an edited stream of hellos with each reply.
    #[must_use]
    pub fn fired(&self) -> u64 {
        *self.0.fired.borrow()
    }

    /// Waits until it has fired `count` times in all.
    ///
    /// # Panics
    /// When it has not after [`PATIENCE`].
    pub async fn wait_fired(&self, count: u64) {
        let mut fired = self.0.fired.subscribe();
        let reached = tokio::time::timeout(PATIENCE, fired.wait_for(|fired| *fired >= count));
        let reached = reached.await.is_ok_and(|reached| reached.is_ok());
        assert!(
            reached,
            "{self:?}: matched {}, fired {} of {count} times",
            self.matched(),
            self.fired()
        );
    }

    /// Lets go what it holds, and holds nothing any more.
    pub fn let_go(&self) {
        self.0.let_go();
    }

    /// Ends it: it matches no more, and what it holds goes on.
    pub fn stop(&self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests;
