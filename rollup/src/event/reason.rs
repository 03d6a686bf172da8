//! Why records cannot be booked, and the codes that are stored of it.

/// Why a record cannot be booked. The name is stored with the dead letter and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The record is no JSON object in UTF-8.
    InvalidJson,
    /// The record is not UTF-8.
    InvalidUtf8,
    /// The record has no payload, or an empty one.
    EmptyRecord,
    /// The content type is not one that is read here.
    UnsupportedContentType,
    /// A required field is missing or null.
    MissingField,
    /// A field has another type than the contract says.
    WrongType,
    /// A field is not of the form that the contract says.
    InvalidValue,
    /// A required text is empty.
    EmptyText,
    /// A text has more than 128 characters.
    TooLong,
    /// A text holds a control character.
    ControlCharacter,
    /// A text is of the form `__…__`, which is reserved.
    ReservedValue,
    /// A quantity is negative or above 10^15, or a cost is.
    OutOfRange,
    /// A part is larger than the whole that includes it.
    SubsetExceedsTotal,
    /// The total that was stated is not the sum of input and output.
    TotalMismatch,
    /// More than one of the cost fields is there.
    CostConflict,
    /// The currency is not the ledger's.
    CurrencyMismatch,
    /// A field is there twice.
    DuplicateField,
    /// The CloudEvents id and the event's own differ.
    IdMismatch,
    /// Another event with the same identity, and other quantities, is counted.
    IdReused,
    /// Completed before 2000, or longer ago than the configured maximum age.
    TooOld,
    /// Completed more than five minutes ahead of the ledger's clock.
    InTheFuture,
    /// A kind of event that this version does not book yet. Kept, to be replayed by one that does.
    UnsupportedType,
    /// A change of an event document whose images are not there.
    ImageMissing,
    /// The record is larger than 256 KiB.
    TooLarge,
    /// Booking it would overflow a stored counter.
    Overflow,
    /// The ledger's server refuses what follows from it.
    Unstorable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 26] = [
        Reason::InvalidJson,
        Reason::InvalidUtf8,
        Reason::EmptyRecord,
        Reason::UnsupportedContentType,
        Reason::MissingField,
        Reason::WrongType,
        Reason::InvalidValue,
        Reason::EmptyText,
        Reason::TooLong,
        Reason::ControlCharacter,
        Reason::ReservedValue,
        Reason::OutOfRange,
        Reason::SubsetExceedsTotal,
        Reason::TotalMismatch,
        Reason::CostConflict,
        Reason::CurrencyMismatch,
        Reason::DuplicateField,
        Reason::IdMismatch,
        Reason::IdReused,
        Reason::TooOld,
        Reason::InTheFuture,
        Reason::UnsupportedType,
        Reason::ImageMissing,
        Reason::TooLarge,
        Reason::Overflow,
        Reason::Unstorable,
    ];

    /// The code stored with a dead letter.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Reason::InvalidJson => "invalid_json",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::EmptyRecord => "empty_record",
            Reason::UnsupportedContentType => "unsupported_content_type",
            Reason::MissingField => "missing_field",
            Reason::WrongType => "wrong_type",
            Reason::InvalidValue => "invalid_value",
            Reason::EmptyText => "empty_text",
            Reason::TooLong => "too_long",
            Reason::ControlCharacter => "control_character",
            Reason::ReservedValue => "reserved_value",
            Reason::OutOfRange => "out_of_range",
            Reason::SubsetExceedsTotal => "subset_exceeds_total",
            Reason::TotalMismatch => "total_mismatch",
            Reason::CostConflict => "cost_conflict",
            Reason::CurrencyMismatch => "currency_mismatch",
            Reason::DuplicateField => "duplicate_field",
            Reason::IdMismatch => "id_mismatch",
            Reason::IdReused => "id_reused",
            Reason::TooOld => "too_old",
            Reason::InTheFuture => "in_the_future",
            Reason::UnsupportedType => "unsupported_type",
            Reason::ImageMissing => "image_missing",
            Reason::TooLarge => "too_large",
            Reason::Overflow => "overflow",
            Reason::Unstorable => "unstorable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_with_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<&str> = Reason::ALL.into_iter().map(Reason::code).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(
            Reason::ALL
                .into_iter()
                .enumerate()
                .all(|(at, reason)| reason as usize == at)
        );
        assert_eq!(Reason::ALL.last(), Some(&Reason::Unstorable), "the last of all");
    }
}
