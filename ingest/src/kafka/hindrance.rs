//! What is in the way of reading.

use crate::hold::Refusal;
use crate::source::SourceEvent;

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The group: this member gets no partitions.
    Group,
    /// The topic: what is assigned gives nothing.
    Topic,
}

/// Why nothing is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// It passes by itself.
    Away(String),
    /// Somebody has to act.
    Refused(Refusal, String),
}

impl Hindrance {
    pub(super) fn signal(self) -> SourceEvent {
        match self {
            Hindrance::Away(why) => SourceEvent::Away(Some(why)),
            Hindrance::Refused(reason, why) => SourceEvent::Refused { reason, why },
        }
    }

    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Hindrance::Refused(..))
    }
}
