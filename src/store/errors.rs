//! The store's own error; the meaning of the driver's errors for each caller, and their sentences at the start.
//!
//! One table says who must act: [`ingest::server_error`].

use std::borrow::Borrow;

use ingest::ledger::{CommitError, FenceError, Refusal};
use ingest::server_error::{Act, Answer, Fault, NAMESPACE_EXISTS, Place, UNAUTHORIZED};
use mongodb::error::{Error as DriverError, ErrorKind};

pub(super) use ingest::server_error::message;

use crate::config::Problem;

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong: exit 64.
    #[error("{0}")]
    Setting(Problem),
    /// The program cannot start or go on: exit 1.
    #[error("{0}")]
    Unusable(String),
    /// The server answers, with an error that passes by itself. A caller with time asks again; exit 1 for all others.
    #[error("{0}")]
    Passing(String),
}

/// An error of the driver as its reader gets it: one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Told(String);

impl From<&DriverError> for Told {
    fn from(error: &DriverError) -> Self {
        Told(message(error))
    }
}

/// What a failed commit means for the batch.
pub(super) fn commit(fault: Fault) -> CommitError {
    let why = fault.why;
    match fault.act {
        Act::RetrySame => CommitError::Conflict(why),
        Act::TakeLess => CommitError::TooMuch(why),
        Act::BadRecord => CommitError::BadRecord(why),
        Act::Overflow => CommitError::Overflow,
        Act::RetryWhole | Act::Wait | Act::LaneLost => CommitError::Away(why),
        Act::Person(reason) => CommitError::Refused { reason, why },
    }
}

/// What a failed operation outside a transaction means for a fence.
pub(super) fn fence(error: &DriverError) -> FenceError {
    if let ErrorKind::Bson(why) = error.kind.as_ref() {
        return damaged(format!("what is stored is not what this version stores: {why}"));
    }
    let Fault { act, why, .. } = Fault::of(error, Place::Outside);
    match act {
        Act::Person(reason) => FenceError::Refused { reason, why },
        _ => FenceError::Away(why),
    }
}

/// What is stored is not what this version stores.
pub(super) fn damaged(why: String) -> FenceError {
    FenceError::Refused {
        reason: Refusal::WriteRefused,
        why,
    }
}

/// The server's code for an error, if the server made it.
pub(super) fn code(error: &DriverError) -> Option<i32> {
    Answer::of(error).map(|answer| answer.code)
}

/// Whether the user may not do what was asked.
pub(super) fn is_right_missing(error: &DriverError) -> bool {
    code(error) == Some(UNAUTHORIZED)
}

/// Whether a collection or index that was to be created is there already.
pub(super) fn exists_already(error: &DriverError) -> bool {
    code(error) == Some(NAMESPACE_EXISTS)
}

/// Why the server cannot be used at the start: one clear sentence.
fn unreachable(error: &DriverError) -> String {
    let told = message(error);
    let is_refused = Fault::of(error, Place::Outside).act == Act::Person(Refusal::NotAuthorized);
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } if is_refused => {
            format!("MongoDB refused the credentials of USAGE_LEDGER_MONGODB_URI: {told}")
        }
        ErrorKind::Authentication { .. } => {
            format!("MongoDB cannot check the credentials of USAGE_LEDGER_MONGODB_URI: {told}")
        }
        ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::Io(_)
        | ErrorKind::DnsResolve { .. } => {
            format!("MongoDB cannot be reached (USAGE_LEDGER_MONGODB_URI): {told}")
        }
        _ if is_refused && told.contains("requires authentication") => {
            format!("MongoDB wants a user, and USAGE_LEDGER_MONGODB_URI names none: {told}")
        }
        _ if is_refused => {
            format!("the user of USAGE_LEDGER_MONGODB_URI lacks a right: {told}")
        }
        _ => format!("MongoDB answered with an error: {told}"),
    }
}

/// The same as the store's own error: whether it passes by itself.
pub(super) fn unusable(error: impl Borrow<DriverError>) -> Error {
    let error = error.borrow();
    let why = unreachable(error);
    match Fault::of(error, Place::Outside).act {
        Act::Wait | Act::RetrySame if Answer::of(error).is_some() => Error::Passing(why),
        _ => Error::Unusable(why),
    }
}

/// Nobody answers, or not in time.
pub(super) const UNREACHABLE: &str = "mongodb_unreachable";

/// Why a read failed, as `/readyz` shows it.
pub(super) fn readiness(error: &DriverError) -> &'static str {
    match Fault::of(error, Place::Outside).act {
        Act::Person(reason @ Refusal::NotAuthorized) => reason.name(),
        _ => UNREACHABLE,
    }
}

/// Why there is no client for a connection string: it is wrong, or its name cannot be resolved just now.
pub(super) fn no_client(error: &DriverError) -> Error {
    match error.kind.as_ref() {
        ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => unusable(error),
        _ => Error::Setting(Problem {
            variable: "USAGE_LEDGER_MONGODB_URI".into(),
            message: format!("expected a MongoDB connection string: {}", message(error)),
        }),
    }
}
