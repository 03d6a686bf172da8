//! The payload of a dead letter as it is stored, and back.

use ingest::decode::{Keep, Payload, hex};
use ingest::identity::IdentityHash;
use ingest::lane::LaneId;
use ingest::ledger::ReplayRequest;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc};

/// The format of letters of which only the beginning was kept, or not even that.
pub(super) const CUT: &str = "cut";
/// The format of letters whose payload was dropped.
pub(super) const DROPPED: &str = "dropped";

/// The payload in this form, or where that would lose something, as its bytes.
pub(super) fn write(payload: &Payload, keep: Keep) -> Document {
    let text_or_bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if keep == Keep::Readable => Bson::String(text.to_owned()),
        _ => binary(bytes),
    };
    // A document that does not decode, or has a field twice, is kept as its bytes.
    let document = |raw: &RawDocumentBuf| {
        let readable = (keep == Keep::Readable).then(|| Document::try_from(raw.as_ref()));
        match readable {
            Some(Ok(document)) if is_whole(&document, raw) => Bson::Document(document),
            _ => binary(raw.as_bytes()),
        }
    };
    match payload {
        whole if keep == Keep::Nothing => without_bytes(whole),
        Payload::Message { value, headers } => {
            let headers: Vec<Document> = headers
                .iter()
                .map(|(name, value)| doc! {"name": name, "value": text_or_bytes(value)})
                .collect();
            let value = value.as_deref().map_or(Bson::Null, text_or_bytes);
            doc! {"format": "message", "payload": value, "headers": headers}
        }
        Payload::Document(raw) => doc! {"format": "document", "payload": document(raw)},
        Payload::Change(raw) => doc! {"format": "change", "payload": document(raw)},
        Payload::Oversized { head, .. } => {
            let mut cut = without_bytes(payload);
            cut.insert("payload", binary(head));
            cut
        }
    }
}

/// What is left of a record whose bytes are not kept.
fn without_bytes(payload: &Payload) -> Document {
    let (length, sha256) = payload.digest();
    doc! {
        "format": CUT,
        "length": length.map(|length| i64::try_from(length).unwrap_or(i64::MAX)),
        "sha256": sha256.map(|sha256| hex(&sha256)),
    }
}

fn is_whole(document: &Document, raw: &RawDocumentBuf) -> bool {
    RawDocumentBuf::try_from(document).is_ok_and(|again| again == *raw)
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}

/// Why a letter with what is left of a record is not judged.
const WAS_CUT: &str = "the record was too large, or refused by the server: its payload was not kept";

/// A stored letter as it is judged again, or why that cannot be.
///
/// # Errors
/// When its payload was cut, or is not of the form that its format says.
pub(super) fn read(stored: &Document) -> Result<ReplayRequest, String> {
    let text = |name: &str| {
        stored
            .get_str(name)
            .map_err(|_| format!("`{name}` is not a text"))
    };
    Ok(ReplayRequest {
        lane: LaneId::from_stored(text("lane")?),
        place: text("place")?.to_owned(),
        payload: payload(stored, text("format")?)?,
        identity: identity(stored)?,
        source_time_ms: stored
            .get_datetime("sourceTime")
            .map_err(|_| "`sourceTime` is not a date")?
            .timestamp_millis(),
    })
}

/// The hash of its identity, where that could be read.
fn identity(stored: &Document) -> Result<Option<IdentityHash>, String> {
    let Some(hash) = stored.get("identity").filter(|hash| **hash != Bson::Null) else {
        return Ok(None);
    };
    let id = match hash {
        Bson::Binary(binary) => IdentityHash::from_bytes(&binary.bytes),
        _ => None,
    };
    match id {
        Some(id) => Ok(Some(id)),
        None => Err("`identity` is not a hash".into()),
    }
}

fn payload(stored: &Document, format: &str) -> Result<Payload, String> {
    let bytes = |value: &Bson| match value {
        Bson::String(text) => Some(text.as_bytes().to_vec()),
        Bson::Binary(binary) => Some(binary.bytes.clone()),
        _ => None,
    };
    let damaged = || format!("`payload` is not that of a `{format}`");
    match format {
        CUT => return Err(WAS_CUT.into()),
        DROPPED => return Err("its payload was dropped: the letter is closed, or old".into()),
        _ => {}
    }
    let value = stored.get("payload").ok_or_else(damaged)?;
    let document = || match value {
        Bson::Document(document) => RawDocumentBuf::try_from(document).map_err(|_| damaged()),
        Bson::Binary(binary) => RawDocumentBuf::from_bytes(binary.bytes.clone()).map_err(|_| damaged()),
        _ => Err(damaged()),
    };
    match format {
        "message" => {
            let header = |header: &Bson| {
                let header = header.as_document()?;
                Some((
                    header.get_str("name").ok()?.to_owned(),
                    bytes(header.get("value")?)?,
                ))
            };
            let headers = stored.get_array("headers").map(Vec::as_slice).unwrap_or_default();
            let headers: Option<Vec<_>> = headers.iter().map(header).collect();
            let value = match value {
                Bson::Null => None,
                value => Some(bytes(value).ok_or_else(damaged)?),
            };
            Ok(Payload::Message {
                value,
                headers: headers.ok_or("`headers` are not those of a message")?,
            })
        }
        "document" => Ok(Payload::Document(document()?)),
        "change" => Ok(Payload::Change(document()?)),
        other => Err(format!("`{other}` is not a format")),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;

    fn stored(payload: &Payload) -> Document {
        let mut stored =
            doc! {"lane": "kafka/t/0", "place": "7", "sourceTime": DateTime::from_millis(9), "eventId": "e"};
        stored.extend(write(payload, Keep::of(payload)));
        stored
    }

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let document = RawDocumentBuf::try_from(&doc! {"_id": 1, "deep": {"date": DateTime::from_millis(3)}});
        let document = document.expect("a document");
        let message = |value: Option<&[u8]>, header: &[u8]| Payload::Message {
            value: value.map(<[u8]>::to_vec),
            headers: vec![("content-type".into(), header.to_vec())],
        };
        for payload in [
            message(Some(b"{\"eventId\": \"e\"}"), b"application/json"),
            message(Some(b"\xff\xfe"), b"\xff"),
            message(Some(b""), b""),
            message(None, b""),
            Payload::Document(document.clone()),
            Payload::Change(document),
        ] {
            let letter = read(&stored(&payload)).expect("a letter");
            assert_eq!(letter.payload, payload);
            assert_eq!((letter.place.as_str(), letter.source_time_ms), ("7", 9));
        }
    }

    #[test]
    fn a_document_with_a_field_twice_is_kept_as_it_is() {
        let mut twice = RawDocumentBuf::new();
        twice.append(mongodb::bson::raw::cstr!("inputTokens"), 1);
        twice.append(mongodb::bson::raw::cstr!("inputTokens"), 2);
        let payload = Payload::Document(twice);
        assert_eq!(read(&stored(&payload)).expect("a letter").payload, payload);
    }

    #[test]
    fn what_a_server_refuses_is_kept_in_a_form_that_it_takes() {
        let deep = (0..178).fold(doc! {}, |inner, _| doc! {"a": inner});
        let event = doc! {"eventId": "e", "deep": deep, "$where": "1"};
        let payload = Payload::Change(RawDocumentBuf::try_from(&event).expect("a document"));
        let letter = stored(&payload);
        assert!(letter.get_document("payload").is_err());
        assert_eq!(read(&letter).expect("a letter").payload, payload);
        let nothing = write(&payload, Keep::Nothing);
        assert!(nothing.get("payload").is_none() && nothing.get_i64("length").is_ok());
        assert!(nothing.get_str("sha256").is_ok_and(|sha256| sha256.len() == 64));
        let message = Payload::Message {
            value: Some(b"{}".to_vec()),
            headers: vec![("h".into(), b"x".to_vec())],
        };
        let mut letter = stored(&message);
        letter.extend(write(&message, Keep::Bytes));
        assert!(letter.get_binary_generic("payload").is_ok());
        assert_eq!(read(&letter).expect("a letter").payload, message);
    }

    #[test]
    fn what_is_not_whole_is_not_judged() {
        let cut = Payload::Oversized {
            place: String::new(),
            length: Some(300_000),
            sha256: None,
            head: vec![b'{'],
            document_id: None,
        };
        assert!(read(&stored(&cut)).expect_err("cut").contains("too large"));
        let mut damaged = stored(&Payload::Message {
            value: None,
            headers: Vec::new(),
        });
        damaged.insert("payload", 7);
        assert!(read(&damaged).expect_err("a number").contains("payload"));
    }
}
