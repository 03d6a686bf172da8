use bson::doc;
use proptest::prelude::*;

use super::*;

fn document() -> impl Strategy<Value = RawDocumentBuf> {
    prop::collection::vec(("[a-z]{1,6}", ".{0,20}", any::<i64>()), 0..4).prop_map(|fields| {
        let mut document = Document::new();
        for (name, text, number) in fields {
            document.insert(name, doc! {"text": text, "numbers": [number, 1, true]});
        }
        RawDocumentBuf::try_from(&document).expect("a document")
    })
}

fn documents() -> impl Strategy<Value = Vec<RawDocumentBuf>> {
    prop::collection::vec(document(), 0..4)
}

fn msg() -> impl Strategy<Value = Operation> {
    let sequence = ("[a-z]{0,9}", documents()).prop_map(|(field, documents)| Sequence { field, documents });
    let sequences = prop::collection::vec(sequence, 0..3);
    (any::<bool>(), any::<bool>(), document(), sequences).prop_map(
        |(more_to_come, exhaust_allowed, body, sequences)| {
            Operation::Msg(Msg {
                more_to_come,
                exhaust_allowed,
                body,
                sequences,
            })
        },
    )
}

fn query() -> impl Strategy<Value = Operation> {
    let numbers = (any::<u32>(), any::<i32>(), any::<i32>());
    (numbers, "[a-z$.]{0,20}", document(), prop::option::of(document())).prop_map(
        |((flags, skip, limit), namespace, command, fields)| {
            Operation::Query(Query {
                flags,
                namespace,
                skip,
                limit,
                command,
                fields,
            })
        },
    )
}

fn reply() -> impl Strategy<Value = Operation> {
    (any::<u32>(), any::<i64>(), any::<i32>(), documents()).prop_map(
        |(flags, cursor, starting_from, documents)| {
            Operation::Reply(Reply {
                flags,
                cursor,
                starting_from,
                documents,
            })
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    (any::<i32>(), any::<i32>(), prop_oneof![msg(), query(), reply()]).prop_map(|(id, answers, operation)| {
        Message {
            id,
            answers,
            operation,
        }
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(message in any_message()) {
        let bytes = message.encode();
        let start = bytes[..4].try_into().expect("four bytes");
        prop_assert_eq!(length(start), Ok(bytes.len()));
        let head = head(&bytes).expect("a head");
        prop_assert_eq!((head.id, head.answers, head.more_to_come), (message.id, message.answers, message.more_to_come()));
        let read = decode(&bytes).expect("a message");
        prop_assert_eq!(read.encode(), bytes);
        prop_assert_eq!(read, message);
    }

    #[test]
    fn what_is_cut_short_is_no_message(message in any_message(), cut in any::<prop::sample::Index>()) {
        let mut bytes = message.encode();
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(decode(&bytes).is_err());
        // Even where the length agrees: nothing reads past the end.
        if bytes.len() >= HEADER {
            let length = size(bytes.len()).to_le_bytes();
            bytes[..4].copy_from_slice(&length);
            let _read_or_refused = decode(&bytes).is_ok();
        }
    }

    #[test]
    fn whatever_bytes_come_are_read_or_refused(
        message in any_message(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = message.encode();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(read) = decode(&bytes) {
            let _command_or_refused = read.command().is_ok();
        }
    }
}

/// `{"ping": 1}` by hand.
fn ping() -> Vec<u8> {
    let body = b"\x0f\0\0\0\x10ping\0\x01\0\0\0\0";
    let mut bytes = vec![
        0x24, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xdd, 0x07, 0, 0, 0, 0, 0, 0, 0,
    ];
    bytes.extend(body);
    bytes
}

fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = size(bytes.len()).to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

#[test]
fn a_ping_is_these_bytes() {
    let message = Message::of(7, 0, &doc! {"ping": 1}).expect("a message");
    assert_eq!(message.encode(), ping());
    assert_eq!(decode(&ping()), Ok(message));
}

#[test]
fn a_checksum_is_read_over() {
    let mut bytes = ping();
    bytes[16] = 1;
    bytes.extend([1, 2, 3, 4]);
    let read = decode(&with_length(bytes)).expect("a message");
    assert_eq!(read.encode(), ping());
}

#[test]
fn sequences_are_arrays_of_the_command() {
    let mut message = Message::of(1, 0, &doc! {"insert": "notes", "$db": "test"}).expect("a message");
    let raw = |document: Document| RawDocumentBuf::try_from(&document).expect("a document");
    if let Operation::Msg(msg) = &mut message.operation {
        msg.sequences.push(Sequence {
            field: "documents".to_owned(),
            documents: vec![raw(doc! {"_id": 1}), raw(doc! {"_id": 2})],
        });
    }
    assert_eq!(
        decode(&message.encode())
            .expect("a message")
            .command()
            .expect("a command"),
        doc! {"insert": "notes", "$db": "test", "documents": [{"_id": 1}, {"_id": 2}]}
    );
}

#[test]
fn what_is_not_known_is_refused() {
    let with = |index: usize, byte: u8| {
        let mut bytes = ping();
        bytes[index] = byte;
        decode(&bytes)
    };
    assert_eq!(with(12, 0xdc), Err(Malformed::Compressed));
    assert_eq!(with(12, 0xd2), Err(Malformed::Operation(2002)));
    assert_eq!(with(16, 4), Err(Malformed::Flags(4)));
    assert_eq!(with(20, 2), Err(Malformed::Section(2)));
    assert_eq!(with(0, 0x25), Err(Malformed::Short));
    assert_eq!(with(0, 0x23), Err(Malformed::Long));
    let no_body = with_length(ping()[..20].to_vec());
    assert_eq!(decode(&no_body), Err(Malformed::Bodies(0)));
    let two_bodies = with_length([&ping()[..], &ping()[20..]].concat());
    assert_eq!(decode(&two_bodies), Err(Malformed::Bodies(2)));
}

#[test]
fn lengths_have_bounds() {
    assert_eq!(length(48_000_000_i32.to_le_bytes()), Ok(48_000_000));
    for wrong in [i32::MIN, -1, 0, 15, 48_000_001, i32::MAX] {
        assert_eq!(length(wrong.to_le_bytes()), Err(Malformed::Length(wrong.into())));
    }
}
