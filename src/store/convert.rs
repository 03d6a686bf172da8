//! Values of the core as they are stored.

use ingest::identity::IdentityHash;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson};

/// The hash of an id as it is stored.
pub(super) fn hash(id: IdentityHash) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: id.to_bytes().to_vec(),
    })
}
