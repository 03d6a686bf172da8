//! Who must act, and where.

use crate::hold::Refusal;

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
