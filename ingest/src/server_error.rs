//! What an error of MongoDB means: who must act.
//!
//! An error arrives in one of several shapes: of the whole command, of one statement in an answer that says
//! `ok: 1`, of the write concern in an answer that says `ok: 1`, or while a connection is being authenticated.
//! All are brought into one form, an [`Answer`], and judged by one [`TABLE`]. What no line names is waited out,
//! and said.

mod act;
mod answer;
mod message;
mod table;

use mongodb::error::{Error, ErrorKind};

pub use act::{Act, Place};
pub use answer::{Answer, Labels, Shape};
pub use message::message;
pub use table::{
    COMMAND_NOT_SUPPORTED_ON_VIEW, DUPLICATE_KEY, INVALID_OPTIONS, Line, NAMESPACE_EXISTS,
    NAMESPACE_NOT_FOUND, TABLE, UNAUTHORIZED, is_of_snapshot, line,
};

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
