//! How attempts to commit end.

/// How an attempt to commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Applied.
    Applied,
    /// Some lanes belong to another process.
    Lost,
    /// A counter would overflow.
    Overflow,
    /// Ids were in the ledger already.
    DuplicateIds,
    /// Somebody else was in the way.
    Conflict,
    /// Time, cache or size.
    TooMuch,
    /// The server would not take what follows from a record.
    BadRecord,
    /// The database was away.
    Away,
    /// A person must act.
    Refused,
}

impl CommitOutcome {
    pub(super) const ALL: [CommitOutcome; 9] = [
        CommitOutcome::Applied,
        CommitOutcome::Lost,
        CommitOutcome::Overflow,
        CommitOutcome::DuplicateIds,
        CommitOutcome::Conflict,
        CommitOutcome::TooMuch,
        CommitOutcome::BadRecord,
        CommitOutcome::Away,
        CommitOutcome::Refused,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            CommitOutcome::Applied => "applied",
            CommitOutcome::Lost => "lost",
            CommitOutcome::Overflow => "overflow",
            CommitOutcome::DuplicateIds => "duplicate_ids",
            CommitOutcome::Conflict => "conflict",
            CommitOutcome::TooMuch => "too_much",
            CommitOutcome::BadRecord => "bad_record",
            CommitOutcome::Away => "away",
            CommitOutcome::Refused => "refused",
        }
    }
}
