//! MongoDB's wire protocol: bytes ↔ [`Message`], pure.
//!
//! Known are OP_MSG (a body, and document sequences such as `updates`), OP_QUERY (the hello of old handshakes)
//! and OP_REPLY (its answer). Everything else is [`Malformed`], OP_COMPRESSED too: the proxy takes compression out
//! of the handshake, so nobody compresses. A checksum is read over, not verified, and never written.

use bson::{Document, RawDocument, RawDocumentBuf};

/// The longest message that MongoDB takes, in bytes.
const MOST: usize = 48_000_000;
/// The length of what stands before every message, in bytes: length, request, response, operation.
pub(super) const HEADER: usize = 16;

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_COMPRESSED: i32 = 2012;
const OP_MSG: i32 = 2013;

const CHECKSUM: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;
const EXHAUST_ALLOWED: u32 = 1 << 16;
/// Flags below this must be understood, those from here on may be passed over.
const REQUIRED: u32 = 0xffff;

const BODY: u8 = 0;
const SEQUENCE: u8 = 1;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message of {0} bytes")]
    Length(i64),
    #[error("the message ends in the middle of something")]
    Short,
    #[error("bytes after the message's end")]
    Long,
    #[error("the operation {0} is not known")]
    Operation(i32),
    #[error("a compressed message, although compression was taken out of the handshake")]
    Compressed,
    #[error("the flags {0:#x} hold one that is not known")]
    Flags(u32),
    #[error("a section of the kind {0}")]
    Section(u8),
    #[error("{0} bodies")]
    Bodies(usize),
    #[error("{0}")]
    Bson(String),
}

impl From<bson::error::Error> for Malformed {
    fn from(error: bson::error::Error) -> Self {
        Self::Bson(error.to_string())
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// What goes one way at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// Given by the sender.
    pub(super) id: i32,
    /// The message that this one answers, 0 for a request.
    pub(super) answers: i32,
    pub(super) operation: Operation,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operation {
    Msg(Msg),
    Query(Query),
    Reply(Reply),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Msg {
    /// No answer is awaited (a request), or another one follows unasked (a reply).
    pub(super) more_to_come: bool,
    /// The client takes a stream of replies.
    pub(super) exhaust_allowed: bool,
    pub(super) body: RawDocumentBuf,
    /// Fields of the body that are sent beside it.
    pub(super) sequences: Vec<Sequence>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sequence {
    pub(super) field: String,
    pub(super) documents: Vec<RawDocumentBuf>,
}

/// A command in the form before OP_MSG; servers take it for handshakes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    flags: u32,
    /// `<database>.$cmd`.
    pub(super) namespace: String,
    skip: i32,
    limit: i32,
    pub(super) command: RawDocumentBuf,
    fields: Option<RawDocumentBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    flags: u32,
    cursor: i64,
    starting_from: i32,
    pub(super) documents: Vec<RawDocumentBuf>,
}

/// The start of a message, without a look at the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: i32,
    pub(super) answers: i32,
    pub(super) more_to_come: bool,
}

/// The length of the message that begins so, its header included.
pub(super) fn length(start: [u8; 4]) -> Result<usize> {
    let told = i32::from_le_bytes(start);
    usize::try_from(told)
        .ok()
        .filter(|length| (HEADER..=MOST).contains(length))
        .ok_or(Malformed::Length(told.into()))
}

/// Reads the start of a whole message.
pub(super) fn head(bytes: &[u8]) -> Result<Head> {
    let mut rest = bytes;
    let (id, answers, operation) = header(&mut rest)?;
    let more_to_come = operation == OP_MSG && u32::from_le_bytes(take(&mut rest)?) & MORE_TO_COME != 0;
    Ok(Head {
        id,
        answers,
        more_to_come,
    })
}

/// Reads one message, and all of the bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Message> {
    let mut rest = bytes;
    let (id, answers, operation) = header(&mut rest)?;
    let operation = match operation {
        OP_MSG => Operation::Msg(decode_msg(rest)?),
        OP_QUERY => Operation::Query(decode_query(rest)?),
        OP_REPLY => Operation::Reply(decode_reply(rest)?),
        OP_COMPRESSED => return Err(Malformed::Compressed),
        other => return Err(Malformed::Operation(other)),
    };
    Ok(Message {
        id,
        answers,
        operation,
    })
}

fn header(rest: &mut &[u8]) -> Result<(i32, i32, i32)> {
    let whole = rest.len();
    match length(take(rest)?)? {
        told if told > whole => return Err(Malformed::Short),
        told if told < whole => return Err(Malformed::Long),
        _ => {}
    }
    Ok((number(rest)?, number(rest)?, number(rest)?))
}

fn decode_msg(mut rest: &[u8]) -> Result<Msg> {
    let flags = u32::from_le_bytes(take(&mut rest)?);
    if flags & REQUIRED & !(CHECKSUM | MORE_TO_COME) != 0 {
        return Err(Malformed::Flags(flags));
    }
    if flags & CHECKSUM != 0 {
        let end = rest.len().checked_sub(4).ok_or(Malformed::Short)?;
        rest = &rest[..end];
    }
    let (mut bodies, mut sequences) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        match take(&mut rest)? {
            [BODY] => bodies.push(document(&mut rest)?),
            [SEQUENCE] => sequences.push(sequence(&mut rest)?),
            [other] => return Err(Malformed::Section(other)),
        }
    }
    let count = bodies.len();
    match (bodies.pop(), count) {
        (Some(body), 1) => Ok(Msg {
            more_to_come: flags & MORE_TO_COME != 0,
            exhaust_allowed: flags & EXHAUST_ALLOWED != 0,
            body,
            sequences,
        }),
        _ => Err(Malformed::Bodies(count)),
    }
}

fn sequence(rest: &mut &[u8]) -> Result<Sequence> {
    let size = usize::try_from(number(&mut &**rest)?).map_err(|_| Malformed::Short)?;
    let (mut section, after) = rest.split_at_checked(size).ok_or(Malformed::Short)?;
    *rest = after;
    number(&mut section)?;
    let field = text(&mut section)?;
    let documents = documents(section)?;
    Ok(Sequence { field, documents })
}

fn decode_query(mut rest: &[u8]) -> Result<Query> {
    let flags = u32::from_le_bytes(take(&mut rest)?);
    let namespace = text(&mut rest)?;
    let (skip, limit) = (number(&mut rest)?, number(&mut rest)?);
    let command = document(&mut rest)?;
    let fields = (!rest.is_empty()).then(|| document(&mut rest)).transpose()?;
    if !rest.is_empty() {
        return Err(Malformed::Long);
    }
    Ok(Query {
        flags,
        namespace,
        skip,
        limit,
        command,
        fields,
    })
}

fn decode_reply(mut rest: &[u8]) -> Result<Reply> {
    let flags = u32::from_le_bytes(take(&mut rest)?);
    let cursor = i64::from_le_bytes(take(&mut rest)?);
    let (starting_from, count) = (number(&mut rest)?, number(&mut rest)?);
    let documents = documents(rest)?;
    if usize::try_from(count) != Ok(documents.len()) {
        return Err(Malformed::Bodies(documents.len()));
    }
    Ok(Reply {
        flags,
        cursor,
        starting_from,
        documents,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (first, after) = rest.split_first_chunk().ok_or(Malformed::Short)?;
    *rest = after;
    Ok(*first)
}

fn number(rest: &mut &[u8]) -> Result<i32> {
    take(rest).map(i32::from_le_bytes)
}

fn text(rest: &mut &[u8]) -> Result<String> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(Malformed::Short)?;
    let text = std::str::from_utf8(&rest[..end]).map_err(|error| Malformed::Bson(error.to_string()))?;
    *rest = &rest[end + 1..];
    Ok(text.to_owned())
}

fn document(rest: &mut &[u8]) -> Result<RawDocumentBuf> {
    let size = usize::try_from(number(&mut &**rest)?).map_err(|_| Malformed::Short)?;
    let (document, after) = rest.split_at_checked(size).ok_or(Malformed::Short)?;
    *rest = after;
    Ok(RawDocumentBuf::from_bytes(document.to_vec())?)
}

fn documents(mut rest: &[u8]) -> Result<Vec<RawDocumentBuf>> {
    let mut documents = Vec::new();
    while !rest.is_empty() {
        documents.push(document(&mut rest)?);
    }
    Ok(documents)
}

impl Message {
    /// A message whose whole content is one document.
    pub(super) fn of(id: i32, answers: i32, body: &Document) -> Result<Self> {
        let operation = Operation::Msg(Msg {
            more_to_come: false,
            exhaust_allowed: false,
            body: RawDocumentBuf::try_from(body)?,
            sequences: Vec::new(),
        });
        Ok(Self {
            id,
            answers,
            operation,
        })
    }

    /// The bytes of it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        put(&mut bytes, self.id);
        put(&mut bytes, self.answers);
        match &self.operation {
            Operation::Msg(msg) => msg.encode(&mut bytes),
            Operation::Query(query) => query.encode(&mut bytes),
            Operation::Reply(reply) => reply.encode(&mut bytes),
        }
        let length = size(bytes.len()).to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes
    }

    /// The command, or the one document of a reply, without what is sent beside it.
    pub(super) fn body(&self) -> Option<&RawDocument> {
        match &self.operation {
            Operation::Msg(msg) => Some(&msg.body),
            Operation::Query(query) => Some(&query.command),
            Operation::Reply(reply) => reply.documents.first().map(|first| &**first),
        }
    }

    /// Puts another document in the place of [`Message::body`].
    pub(super) fn set_body(&mut self, body: &Document) -> Result<()> {
        let body = RawDocumentBuf::try_from(body)?;
        match &mut self.operation {
            Operation::Msg(msg) => msg.body = body,
            Operation::Query(query) => query.command = body,
            Operation::Reply(reply) => reply.documents = vec![body],
        }
        Ok(())
    }

    /// The whole command as one document: the body, and the sequences as arrays in it.
    pub(super) fn command(&self) -> Result<Document> {
        let mut command = self.body().map_or(Ok(Document::new()), Document::try_from)?;
        if let Operation::Msg(msg) = &self.operation {
            for sequence in &msg.sequences {
                let documents: bson::error::Result<bson::Array> = sequence
                    .documents
                    .iter()
                    .map(|document| Document::try_from(&**document).map(Into::into))
                    .collect();
                command.insert(&sequence.field, documents?);
            }
        }
        Ok(command)
    }

    /// Whether the sender awaits no answer.
    pub(super) fn more_to_come(&self) -> bool {
        matches!(&self.operation, Operation::Msg(msg) if msg.more_to_come)
    }
}

impl Msg {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put(bytes, OP_MSG);
        let more_to_come = if self.more_to_come { MORE_TO_COME } else { 0 };
        let exhaust_allowed = if self.exhaust_allowed { EXHAUST_ALLOWED } else { 0 };
        bytes.extend((more_to_come | exhaust_allowed).to_le_bytes());
        bytes.push(BODY);
        bytes.extend(self.body.as_bytes());
        for sequence in &self.sequences {
            bytes.push(SEQUENCE);
            let start = bytes.len();
            put(bytes, 0);
            put_text(bytes, &sequence.field);
            for document in &sequence.documents {
                bytes.extend(document.as_bytes());
            }
            let length = size(bytes.len() - start).to_le_bytes();
            bytes[start..start + 4].copy_from_slice(&length);
        }
    }
}

impl Query {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put(bytes, OP_QUERY);
        bytes.extend(self.flags.to_le_bytes());
        put_text(bytes, &self.namespace);
        put(bytes, self.skip);
        put(bytes, self.limit);
        bytes.extend(self.command.as_bytes());
        if let Some(fields) = &self.fields {
            bytes.extend(fields.as_bytes());
        }
    }
}

impl Reply {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put(bytes, OP_REPLY);
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.cursor.to_le_bytes());
        put(bytes, self.starting_from);
        put(bytes, size(self.documents.len()));
        for document in &self.documents {
            bytes.extend(document.as_bytes());
        }
    }
}

fn put(bytes: &mut Vec<u8>, number: i32) {
    bytes.extend(number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn size(size: usize) -> i32 {
    i32::try_from(size).expect("less than 2 GiB")
}

#[cfg(test)]
mod tests;
