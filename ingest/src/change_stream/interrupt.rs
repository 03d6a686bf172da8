//! Why reading was interrupted.

use mongodb::error::Error;

use crate::hold::Refusal;
use crate::server_error::{Act, Answer, Fault, Place};
use crate::source::{Stop, StopReason};

/// `BSONObjectTooLarge`: an event is larger than a change stream may bring. The stream never gets past it.
const TOO_LARGE: i32 = 10334;

/// Why reading was interrupted.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// The loop no longer listens.
    Closed,
    /// The lane is no longer ours.
    Lost,
    /// The lane can never go on from here by itself.
    Stopped(Box<Stop>),
    /// The server is away, or says what nobody knows: open again.
    Away(String),
    /// A person must act: open again now and then.
    Refused { reason: Refusal, why: String },
    /// The server does not answer: open again, and wait for longer.
    Silent,
    /// A change is larger than the server can deliver: open again, and ask for less.
    TooLarge(String),
    /// Open again at once.
    Again,
}

impl From<Error> for Interrupt {
    /// What an error of the driver means for the lane.
    fn from(error: Error) -> Self {
        let Fault { act, why, .. } = Fault::of(&error, Place::Outside);
        match act {
            Act::LaneLost => Interrupt::Stopped(Box::new(Stop {
                reason: StopReason::HistoryLost,
                detail: why,
                resumable: None,
            })),
            Act::Person(reason @ Refusal::NotAuthorized) => Interrupt::Refused { reason, why },
            _ if Answer::of(&error).is_some_and(|answer| answer.code == TOO_LARGE) => {
                Interrupt::TooLarge(why)
            }
            _ => Interrupt::Away(why),
        }
    }
}
