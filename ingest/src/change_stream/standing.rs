//! How the source's primary stands: up to when whatever reached it can be read by now.
//!
//! A change stream brings what a majority of the replica set has. What is written and not yet there has reached the
//! source all the same: an empty poll says nothing of it. So the primary is asked what it has written, and what of
//! that a majority has, before each poll; where the poll is empty, everything of the latter was read.

use bson::oid::ObjectId;
use bson::{Document, Timestamp};

/// What a primary says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// Its election. A stream that was opened before another one may be behind the new primary.
    pub(super) election: Option<ObjectId>,
    /// Everything that reached it up to this instant (ms) is there for a stream to read.
    pub(super) as_of_ms: i64,
}

impl Standing {
    /// Reads the answer to a `hello` that was asked at this instant (ms). `None`: it does not say what a majority has.
    pub(super) fn read(hello: &Document, asked_ms: i64) -> Option<Self> {
        let last = hello.get_document("lastWrite").ok()?;
        let time = |name: &str| last.get_document(name).ok()?.get_timestamp("ts").ok();
        let date = |name: &str| last.get_datetime(name).ok().map(|date| date.timestamp_millis());
        let writes = Writes {
            written: time("opTime")?,
            majority: time("majorityOpTime")?,
            written_ms: date("lastWriteDate")?,
            majority_ms: date("majorityWriteDate")?,
        };
        let local_ms = hello.get_datetime("localTime").ok()?.timestamp_millis();
        Some(Self {
            election: hello.get_object_id("electionId").ok(),
            as_of_ms: writes.as_of_ms(asked_ms.min(local_ms - 1)),
        })
    }
}

/// What a primary has written last, and what of it a majority has.
#[derive(Debug, Clone, Copy)]
struct Writes {
    written: Timestamp,
    majority: Timestamp,
    written_ms: i64,
    majority_ms: i64,
}

impl Writes {
    /// Up to when a majority has everything. `now_ms`: neither the server's clock nor ours shows less. Times of writes
    /// have no parts of a second: what a majority lacks may be of the last second that it has.
    fn as_of_ms(self, now_ms: i64) -> i64 {
        let order = |time: Timestamp| (time.time, time.increment);
        if order(self.majority) >= order(self.written) && self.majority_ms >= self.written_ms {
            return now_ms;
        }
        let majority_ms = self.majority_ms.min(i64::from(self.majority.time) * 1000);
        now_ms.min(majority_ms - 1)
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc};

    use super::*;

    const fn at(time: u32, increment: u32) -> Timestamp {
        Timestamp { time, increment }
    }

    fn writes(written: Timestamp, majority: Timestamp) -> Writes {
        Writes {
            written,
            majority,
            written_ms: i64::from(written.time) * 1000,
            majority_ms: i64::from(majority.time) * 1000,
        }
    }

    #[test]
    fn what_a_majority_lacks_is_not_there_yet() {
        let now_ms = 105_400;
        for (written, majority, as_of_ms) in [
            // Everything that was ever written is there: nothing came since.
            (at(90, 7), at(90, 7), now_ms),
            // A write of this second is on its way, one of the same second, or many of the last ones.
            (at(105, 1), at(104, 3), 103_999),
            (at(105, 2), at(105, 1), 104_999),
            (at(105, 1), at(60, 1), 59_999),
            // Its time runs ahead of its clock.
            (at(120, 2), at(120, 1), now_ms),
        ] {
            assert_eq!(
                writes(written, majority).as_of_ms(now_ms),
                as_of_ms,
                "{written:?} {majority:?}"
            );
        }
        let older = Writes {
            majority_ms: 80_000,
            ..writes(at(105, 1), at(105, 1))
        };
        assert_eq!(older.as_of_ms(now_ms), 79_999, "its dates lag alone");
    }

    #[test]
    fn an_answer_is_of_no_time_that_either_clock_has_yet_to_show() {
        let date = DateTime::from_millis;
        let election = ObjectId::from_bytes([7; 12]);
        let time = doc! {"ts": at(90, 1), "t": 3_i64};
        let last = doc! {
            "opTime": time.clone(), "majorityOpTime": time, "lastWriteDate": date(90_000),
            "majorityWriteDate": date(90_000),
        };
        let hello = doc! {"lastWrite": last, "localTime": date(100_000), "electionId": election};
        let read = |asked_ms| Standing::read(&hello, asked_ms).expect("it says");
        assert_eq!(read(99_000).as_of_ms, 99_000);
        assert_eq!(read(101_000).as_of_ms, 99_999);
        assert_eq!(read(0).election, Some(election));
        assert_eq!(Standing::read(&doc! {"localTime": date(1)}, 0), None);
    }
}
