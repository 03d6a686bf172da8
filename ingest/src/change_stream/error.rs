//! What the driver's errors mean for the lane.

use mongodb::error::{Error, ErrorKind};

use super::Interrupt;
use crate::source::{Stop, StopReason};

/// The oplog no longer reaches back to the token; or the token means nothing to this server.
const HISTORY_LOST: [i32; 3] = [
    286, // ChangeStreamHistoryLost
    280, // ChangeStreamFatalError
    260, // InvalidResumeToken
];

/// Somebody has to change a setting before this can work.
const NEEDS_A_PERSON: [i32; 5] = [
    13,    // Unauthorized
    18,    // AuthenticationFailed
    40573, // $changeStream is only supported on replica sets
    10334, // BSONObjectTooLarge
    26,    // NamespaceNotFound
];

pub(super) fn interrupt(error: &Error) -> Interrupt {
    match error.kind.as_ref() {
        ErrorKind::Command(command) if HISTORY_LOST.contains(&command.code) => {
            Interrupt::Stopped(Box::new(Stop {
                reason: StopReason::HistoryLost,
                detail: command.message.clone(),
                resumable: None,
            }))
        }
        ErrorKind::Command(command) if NEEDS_A_PERSON.contains(&command.code) => {
            Interrupt::Failed(command.message.clone())
        }
        ErrorKind::Authentication { message, .. } => Interrupt::Failed(message.clone()),
        _ => Interrupt::Away(error.to_string()),
    }
}
