//! The rules of a proxy, and the commands that it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::{Bson, Document, doc};

use super::command::{self, Seen, Transactions};
use super::hello::Version;
use super::rule::{Answer, Armed, Stage};
use super::wire::{Malformed, Message};

/// What all connections of a proxy share.
#[derive(Debug)]
pub(super) struct Book {
    /// Where the proxy listens.
    pub(super) address: SocketAddr,
    connections: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Arc<Armed>>,
    transactions: Transactions,
    seen: Vec<Seen>,
    version: Option<Version>,
    /// Bytes as the server stores them, and as clients see them.
    shown: Vec<(Vec<u8>, Vec<u8>)>,
    fault: Option<String>,
}

/// What is done to one command.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seen: Seen,
    /// Delays and holds before it is passed on.
    pub(super) before: Vec<Arc<Armed>>,
    /// Delays and holds before its reply is.
    pub(super) after: Vec<Arc<Armed>>,
    pub(super) edits: Vec<Arc<Armed>>,
    /// The first rule that has one.
    pub(super) answer: Option<Arc<Armed>>,
    /// The command that aborts its transaction, where the answer wants it.
    pub(super) abort: Option<Document>,
}

impl Plan {
    /// The answer that is given in place of passing the command on.
    pub(super) fn instead(&self) -> Option<&Answer> {
        self.answer_where(false)
    }

    /// The answer that is given in place of the server's.
    pub(super) fn afterwards(&self) -> Option<&Answer> {
        self.answer_where(true)
    }

    fn answer_where(&self, after: bool) -> Option<&Answer> {
        let rule = self.answer.as_deref().filter(|rule| rule.is_after() == after)?;
        rule.answer()
    }
}

impl Book {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connections: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// The number of a new connection.
    pub(super) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn enter(&self, rule: Arc<Armed>) {
        self.state().rules.push(rule);
    }

    /// Ends all rules, and what is told of the version.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.version = None;
        state.rules.drain(..).for_each(|rule| rule.stop());
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    pub(super) fn forget(&self) {
        self.state().seen.clear();
    }

    pub(super) fn set_version(&self, version: Version) {
        self.state().version = Some(version);
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.state().version.clone()
    }

    pub(super) fn show(&self, stored: &[u8], shown: &[u8]) {
        self.state().shown.push((stored.to_vec(), shown.to_vec()));
    }

    /// A message of a client as the server is to read it.
    pub(super) fn to_server(&self, mut message: Vec<u8>) -> Vec<u8> {
        for (stored, shown) in &self.state().shown {
            replace(&mut message, shown, stored);
        }
        message
    }

    /// A message of the server as the client is to read it.
    pub(super) fn to_client(&self, mut message: Vec<u8>) -> Vec<u8> {
        for (stored, shown) in &self.state().shown {
            replace(&mut message, stored, shown);
        }
        message
    }

    /// Keeps the first thing that passed and could not be read.
    pub(super) fn fault(&self, fault: String) {
        eprintln!("proxy: {fault}");
        self.state().fault.get_or_insert(fault);
    }

    pub(super) fn first_fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// Takes a command down and asks the rules, in the order in which they were armed.
    pub(super) fn plan(
        &self,
        message: &Message,
        connection: u64,
        app: Option<Arc<str>>,
    ) -> Result<Plan, Malformed> {
        let mut state = self.state();
        let seen = command::read(message, connection, app, &mut state.transactions)?;
        if !seen.is_handshake() {
            state.seen.push(seen.clone());
        }
        state.rules.retain(|rule| !rule.is_stopped());
        let mut plan = Plan {
            seen,
            before: Vec::new(),
            after: Vec::new(),
            edits: Vec::new(),
            answer: None,
            abort: None,
        };
        let mut document = None;
        for rule in &state.rules {
            if !rule.command().may_be(&plan.seen) {
                continue;
            }
            if rule.command().looks_inside() {
                if document.is_none() {
                    document = Some(message.command()?);
                }
                if !document.iter().all(|document| rule.command().is_inside(document)) {
                    continue;
                }
            }
            plan.ask(rule);
        }
        if plan.answer.as_ref().is_some_and(|rule| rule.aborts()) && plan.seen.transaction.is_some() {
            plan.abort = Some(abort(&message.command()?)?);
        }
        Ok(plan)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn ask(&mut self, rule: &Arc<Armed>) {
        let answers = rule.answer().is_some();
        if !rule.matches() || (answers && self.answer.is_some()) {
            return;
        }
        rule.reached(Stage::Matched);
        if answers {
            self.answer = Some(Arc::clone(rule));
        }
        if rule.edits() {
            self.edits.push(Arc::clone(rule));
        }
        if rule.waits() {
            let waits = if rule.is_after() {
                &mut self.after
            } else {
                &mut self.before
            };
            waits.push(Arc::clone(rule));
        }
    }
}

/// Aborts the transaction of this command.
fn abort(command: &Document) -> Result<Document, Malformed> {
    let field = |name: &str| -> Result<Bson, Malformed> {
        let missing = || Malformed::Bson(format!("a command of a transaction without {name}"));
        command.get(name).cloned().ok_or_else(missing)
    };
    Ok(doc! {
        "abortTransaction": 1,
        "lsid": field("lsid")?,
        "txnNumber": field("txnNumber")?,
        "autocommit": false,
        "$db": "admin",
    })
}

/// Replaces bytes by as many others, wherever they are.
fn replace(message: &mut [u8], from: &[u8], to: &[u8]) {
    let mut at = 0;
    while let Some(rest) = message.get_mut(at..).filter(|rest| rest.len() >= from.len()) {
        if rest.starts_with(from) {
            rest[..to.len()].copy_from_slice(to);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests;
