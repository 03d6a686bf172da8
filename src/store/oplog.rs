//! The oplog, as far as it says for how long a change stream can still go on from where it is.

use std::time::Duration;

use mongodb::bson::{Document, Timestamp, doc};
use mongodb::error::Result as DriverResult;

use super::answer::{WORK, in_time};
use super::connection::hello;
use super::{FENCES, Store, errors};

/// What is known of the oplog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OplogStanding {
    /// How long before its newest entry the oldest is.
    pub(crate) window: Duration,
    /// How long before its newest entry the stored position of the lane is. `None`: there is none, or it does not tell
    /// its time.
    pub(crate) token_age: Option<Duration>,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKnown {
    /// The user may not read it.
    #[error("the user may not read it")]
    Forbidden,
    /// It was not answered, or there is none.
    #[error("{0}")]
    Silent(String),
}

impl Store {
    /// The time of the oldest entry of the oplog.
    pub(super) async fn oldest_in_oplog(&self) -> DriverResult<Option<Timestamp>> {
        let oplog = self.client.database("local").collection::<Document>("oplog.rs");
        let oldest = oplog
            .find_one(doc! {})
            .projection(doc! {"ts": 1})
            .sort(doc! {"$natural": 1})
            .max_time(WORK);
        Ok(oldest.await?.and_then(|entry| entry.get_timestamp("ts").ok()))
    }

    /// How far the oplog reaches, and where in it the stored position of a change stream's lane is.
    pub(crate) async fn oplog_standing(&self, lane: &str) -> Result<OplogStanding, NotKnown> {
        let asked = in_time(self.ask_oplog(lane)).await;
        asked.unwrap_or_else(|silence| Err(NotKnown::Silent(silence.to_string())))
    }

    async fn ask_oplog(&self, lane: &str) -> Result<OplogStanding, NotKnown> {
        let told = |error: mongodb::error::Error| match errors::is_right_missing(&error) {
            true => NotKnown::Forbidden,
            false => NotKnown::Silent(errors::message(&error)),
        };
        // The fence first: a token is never newer than what is read of the oplog after it.
        let fences = self.collection(FENCES);
        let fence = fences.find_one(doc! {"_id": lane});
        let fence = fence.projection(doc! {"token": 1}).max_time(WORK).await;
        let fence = fence.map_err(told)?;
        let oldest = self.oldest_in_oplog().await.map_err(told)?;
        let hello = hello(&self.client).await.map_err(told)?;
        let newest = last_write(&hello);
        let (Some(oldest), Some(newest)) = (oldest, newest) else {
            return Err(NotKnown::Silent("the server has no oplog".into()));
        };
        let token = fence.as_ref().and_then(|fence| fence.get_document("token").ok());
        let before = |time: Timestamp| Duration::from_secs(newest.time.saturating_sub(time.time).into());
        Ok(OplogStanding {
            window: before(oldest),
            token_age: token.and_then(token_time).map(before),
        })
    }
}

/// What the server has written last, by its own word.
fn last_write(hello: &Document) -> Option<Timestamp> {
    let last = hello.get_document("lastWrite").ok()?;
    last.get_document("opTime").ok()?.get_timestamp("ts").ok()
}

/// The time of a resume token: its text begins with the type of a timestamp and the timestamp, in hexadecimal digits.
/// MongoDB promises nothing of it, so whatever looks otherwise has none.
fn token_time(token: &Document) -> Option<Timestamp> {
    const TIMESTAMP: &str = "82";
    let digits = token.get_str("_data").ok()?.strip_prefix(TIMESTAMP)?;
    let number = |from: usize| u32::from_str_radix(digits.get(from..from + 8)?, 16).ok();
    Some(Timestamp {
        time: number(0)?,
        increment: number(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_time_or_nothing() {
        let time = |data: &str| token_time(&doc! {"_data": data});
        let known = "8263A5F2C1000000012B0229296E04";
        let expected = Timestamp {
            time: 0x63A5_F2C1,
            increment: 1,
        };
        assert_eq!(time(known), Some(expected));
        for other in [
            "",
            "82",
            "8263A5F2C1",
            "8163A5F2C100000001",
            "82zzzzzzzz00000001",
            "82äääääääääää",
        ] {
            assert_eq!(time(other), None, "{other}");
        }
        assert_eq!(token_time(&doc! {"_data": 7}), None);
        assert_eq!(token_time(&Document::new()), None);
    }
}
