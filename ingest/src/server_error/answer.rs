//! What a server said: its errors, in whatever shape they came, in one form.

use std::error::Error as _;

use bson::{Bson, Document};
use mongodb::error::{
    BulkWriteError, Error, ErrorKind, InsertManyError, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteConcernError, WriteFailure,
};

use super::act::{Act, Place};
use super::table::{self, BAD_VALUE, line};

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

impl Labels {
    pub(super) fn of(error: &Error) -> Self {
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
    pub(super) fn is_aborted(&self, place: Place) -> bool {
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
