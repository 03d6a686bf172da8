//! Lanes as an operator sees them, and how a stopped one goes on.

use ingest::lane::LaneId;
use ingest::source::StopReason;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc};

use super::connection::server_time;
use super::fences::StoredFence;
use super::{Error, FENCES, Store, errors};

const JOURNAL_DAMAGED: &str = StopReason::JournalDamaged.name();
const FENCE_BEHIND: &str = StopReason::FenceBehind.name();

/// From where a stopped lane goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From the oldest event that the source still has.
    Earliest,
    /// From what arrives from now on.
    Now,
    /// From this offset of a Kafka partition, which is its end now.
    Offset(i64),
    /// From where its fence stands, with a journal that begins anew: the old one is damaged.
    Fence,
}

/// What a lane goes on with.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumed {
    /// The span of time whose events may not be counted, or not once; `None`: only that of whose ids none is known.
    pub gap: Option<(DateTime, DateTime)>,
    /// The lane goes on behind the end of its collection: what is inserted there again under an `_id` that was counted
    /// before is counted again.
    pub may_count_again: bool,
}

impl Store {
    /// Lets a stopped lane go on. Its epoch is raised, so that a running process takes it up from there; the
    /// gap is recorded, and answers over it say so.
    ///
    /// # Errors
    /// When the lane is not there or not stopped, or the source has no such position.
    pub async fn resume(&self, lane: &LaneId, from: From) -> Result<Resumed, Error> {
        let found = self.typed_fences().find_one(doc! {"_id": lane.as_str()}).await;
        let fence = found.map_err(errors::unusable)?;
        let fence = fence.ok_or_else(|| Error::Unusable(format!("there is no lane `{lane}`")))?;
        let Some(stopped) = &fence.stopped else {
            return Err(Error::Unusable(format!(
                "the lane `{lane}` is not stopped: nothing was changed"
            )));
        };
        if stopped.reason == FENCE_BEHIND || self.is_behind(lane, &fence).await? {
            return Err(Error::Unusable(behind(lane)));
        }
        match (stopped.reason.as_str(), from) {
            (JOURNAL_DAMAGED, From::Fence) => return self.begin_journal_anew(&fence).await,
            (JOURNAL_DAMAGED, _) | (_, From::Fence) => {
                let reason = &stopped.reason;
                return Err(Error::Unusable(format!(
                    "the lane `{lane}` stopped as `{reason}`: `--from fence` is for `{JOURNAL_DAMAGED}`, and for nothing \
                     else"
                )));
            }
            _ => {}
        }
        let now = server_time(&self.client).await.map_err(errors::unusable)?;
        let gap_from = fence.watermark.or(stopped.at).unwrap_or(now);
        let (mut set, mut unset, mut gap_to) = (Document::new(), doc! {"stopped": ""}, now);
        match (lane.source(), from, &stopped.resume_token) {
            // The stream itself says where it goes on. What was inserted behind that may have been there before.
            ("mongodb", From::Earliest, Some(token)) => drop(set.insert("token", token.clone())),
            // It ended, and nobody knows with what: the lane goes on where it is.
            ("mongodb", From::Earliest, None) if stopped.reason != "history_lost" => {}
            ("mongodb", From::Earliest, None) => {
                let oldest = self.beginning().await?;
                set.insert("token", self.token_at(lane, Some(oldest)).await?);
                gap_to = DateTime::from_millis(i64::from(oldest.time) * 1000);
            }
            ("mongodb", From::Now, _) => drop(set.insert("token", self.token_at(lane, None).await?)),
            // A lane without a position begins at the oldest record.
            (_, From::Earliest, _) => unset.extend(doc! {"next": "", "index": "", "last": ""}),
            ("kafka", From::Offset(next), _) => {
                set.insert("next", next);
                unset.extend(doc! {"index": "", "last": ""});
            }
            (_, From::Now | From::Offset(_) | From::Fence, _) => {
                return Err(Error::Unusable(format!("the lane `{lane}` has no such position")));
            }
        }
        if set.contains_key("token") {
            // That was said of another position.
            unset.insert("isPast", "");
        }
        if lane.source() == "mongodb" {
            // However often the collection has ended until now: one word is enough for all of them.
            set.insert("endsAcceptedUntil", self.cluster_time().await?);
        }
        let gap = (gap_from.min(gap_to), gap_to);
        let mut change = doc! {
            "$inc": {"epoch": 1_i64, "generation": 1_i64}, "$push": {"gaps": {"from": gap.0, "to": gap.1}}, "$unset": unset,
        };
        if !set.is_empty() {
            change.insert("$set", set);
        }
        self.change_stopped(&fence, change).await?;
        Ok(Resumed {
            gap: Some(gap),
            may_count_again: from == From::Earliest && stopped.reason == "invalidated",
        })
    }

    /// Whether the journal of a lane goes on beyond its fence.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn is_behind(&self, lane: &LaneId, fence: &StoredFence) -> Result<bool, Error> {
        let mut session = self.client.start_session().await.map_err(errors::unusable)?;
        let beyond = self.newest_beyond(lane, fence, &mut session).await;
        let beyond = beyond.map_err(|error| Error::Unusable(error.to_string()))?;
        Ok(beyond.is_some())
    }

    /// Lets a lane go on whose journal is damaged. The chain begins anew, in another generation: of what was counted
    /// before nobody knows the ids any more.
    async fn begin_journal_anew(&self, fence: &StoredFence) -> Result<Resumed, Error> {
        let now = server_time(&self.client).await.map_err(errors::unusable)?;
        let from = doc! {"generation": fence.generation + 1, "seq": fence.seq + 1};
        let change = doc! {
            "$inc": {"epoch": 1_i64, "generation": 1_i64},
            "$set": {"windowFrom": from.clone(), "mergedUpTo": from.clone()},
            "$unset": {"stopped": "", "journal": ""},
            "$push": {"journalsBegun": {"at": now, "from": from}},
        };
        self.change_stopped(fence, change).await?;
        Ok(Resumed {
            gap: None,
            may_count_again: true,
        })
    }

    /// Changes the fence of a lane that is still stopped, and nobody's else than when it was read.
    async fn change_stopped(&self, fence: &StoredFence, change: Document) -> Result<(), Error> {
        let lane = &fence.lane;
        let same = doc! {"_id": lane, "epoch": fence.epoch, "stopped": {"$exists": true}};
        let changed = self
            .collection(FENCES)
            .update_one(same, change)
            .await
            .map_err(errors::unusable)?;
        match changed.matched_count {
            0 => Err(Error::Unusable(format!(
                "the lane `{lane}` was taken over just now; look again and repeat"
            ))),
            _ => Ok(()),
        }
    }

    /// The time of the last operation that the server knows.
    async fn cluster_time(&self) -> Result<Timestamp, Error> {
        let started = self.client.start_session().causal_consistency(true).await;
        let mut session = started.map_err(errors::unusable)?;
        let admin = self.client.database("admin");
        let ping = admin.run_command(doc! {"ping": 1}).session(&mut session).await;
        ping.map_err(errors::unusable)?;
        let time = session.operation_time();
        time.ok_or_else(|| Error::Unusable("the server gives no operation times".into()))
    }

    /// The time of the oldest entry of the oplog, which is all there is to go on from.
    async fn beginning(&self) -> Result<Timestamp, Error> {
        let oldest = self.oldest_in_oplog().await.map_err(|error| match errors::is_right_missing(&error) {
            true => Error::Unusable(format!(
                "the oldest entry of `local.oplog.rs` may not be read (that takes `read` on `local`): {}; `--from now` \
                 goes on without it",
                errors::message(&error)
            )),
            false => errors::unusable(&error),
        })?;
        oldest.ok_or_else(|| Error::Unusable("`local.oplog.rs` has no entries".into()))
    }

    /// The token of the lane's change stream at a time, or as it is now.
    async fn token_at(&self, lane: &LaneId, time: Option<Timestamp>) -> Result<Document, Error> {
        let namespace = lane
            .as_str()
            .strip_prefix("mongodb/")
            .and_then(|name| name.split_once('.'));
        let (database, collection) = namespace
            .ok_or_else(|| Error::Unusable(format!("`{lane}` is not the lane of a change stream")))?;
        let collection = self
            .client
            .database(database)
            .collection::<RawDocumentBuf>(collection);
        let mut watch = collection.watch();
        if let Some(time) = time {
            watch = watch.start_at_operation_time(time);
        }
        let stream = watch.await.map_err(errors::unusable)?;
        let token = stream
            .resume_token()
            .ok_or_else(|| Error::Unusable("the server gives no resume token".into()))?;
        mongodb::bson::serialize_to_document(&token).map_err(|error| Error::Unusable(error.to_string()))
    }
}

fn behind(lane: &LaneId) -> String {
    format!(
        "the fence of `{lane}` was set back, and the journal knows where it was: going on from here would count again; \
         `usage-ledger rebuild --lane {lane}` sets it right"
    )
}
