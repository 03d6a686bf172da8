//! What an error of MongoDB means: who must act.
//!
//! An error arrives in one of several shapes: of the whole command, of one statement in an answer that says
//! `ok: 1`, of the write concern in an answer that says `ok: 1`, or while a connection is being authenticated.
//! All are brought into one form, an [`Answer`], and judged by one [`TABLE`]. What no line names is waited out,
//! and said.

mod message;
mod table;

use std::error::Error as _;

use bson::{Bson, Document};
use mongodb::error::{
    BulkWriteError, Error, ErrorKind, InsertManyError, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteConcernError, WriteFailure,
};

use crate::ledger::Refusal;

pub use message::message;
pub use table::{Line, TABLE, is_of_snapshot, line};

/// `DuplicateKey`.
pub const DUPLICATE_KEY: i32 = 11000;
/// `NamespaceNotFound`.
pub const NAMESPACE_NOT_FOUND: i32 = 26;
/// `CommandNotSupportedOnView`.
pub const COMMAND_NOT_SUPPORTED_ON_VIEW: i32 = 166;
/// `NamespaceExists`.
pub const NAMESPACE_EXISTS: i32 = 48;
/// `InvalidOptions`.
pub const INVALID_OPTIONS: i32 = 72;
/// `Unauthorized`.
pub const UNAUTHORIZED: i32 = 13;
/// `BadValue`: what it is about is in its message only.
const BAD_VALUE: i32 = 2;

/// Who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// The worker: the same again, after a moment. Somebody else was in the way: where it happens again and again, less
    /// of it meets fewer.
    RetrySame,
    /// The worker: the same again, and whole: its transaction was ended, however much was in it.
    RetryWhole,
    /// The worker: less in one transaction. It was too much of time, cache or size.
    TakeLess,
    /// Whoever resumes the lane: it cannot go on from where it is.
    LaneLost,
    /// Whoever wrote the record: no server would take what follows from it.
    BadRecord,
    /// The same, where a stored counter would outgrow 64 bits.
    Overflow,
    /// Nobody: it passes by itself. Wait, and say why.
    Wait,
    /// A person, while the worker keeps what it has.
    Person(Refusal),
}

/// Where an error happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a transaction, before it is committed: nothing of it is applied.
    Transaction,
    /// At `commitTransaction`: nobody knows whether it is applied, unless the answer says so.
    Commit,
    /// Anywhere else: a read, a statement of its own, a change stream.
    Outside,
}

/// How an error arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The whole command failed.
    Command,
    /// One of its statements failed.
    Statement,
    /// It was done, and then not replicated as it should.
    WriteConcern,
    /// The connection could not be authenticated; the command was never sent.
    LogIn,
}

/// The labels that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Labels {
    /// `TransientTransactionError`: the transaction is over, and nothing of it is applied.
    pub transient: bool,
    /// `UnknownTransactionCommitResult`.
    pub unknown_commit: bool,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its code.
    pub code: i32,
    /// The name of the code; empty where the server gave none.
    pub name: String,
    /// Its sentence, as it came: it may quote the whole command.
    pub message: String,
    /// How it arrived.
    pub shape: Shape,
    /// What it is labelled with.
    pub labels: Labels,
}

/// An error, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Who must act.
    pub act: Act,
    /// Code, name and message, in one line.
    pub why: String,
    /// Of an error at [`Place::Commit`]: the server says that the transaction is not applied, nor ever will be.
    pub is_aborted: bool,
}

impl Fault {
    /// Judges an error of the driver.
    #[must_use]
    pub fn of(error: &Error, place: Place) -> Self {
        let why = message(error);
        let labels = Labels::of(error);
        match Answer::of(error) {
            Some(answer) => Self {
                act: answer.act(place),
                is_aborted: answer.is_aborted(place),
                why,
            },
            None => Self {
                act: without_answer(&error.kind, labels, place),
                is_aborted: false,
                why,
            },
        }
    }

    /// Nobody knows what it means, or the server did not say: it is waited out.
    #[must_use]
    pub fn wait(why: impl Into<String>) -> Self {
        Self {
            act: Act::Wait,
            why: why.into(),
            is_aborted: false,
        }
    }

    /// The same again.
    #[must_use]
    pub fn retry(why: impl Into<String>) -> Self {
        Self {
            act: Act::RetrySame,
            ..Self::wait(why)
        }
    }
}

impl From<&Answer> for Fault {
    /// Judges what a statement of a transaction was answered with.
    fn from(answer: &Answer) -> Self {
        Self {
            act: answer.act(Place::Transaction),
            why: answer.message(),
            is_aborted: false,
        }
    }
}

impl Labels {
    fn of(error: &Error) -> Self {
        Self {
            transient: error.contains_label(TRANSIENT_TRANSACTION_ERROR),
            unknown_commit: error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT),
        }
    }

    fn listed(labels: &[Bson]) -> Self {
        let has = |name: &str| labels.iter().any(|label| label.as_str() == Some(name));
        Self {
            transient: has(TRANSIENT_TRANSACTION_ERROR),
            unknown_commit: has(UNKNOWN_TRANSACTION_COMMIT_RESULT),
        }
    }
}

impl Answer {
    /// What the server said, if the server made this error.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        let labels = Labels::of(error);
        let answer = |code: i32, name: &str, message: &str, shape: Shape| Answer {
            code,
            name: name.to_owned(),
            message: message.to_owned(),
            shape,
            labels,
        };
        let concern = |error: &WriteConcernError| {
            answer(error.code, &error.code_name, &error.message, Shape::WriteConcern)
        };
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match error.kind.as_ref() {
            ErrorKind::Command(error) => Some(answer(
                error.code,
                &error.code_name,
                &error.message,
                Shape::Command,
            )),
            ErrorKind::Write(WriteFailure::WriteError(error)) => Some(answer(
                error.code,
                &name(&error.code_name),
                &error.message,
                Shape::Statement,
            )),
            ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(concern(error)),
            ErrorKind::InsertMany(InsertManyError {
                write_errors,
                write_concern_error,
                ..
            }) => {
                let first = write_errors.iter().flatten().next().map(|error| {
                    answer(
                        error.code,
                        &name(&error.code_name),
                        &error.message,
                        Shape::Statement,
                    )
                });
                first.or_else(|| write_concern_error.as_ref().map(concern))
            }
            ErrorKind::BulkWrite(BulkWriteError {
                write_errors,
                write_concern_errors,
                ..
            }) => {
                let first = write_errors.iter().min_by_key(|(index, _)| **index);
                let first = first.map(|(_, error)| {
                    answer(
                        error.code,
                        &name(&error.code_name),
                        &error.message,
                        Shape::Statement,
                    )
                });
                first
                    .or_else(|| write_concern_errors.first().map(concern))
                    .or_else(|| behind(error))
            }
            ErrorKind::Authentication { .. } => behind(error).map(|answer| Answer {
                shape: Shape::LogIn,
                ..answer
            }),
            _ => None,
        }
    }

    /// The first error in the answer to a command that says `ok: 1`: of a statement, or of the write concern.
    #[must_use]
    pub fn within(answer: &Document) -> Option<Self> {
        let statement = answer
            .get_array("writeErrors")
            .ok()
            .and_then(|errors| errors.first());
        let (error, shape) = match statement.and_then(Bson::as_document) {
            Some(error) => (error, Shape::Statement),
            None => (
                answer.get_document("writeConcernError").ok()?,
                Shape::WriteConcern,
            ),
        };
        let text = |name: &str| error.get_str(name).unwrap_or_default().to_owned();
        let labels = answer
            .get_array("errorLabels")
            .or_else(|_| error.get_array("errorLabels"));
        Some(Self {
            code: error.get("code").and_then(number).unwrap_or_default(),
            name: text("codeName"),
            message: text("errmsg"),
            shape,
            labels: labels.map(|labels| Labels::listed(labels)).unwrap_or_default(),
        })
    }

    /// Who must act.
    #[must_use]
    pub fn act(&self, place: Place) -> Act {
        if place == Place::Commit && self.labels.unknown_commit {
            // The next attempt meets fences that tell.
            return Act::RetrySame;
        }
        if self.shape == Shape::LogIn {
            return table::at_log_in(self.code);
        }
        let known = match self.code {
            BAD_VALUE => bad_value(&self.message),
            code => line(code).map(|line| line.act(place)),
        };
        match known {
            Some(act) => act,
            None if self.labels.transient => Act::RetrySame,
            None => Act::Wait,
        }
    }

    /// Of an answer to `commitTransaction`: whether nothing is applied, nor ever will be.
    fn is_aborted(&self, place: Place) -> bool {
        let is_refused = matches!(self.act(place), Act::TakeLess | Act::BadRecord | Act::Overflow);
        place == Place::Commit
            && self.shape == Shape::Command
            && !self.labels.unknown_commit
            && (self.labels.transient || is_refused)
    }
}

/// The error that the driver wrapped, in a box.
fn behind(error: &Error) -> Option<Answer> {
    let source = error.source()?;
    let boxed = source.downcast_ref::<Box<Error>>().map(AsRef::as_ref);
    Answer::of(boxed.or_else(|| source.downcast_ref())?)
}

/// A code, in whatever number type it came.
fn number(value: &Bson) -> Option<i32> {
    match value {
        Bson::Int32(code) => Some(*code),
        Bson::Int64(code) => i32::try_from(*code).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "a code is a small whole number")]
        Bson::Double(code) => Some(*code as i32),
        _ => None,
    }
}

/// `BadValue` is said of many things.
fn bad_value(message: &str) -> Option<Act> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["$inc"]) {
        Some(Act::Overflow)
    } else if says(&["nesting", "depth", "too large"]) {
        Some(Act::BadRecord)
    } else {
        None
    }
}

/// What the driver made of it without an answer of the server.
fn without_answer(kind: &ErrorKind, labels: Labels, place: Place) -> Act {
    match kind {
        _ if place == Place::Commit => match labels.unknown_commit {
            true => Act::RetrySame,
            false => Act::Wait,
        },
        // The statement cannot be sent: it is too large, or no BSON.
        ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_) if place == Place::Transaction => {
            Act::BadRecord
        }
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. } => Act::Wait,
        _ if labels.transient => Act::RetrySame,
        _ => Act::Wait,
    }
}

#[cfg(test)]
mod tests;
