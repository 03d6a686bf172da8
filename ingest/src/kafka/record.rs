//! From a message of librdkafka to a record.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Headers, Message};
use twox_hash::XxHash3_64;

use super::lanes::Lane;
use super::track::Met;
use crate::decode::Payload;
use crate::lane::{LastRecord, Position};
use crate::source::{Record, Stop};

/// What a message was.
#[derive(Debug)]
pub(super) enum Taken {
    /// Records to be sent: one for each event that is not done.
    Records(Vec<Record>),
    /// One that is done already, or of a partition that is not being read.
    Nothing,
    /// It shows that the lane cannot go on; it is halted.
    Stop(Stop),
    /// It shows that records may have been passed over.
    Suspect,
}

pub(super) fn take(lanes: &mut BTreeMap<i32, Lane>, message: &BorrowedMessage<'_>, now_ms: i64) -> Taken {
    let Some(lane) = lanes.get_mut(&message.partition()) else {
        return Taken::Nothing;
    };
    let Some((grant, track)) = lane.reading() else {
        return Taken::Nothing;
    };
    let timestamp_ms = message.timestamp().to_millis();
    let last = LastRecord {
        offset: message.offset(),
        timestamp_ms: timestamp_ms.unwrap_or(-1),
        hash: hash(message.key(), message.payload()),
    };
    match track.meet(last) {
        Met::Skip => Taken::Nothing,
        Met::Suspect => Taken::Suspect,
        Met::Changed(stop) => {
            lane.halt();
            Taken::Stop(stop)
        }
        Met::Take(done) => {
            let record = Record {
                lane: grant.key,
                payload: payload(message).cut(),
                index: None,
                next: Position::offset(track.next()),
                source_time_ms: track.source_time_ms(timestamp_ms, now_ms),
                as_of_ms: track.passed(),
                historical: false,
                last: Some(last),
            };
            Taken::Records(each(record, message.offset(), done))
        }
    }
}

/// A record for each event in this one, but for so many that are done. Only with the last one it is done itself.
fn each(record: Record, offset: i64, done: u32) -> Vec<Record> {
    let payloads = record.payload.split();
    let Some(last) = payloads.len().checked_sub(1) else {
        return vec![record];
    };
    let one = |(index, payload): (u32, Payload)| {
        let is_last = index as usize == last;
        let next = Position::Offset {
            next: offset,
            index: index + 1,
        };
        Record {
            payload,
            index: Some(index),
            next: if is_last { record.next.clone() } else { next },
            as_of_ms: record.as_of_ms.filter(|_| is_last),
            ..record
        }
    };
    (0..).zip(payloads).skip(done as usize).map(one).collect()
}

fn payload(message: &BorrowedMessage<'_>) -> Payload {
    Payload::Message {
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers(message),
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Vec<u8>)> {
    let Some(headers) = message.headers() else {
        return Vec::new();
    };
    let read = || {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect()
    };
    // The client panics at a header whose name is not UTF-8. A producer must not be able to end the process by
    // that; without its headers the record is judged by its value alone.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        tracing::warn!(
            partition = message.partition(),
            offset = message.offset(),
            "the headers of a record are not UTF-8; they are ignored"
        );
        Vec::new()
    })
}

/// A hash of key and value that is the same on every machine and in every version: it is stored.
#[allow(clippy::cast_possible_wrap, reason = "all 64 bits are kept")]
fn hash(key: Option<&[u8]>, value: Option<&[u8]>) -> i64 {
    let key = key.map_or(0, XxHash3_64::oneshot);
    value.map_or(key, |value| XxHash3_64::oneshot_with_seed(key, value)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored in the fence: a change would stop every lane as recreated.
    #[test]
    fn golden_hash() {
        let value = vec![b'x'; 500];
        assert_eq!(hash(Some(b"acme"), Some(&value)), -2_783_403_407_062_773_580);
        assert_eq!(hash(None, Some(b"{}")), 1_389_868_326_933_519_382);
        assert_ne!(hash(Some(b"a"), Some(b"b")), hash(Some(b"b"), Some(b"a")));
        assert_ne!(hash(None, None), hash(None, Some(b"")));
        assert_ne!(hash(Some(b"a"), None), hash(Some(b"b"), None));
    }
}
