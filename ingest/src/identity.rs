//! What makes an event the same event when it is seen again.
//!
//! | identity | of what | unique within |
//! |---|---|---|
//! | [`Identity::Event`] | organization, source, the CloudEvent's own source or nothing, the emitter's id | the ledger |
//! | [`Identity::Document`] | the `_id` of the event's document, with its type | its lane, by MongoDB |
//! | [`Identity::Copy`] | the same, where a connector copied the document to a topic | its lane, by the window |
//!
//! Emitters choose their ids, so both are hashes for which nobody can find two with the same value. Beside an identity
//! that is remembered stands what its event said of quantities: the same identity with other ones is no duplicate but
//! another event, whose emitter used an id twice.

use std::hash::{Hash, Hasher};

use bson::RawDocument;
use rollup::counters::{Counter, Counters};
use rollup::event::Kind;
use sha2::{Digest, Sha256};

use crate::lane::{document_id, of_document_id};

/// The first 96 bits of the SHA-256 of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityHash([u8; 12]);

impl Hash for IdentityHash {
    /// Any 64 of the 96 uniform bits will do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [first @ .., _, _, _, _] = self.0;
        state.write_u64(u64::from_le_bytes(first));
    }
}

impl IdentityHash {
    /// Bytes of a stored hash.
    pub const BYTES: usize = 12;

    /// Of parts, each behind its length: no two lists of parts run together.
    fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut first = [0; Self::BYTES];
        first.copy_from_slice(&digest[..Self::BYTES]);
        Self(first)
    }

    /// The identity by the emitter's own id. `emitter`: the CloudEvent's own source, or nothing.
    #[must_use]
    pub fn of_event(organization: &str, source: &str, emitter: &str, event_id: &str) -> Self {
        Self::of([organization, source, emitter, event_id].map(str::as_bytes))
    }

    /// The identity by the `_id` of a document, given alone ([`raw_id`](crate::lane::raw_id)): by its type and bytes, in
    /// its [canonical form](rollup::event::DocumentId::canonical).
    #[must_use]
    pub fn of_document(id: &RawDocument) -> Self {
        let value = id.into_iter().next().and_then(Result::ok);
        let canonical = value.and_then(|(_, value)| of_document_id(&document_id(value).canonical()));
        Self::of([canonical.as_deref().unwrap_or(id).as_bytes()])
    }

    /// The stored form.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// Reads a stored hash. `None`: it is damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// What an event says of quantities, in 32 bits: of its counters, outcome, kind and stated cost, not of its time nor of
/// who used what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantities(u32);

impl Quantities {
    /// The version of [`Quantities::of`]: what another one made says nothing.
    pub const VERSION: i32 = 1;
    /// Nobody knows them: they agree with any.
    pub const UNKNOWN: Self = Self(0);
    /// Bytes of the stored form.
    pub const BYTES: usize = 4;

    /// What counts. A counter that is added later is 0 in what was counted before, so it changes nothing here.
    const COUNTED: [Counter; 12] = [
        Counter::FailedRequests,
        Counter::AbortedRequests,
        Counter::InputTokens,
        Counter::CachedInputTokens,
        Counter::CacheWriteTokens,
        Counter::OutputTokens,
        Counter::ReasoningTokens,
        Counter::AudioMillis,
        Counter::Characters,
        Counter::Images,
        Counter::CostNanos,
        // A cost that nobody stated is not a cost of 0.
        Counter::UnpricedRequests,
    ];

    /// Those of an event.
    ///
    /// A multiply-and-shift hash, one step for each value: the same everywhere, and for ever within a version.
    #[must_use]
    pub fn of(kind: Kind, counters: &Counters) -> Self {
        let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
        let mut mix = |value: u64| {
            hash = (hash ^ value).wrapping_mul(0xff51_afd7_ed55_8ccd);
            hash ^= hash >> 32;
        };
        mix(Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0) as u64);
        for counter in Self::COUNTED {
            mix(counters[counter].cast_unsigned());
        }
        let [.., a, b, c, d] = hash.to_be_bytes();
        // 0 stands for what is not known.
        Self(u32::from_be_bytes([a, b, c, d]).max(1))
    }

    /// Whether these may be the quantities of one event.
    #[must_use]
    pub fn agree(self, other: Self) -> bool {
        self == other || self == Self::UNKNOWN || other == Self::UNKNOWN
    }

    /// The stored form of one alone.
    #[must_use]
    pub const fn to_stored(self) -> i32 {
        self.0.cast_signed()
    }

    /// Reads the stored form of one alone, made by this version; another version says nothing.
    #[must_use]
    pub const fn from_stored(stored: i32, version: i32) -> Self {
        if version == Self::VERSION {
            Self(stored.cast_unsigned())
        } else {
            Self::UNKNOWN
        }
    }
}

/// What an event is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The emitter's own id: the same again, wherever it is, is a duplicate.
    Event(IdentityHash),
    /// The `_id` of the event's document. MongoDB keeps it unique for as long as the document is there.
    Document(IdentityHash),
    /// The `_id` of a document of which a connector put a copy on a topic, and does so again after a restart.
    Copy(IdentityHash),
}

impl Identity {
    /// Its hash.
    #[must_use]
    pub const fn hash(self) -> IdentityHash {
        match self {
            Identity::Event(hash) | Identity::Document(hash) | Identity::Copy(hash) => hash,
        }
    }

    /// The same where the window has to know it: nobody else keeps it from coming again.
    #[must_use]
    pub const fn remembered(self) -> Option<IdentityHash> {
        match self {
            Identity::Event(hash) | Identity::Copy(hash) => Some(hash),
            Identity::Document(_) => None,
        }
    }

    /// The emitter's own id, which is unique in the ledger. `None`: a document is known within its lane only.
    #[must_use]
    pub const fn event(self) -> Option<IdentityHash> {
        match self {
            Identity::Event(id) => Some(id),
            Identity::Document(_) | Identity::Copy(_) => None,
        }
    }
}

/// An identity, and what its event said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedId {
    /// Which.
    pub id: IdentityHash,
    /// How much.
    pub quantities: Quantities,
}

impl CountedId {
    /// Bytes of the packed form.
    pub const BYTES: usize = IdentityHash::BYTES + Quantities::BYTES;

    /// A document of which only the `_id` is known: what its event says does not matter, or nobody knows it.
    #[must_use]
    pub const fn of_document(id: IdentityHash) -> Self {
        Self {
            id,
            quantities: Quantities::UNKNOWN,
        }
    }

    /// The packed form of many, that is stored.
    #[must_use]
    pub fn pack(ids: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ids.len() * Self::BYTES);
        for CountedId { id, quantities } in ids {
            bytes.extend(id.0);
            bytes.extend(quantities.0.to_be_bytes());
        }
        bytes
    }

    /// Reads the packed form, whose quantities are of this version. `None`: it is damaged.
    #[must_use]
    pub fn unpack(bytes: &[u8], version: i32) -> Option<Vec<Self>> {
        let (packed, []) = bytes.as_chunks::<{ Self::BYTES }>() else {
            return None;
        };
        let one = |packed: &[u8; Self::BYTES]| {
            let (id, quantities) = packed.split_first_chunk().expect("a hash and 4 bytes");
            let quantities = u32::from_be_bytes(quantities.try_into().expect("4 bytes"));
            CountedId {
                id: IdentityHash(*id),
                quantities: Quantities::from_stored(quantities.cast_signed(), version),
            }
        };
        Some(packed.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Binary, RawDocumentBuf, doc};

    use super::*;

    fn document(id: impl Into<bson::Bson>) -> IdentityHash {
        let id = RawDocumentBuf::try_from(&doc! {"_id": id.into()}).expect("encodes");
        IdentityHash::of_document(&id)
    }

    #[test]
    fn each_part_of_an_identity_tells_events_apart() {
        let ids = [
            ["acme", "chat", "", "1"],
            ["beta", "chat", "", "1"],
            ["acme", "workflow", "", "1"],
            ["acme", "chat", "/pod/1", "1"],
            ["acme", "chat", "", "2"],
            // Parts do not run together.
            ["acmec", "hat", "", "1"],
            ["acme", "chat", "1", ""],
        ];
        let hashes = ids.map(|[organization, source, emitter, id]| {
            IdentityHash::of_event(organization, source, emitter, id).to_bytes()
        });
        let different: std::collections::BTreeSet<_> = hashes.into_iter().collect();
        assert_eq!(different.len(), ids.len());
    }

    #[test]
    fn an_id_of_a_document_is_its_type_and_value_and_its_text_is_the_same() {
        let uuid = |subtype| Binary {
            subtype,
            bytes: vec![7; 16],
        };
        assert_eq!(document(5_i32), document(5_i64));
        assert_eq!(document(5_i32), document(5.0));
        let object_id = bson::oid::ObjectId::from_bytes([7; 12]);
        assert_eq!(document(object_id), document(object_id.to_hex()));
        let text = "07070707-0707-0707-0707-070707070707";
        assert_eq!(document(uuid(BinarySubtype::Uuid)), document(text));
        let ids = [
            document(5),
            document("5"),
            document(6),
            document(object_id),
            document(uuid(BinarySubtype::Uuid)),
            document(uuid(BinarySubtype::UuidOld)),
        ];
        let different: std::collections::BTreeSet<_> = ids.into_iter().collect();
        assert_eq!(different.len(), ids.len());
    }

    /// Stored for as long as a window is: a change would forget every id, or take duplicates for other events.
    #[test]
    fn golden_hashes() {
        let counters = |tokens: i64, cost: Option<i64>| {
            let mut counters = Counters::default();
            counters[Counter::Requests] = 1;
            counters[Counter::InputTokens] = tokens;
            counters[Counter::CostNanos] = cost.unwrap_or(0);
            counters[Counter::UnpricedRequests] = i64::from(cost.is_none());
            counters
        };
        let of = |kind, counters| Quantities::of(kind, &counters);
        let known = of(Kind::Llm, counters(10, Some(0)));
        let others = [
            of(Kind::Llm, counters(11, Some(0))),
            of(Kind::Llm, counters(10, Some(1))),
            of(Kind::Llm, counters(10, None)),
            of(Kind::Embedding, counters(10, Some(0))),
        ];
        for other in others {
            assert!(!known.agree(other));
            assert!(
                other.agree(other) && other.agree(Quantities::UNKNOWN) && Quantities::UNKNOWN.agree(other)
            );
        }
        let id = IdentityHash::of_event("acme", "chat", "", "request-1");
        let packed = CountedId::pack(&[CountedId {
            id,
            quantities: known,
        }]);
        let hex: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "cfe70d336754fdf3a66da724a3ab3985");
    }

    #[test]
    fn packed_ids_are_read_as_they_were_written_and_another_version_says_nothing_of_quantities() {
        let ids = ["a", "b"].map(|id| CountedId {
            id: IdentityHash::of_event("acme", "chat", "", id),
            quantities: Quantities::of(Kind::Llm, &Counters::default()),
        });
        let packed = CountedId::pack(&ids);
        assert_eq!(
            CountedId::unpack(&packed, Quantities::VERSION),
            Some(ids.to_vec())
        );
        let other = CountedId::unpack(&packed, Quantities::VERSION + 1).expect("whole");
        assert!(other.iter().all(|id| id.quantities == Quantities::UNKNOWN));
        assert_eq!(CountedId::unpack(&packed[1..], Quantities::VERSION), None);
    }
}
