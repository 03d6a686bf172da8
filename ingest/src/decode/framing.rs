//! What schema registries put before a value.

use rollup::event::{Reason, Reject};

/// The first byte of a value that a registry's serializer wrote: what follows is the id of its schema.
const MAGIC: u8 = 0;
/// Bytes of that id.
const SCHEMA_ID: usize = 4;

/// The value without its frame: JSON needs no schema to be read. Avro and Protobuf do, and are not read here.
pub(super) fn unframed(value: &[u8]) -> Result<&[u8], Reject> {
    match value {
        [MAGIC, framed @ ..] => framed
            .get(SCHEMA_ID..)
            .filter(|json| is_json(json))
            .ok_or_else(|| other("is framed by a schema registry, and no JSON")),
        // No JSON begins with such a byte: frames of other registries do.
        [first, ..] if *first < b'\t' => Err(other("is framed, by what is not read here")),
        _ => Ok(value),
    }
}

fn other(found: &str) -> Reject {
    Reject::record(Reason::UnsupportedContentType).found(found)
}

fn is_json(value: &[u8]) -> bool {
    matches!(first(value), Some(b'{' | b'['))
}

/// The first byte of a text that is no white space.
pub(super) fn first(value: &[u8]) -> Option<u8> {
    value.iter().copied().find(|byte| !b" \t\r\n".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_json_is_taken_off_and_any_other_is_refused() {
        for (value, expected) in [
            (&b"{}"[..], Some(&b"{}"[..])),
            (b"\0\0\0\0\x07{}", Some(b"{}")),
            (b"\0\0\0\0\x07 \n[{}]", Some(b" \n[{}]")),
            (b"", Some(b"")),
            (b"no JSON", Some(b"no JSON")),
            (b"\0", None),
            (b"\0\0\0\0\x07", None),
            (b"\0\0\0\0{}", None),
            (b"\0\0\0\0\x07\x02\x06abc", None),
            (b"\x01{}", None),
            (b"\x03\0{}", None),
        ] {
            let found = unframed(value).map_err(|reject| reject.reason);
            assert_eq!(found, expected.ok_or(Reason::UnsupportedContentType), "{value:?}");
        }
    }
}
