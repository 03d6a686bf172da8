//! What the driver's errors mean for the lane.

use mongodb::error::Error;

use super::Interrupt;
use crate::ledger::Refusal;
use crate::server_error::{Act, Answer, Fault, Place};
use crate::source::{Stop, StopReason};

/// `BSONObjectTooLarge`: an event is larger than a change stream may bring. The stream never gets past it.
const TOO_LARGE: i32 = 10334;

pub(super) fn interrupt(error: &Error) -> Interrupt {
    let Fault { act, why, .. } = Fault::of(error, Place::Outside);
    match act {
        Act::LaneLost => Interrupt::Stopped(Box::new(Stop {
            reason: StopReason::HistoryLost,
            detail: why,
            resumable: None,
        })),
        Act::Person(reason @ Refusal::NotAuthorized) => Interrupt::Refused { reason, why },
        _ if Answer::of(error).is_some_and(|answer| answer.code == TOO_LARGE) => Interrupt::TooLarge(why),
        _ => Interrupt::Away(why),
    }
}
