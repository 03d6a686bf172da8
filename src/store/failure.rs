//! What the driver's errors mean, and how they are told.

use std::borrow::Borrow;

use ingest::ledger::{CommitError, FenceError};
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};

/// What a failed operation of a transaction means for the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// A conflict: the same content may be tried again.
    Conflict(String),
    /// Too much for one transaction: time, cache or size.
    TooMuch(String),
    /// A counter would not fit 64 bits.
    Overflow,
    /// Nobody answers, or nobody leads.
    Away(String),
    /// Nobody knows whether the commit was applied.
    Unknown(String),
    /// No retry can help.
    Fatal(String),
}

/// Codes of too much for one transaction.
const TOO_MUCH: [i32; 6] = [
    50,    // MaxTimeMSExpired
    251,   // NoSuchTransaction: it outlived transactionLifetimeLimitSeconds
    257,   // TransactionTooLarge
    290,   // TransactionExceededLifetimeLimitSeconds
    307,   // TransactionTooLargeForCache
    10334, // BSONObjectTooLarge
];

/// Codes of conflicts that may come without the driver's label.
const CONFLICT: [i32; 3] = [
    112,   // WriteConflict
    11000, // DuplicateKey: two upserts raced; in a transaction nothing of it is applied
    24,    // LockTimeout
];

/// Codes of an operation that was ended from outside: who takes a lane over ends the session of its last owner, in the
/// middle of a statement too.
const INTERRUPTED: [i32; 2] = [
    1,     // InternalError: nobody knows what became of it
    11601, // Interrupted
];

/// Codes of a server that is not there, or not leading, for now.
const AWAY: [i32; 14] = [
    6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436, 133,
];

/// `BadValue`: the server's answer where `$inc` does not fit.
const BAD_VALUE: i32 = 2;

impl Failure {
    /// Classifies an error of an operation or of a commit.
    pub(super) fn of(error: &Error) -> Self {
        let told = message(error);
        if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            return Failure::Unknown(told);
        }
        match code(error) {
            Some(code) => Self::of_code(code, told, error.contains_label(TRANSIENT_TRANSACTION_ERROR)),
            None => match error.kind.as_ref() {
                ErrorKind::Io(_)
                | ErrorKind::ServerSelection { .. }
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::DnsResolve { .. } => Failure::Away(told),
                ErrorKind::Authentication { .. } => Failure::Fatal(told),
                _ if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => Failure::Conflict(told),
                _ => Failure::Fatal(told),
            },
        }
    }

    /// Classifies an error of a commit: one that was interrupted may have been applied before.
    pub(super) fn of_commit(error: &Error) -> Self {
        Self::of(error).at_commit(code(error))
    }

    fn at_commit(self, code: Option<i32>) -> Self {
        match self {
            Failure::Conflict(told) if code.is_some_and(|code| INTERRUPTED.contains(&code)) => {
                Failure::Unknown(told)
            }
            other => other,
        }
    }

    /// Classifies a server's error code.
    pub(super) fn of_code(code: i32, told: String, is_transient: bool) -> Self {
        if TOO_MUCH.contains(&code) {
            Failure::TooMuch(told)
        } else if AWAY.contains(&code) {
            Failure::Away(told)
        } else if is_transient || CONFLICT.contains(&code) || INTERRUPTED.contains(&code) {
            Failure::Conflict(told)
        } else if code == BAD_VALUE && told.contains("$inc") {
            Failure::Overflow
        } else {
            Failure::Fatal(told)
        }
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(why) | Failure::TooMuch(why) => CommitError::Contended(why),
            Failure::Overflow => CommitError::Overflow,
            Failure::Away(why) | Failure::Unknown(why) => CommitError::Away(why),
            Failure::Fatal(why) => CommitError::Fatal(why),
        }
    }
}

/// What a failed operation outside a transaction means for a fence.
pub(super) fn fence(error: &Error) -> FenceError {
    match Failure::of(error) {
        Failure::Fatal(why) => FenceError::Fatal(why),
        Failure::Overflow => FenceError::Fatal(message(error)),
        Failure::Conflict(why) | Failure::TooMuch(why) | Failure::Away(why) | Failure::Unknown(why) => {
            FenceError::Away(why)
        }
    }
}

/// The server's code for an error, if the server made it.
pub(super) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        _ => None,
    }
}

/// Whether a collection or index that was to be created is there already.
pub(super) fn exists_already(error: &Error) -> bool {
    code(error) == Some(48)
}

/// The error in a line, without the driver's own structure.
pub(super) fn message(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => format!("{} ({})", command.message, command.code),
        ErrorKind::Authentication { message, .. } => message.clone(),
        ErrorKind::InvalidArgument { message, .. } => message.clone(),
        ErrorKind::ServerSelection { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Why the server cannot be used at the start: one clear sentence.
pub(super) fn unreachable(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => {
            format!(
                "MongoDB refused the credentials of USAGE_LEDGER_MONGODB_URI: {}",
                message(error)
            )
        }
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::DnsResolve { .. } => {
            format!(
                "MongoDB cannot be reached (USAGE_LEDGER_MONGODB_URI): {}",
                message(error)
            )
        }
        _ if matches!(code(error), Some(13 | 18)) => {
            format!(
                "MongoDB refused the credentials of USAGE_LEDGER_MONGODB_URI: {}",
                message(error)
            )
        }
        _ => format!("MongoDB answered with an error: {}", message(error)),
    }
}

/// The same as the store's own error.
pub(super) fn unusable(error: impl Borrow<Error>) -> super::Error {
    super::Error::Unusable(unreachable(error.borrow()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per kind of answer of the server.
    #[test]
    fn each_code_says_who_must_act() {
        let told = || String::from("why");
        for (code, is_transient, expected) in [
            (112, true, Failure::Conflict(told())),
            (112, false, Failure::Conflict(told())),
            (11000, false, Failure::Conflict(told())),
            (1, false, Failure::Conflict(told())),
            (11601, false, Failure::Conflict(told())),
            (251, true, Failure::TooMuch(told())),
            (290, true, Failure::TooMuch(told())),
            (10107, true, Failure::Away(told())),
            (189, false, Failure::Away(told())),
            (13, false, Failure::Fatal(told())),
            (121, false, Failure::Fatal(told())),
            (2, false, Failure::Fatal(told())),
        ] {
            assert_eq!(Failure::of_code(code, told(), is_transient), expected, "{code}");
        }
        for (code, expected) in [
            (112, Failure::Conflict(told())),
            (1, Failure::Unknown(told())),
            (11601, Failure::Unknown(told())),
            (251, Failure::TooMuch(told())),
        ] {
            let at_commit = Failure::of_code(code, told(), false).at_commit(Some(code));
            assert_eq!(at_commit, expected, "{code} at the commit");
        }
        let overflow = "Failed to apply $inc operations to current value".to_owned();
        assert_eq!(Failure::of_code(2, overflow, false), Failure::Overflow);
    }
}
