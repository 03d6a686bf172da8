//! The leases of this worker: its sign of life, and the change streams that it leads.
//!
//! | `_id` | | |
//! |---|---|---|
//! | the worker, as fences name their owner | `session` of its transactions | a worker that finds this lease over may end them, where they are in the way |
//! | a lane | `owner` | leads it; a worker that finds this lease over takes it |
//! | `verify` | `owner` | compares rows with their entries; a worker that finds this lease over does it |
//!
//! All hold `renewedAt` and `lengthMs`, and are judged by the server's clock alone. They give liveness, the fences
//! safety (whoever compares writes nothing): so they are written without waiting for a majority, on a task of their own and over connections of their
//! own, and a commit may take as long as it likes.

pub(crate) mod turn;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime as Moment, Utc};
use ingest::lane::LaneId;
use ingest::lease::{self, Life};
use ingest::server_error::DUPLICATE_KEY;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::Result;
use mongodb::options::{ReadConcern, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection};
use serde::Deserialize;
use tokio::time::Instant;

use super::connection::server_time;
use super::pools::Pool;
use super::{Error, LEASES, Store, errors};

/// Connections for leases, at most: of the worker, of its lanes, and of its turn.
const CONNECTIONS: u32 = 3;
/// A lease that has been over for so long is removed by whoever comes by: no transaction lives as long.
const SWEEP_AFTER: Duration = Duration::from_secs(600);
/// How long ending a session may take.
const END: Duration = Duration::from_secs(1);
/// One renewal may take this long, or as long as there is between two.
const RENEWAL: Duration = Duration::from_secs(1);

/// How lanes come to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// The source assigns each to one worker.
    Assigned,
    /// One of several workers leads, under a lease.
    Led,
}

/// A lease as it is stored: that of a worker under the worker's name, that of a lane under the lane's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredLease {
    #[serde(rename = "_id")]
    id: String,
    /// The worker that leads the lane.
    owner: String,
    renewed_at: Option<DateTime>,
    length_ms: Option<i64>,
    /// The session of the worker's transactions.
    session: Option<Document>,
}

impl StoredLease {
    /// For how long it still holds. One without its time holds no longer.
    fn remaining(&self, now: Moment<Utc>) -> Option<Duration> {
        let length = u64::try_from(self.length_ms?).ok()?;
        lease::remaining(self.renewed_at?.to_chrono(), Duration::from_millis(length), now)
    }

    /// It, as it was read: of several that find it over only one changes it.
    fn unchanged(&self) -> Document {
        doc! {"_id": &self.id, "renewedAt": self.renewed_at}
    }
}

/// The leases of this worker. Clones share them.
#[derive(Clone)]
pub struct Leases(Arc<Shared>);

struct Shared {
    client: Client,
    leases: Collection<StoredLease>,
    owner: String,
    length: Duration,
    lanes: Lanes,
    life: Life,
    known: Mutex<Known>,
    /// Held while the worker's lease is written, and whether it is given up for good.
    has_left: tokio::sync::Mutex<bool>,
}

/// What was last said of this worker.
#[derive(Debug, Default)]
struct Known {
    session: Option<Document>,
    renewed: Option<Instant>,
    /// The lanes that it leads or is about to.
    led: BTreeSet<LaneId>,
}

/// The answer to the wish to lead a lane.
pub(super) enum Lead {
    /// We lead: the lease is renewed for as long as this is kept.
    Ours(Led),
    /// Another worker leads, for so long at least.
    LeasedTo { owner: String, left: Duration },
}

/// A lease that may be taken.
struct Free {
    /// It, as it was read: of several that find it free only one takes it.
    unchanged: Document,
    /// Who held it; `None`: nobody, or this worker.
    former: Option<String>,
}

/// A lane that is about to be ours. Its lease is renewed no longer when this is dropped.
pub(super) struct Led {
    leases: Leases,
    lane: Option<LaneId>,
}

impl Led {
    /// The lane is ours: its lease is renewed from now on.
    pub(super) fn keep(mut self) {
        self.lane = None;
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            self.leases.lost(lane);
        }
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases")
            .field("owner", &self.0.owner)
            .finish_non_exhaustive()
    }
}

impl Leases {
    /// Leases of this length for the worker of this store. Nothing is written yet.
    ///
    /// # Errors
    /// When there can be no second client.
    pub fn open(store: &Store, length: Duration, lanes: Lanes) -> std::result::Result<Self, Error> {
        let store = store.apart(Pool::Leases, CONNECTIONS, |options| {
            options.write_concern = Some(WriteConcern::nodes(1));
            options.read_concern = Some(ReadConcern::local());
        })?;
        Ok(Self(Arc::new(Shared {
            leases: store.database.collection(LEASES),
            client: store.client,
            owner: store.owner,
            length,
            lanes,
            life: Life::begin(),
            known: Mutex::default(),
            has_left: tokio::sync::Mutex::new(false),
        })))
    }

    /// When the loop of this worker last got something done.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.0.life
    }

    /// Renews the leases for as long as the loop shows life. Never ends; to be spawned.
    pub async fn keep(self) {
        let every = lease::renew_every(self.0.length);
        let mut due = tokio::time::interval(every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut showed = true;
        loop {
            due.tick().await;
            let shows = self.0.life.shows();
            // Whoever leads nothing may have nothing to do.
            if showed && !shows && !self.known().led.is_empty() {
                tracing::warn!("the loop gets nothing done: its leases run out");
            }
            showed = shows;
            if !shows {
                continue;
            }
            match tokio::time::timeout(every.max(RENEWAL), self.renew()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = errors::message(&error), "leases were not renewed"),
                Err(_) => tracing::warn!("leases were not renewed: the database does not answer"),
            }
        }
    }

    /// Both at once: on a slow server neither has the time to wait for the other.
    async fn renew(&self) -> Result<()> {
        tokio::try_join!(self.renew_worker(), self.renew_led()).map(drop)
    }

    async fn renew_led(&self) -> Result<()> {
        let led: Vec<Bson> = {
            let known = self.known();
            known.led.iter().map(|lane| lane.as_str().into()).collect()
        };
        if !led.is_empty() {
            // One that another worker has taken is not matched: the fence will tell.
            let ours = doc! {"_id": {"$in": led}, "owner": &self.0.owner};
            let renewed = doc! {"$currentDate": {"renewedAt": true}};
            self.0.leases.update_many(ours, renewed).await?;
        }
        Ok(())
    }

    async fn renew_worker(&self) -> Result<()> {
        let has_left = self.0.has_left.lock().await;
        if *has_left {
            return Ok(());
        }
        let (began, session, is_first) = {
            let known = self.known();
            (Instant::now(), known.session.clone(), known.renewed.is_none())
        };
        let mut lease = doc! {"lengthMs": self.length_ms()};
        if let Some(session) = session {
            lease.insert("session", session);
        }
        self.0
            .leases
            .update_one(
                doc! {"_id": &self.0.owner},
                doc! {"$set": lease, "$currentDate": {"renewedAt": true}},
            )
            .upsert(true)
            .await?;
        self.known().renewed = Some(began);
        drop(has_left);
        if is_first {
            self.sweep().await?;
        }
        Ok(())
    }

    /// Says that transactions of this worker use this session. To be called before each of them. A former session
    /// was given up: what it left open is ended, so that it is not in our own way.
    pub(super) async fn record(&self, session: &Document) -> Result<()> {
        let former = {
            let known = self.known();
            let is_fresh = known.renewed.is_some_and(|at| at.elapsed() < self.0.length);
            match &known.session {
                Some(told) if told == session && is_fresh => return Ok(()),
                former => former.clone().filter(|former| former != session),
            }
        };
        if let Some(former) = former {
            self.end(&former).await;
        }
        self.known().session = Some(session.clone());
        self.renew_worker().await
    }

    /// Makes this worker the leader of a lane, where lanes are led and no other one leads it.
    pub(super) async fn lead(&self, lane: &LaneId) -> Result<Lead> {
        let mut led = Led {
            leases: self.clone(),
            lane: None,
        };
        if self.0.lanes == Lanes::Assigned {
            return Ok(Lead::Ours(led));
        }
        let free = match self.look(lane.as_str()).await? {
            Ok(free) => free,
            Err((owner, left)) => return Ok(Lead::LeasedTo { owner, left }),
        };
        led.lane = Some(lane.clone());
        self.known().led.insert(lane.clone());
        Ok(match self.take(&free).await? {
            true => Lead::Ours(led),
            false => Lead::LeasedTo {
                owner: free.former.unwrap_or_default(),
                left: Duration::ZERO,
            },
        })
    }

    /// Whether a lease may be taken; else who holds it, and for how long at least.
    async fn look(&self, id: &str) -> Result<std::result::Result<Free, (String, Duration)>> {
        let stored = self.0.leases.find_one(doc! {"_id": id}).await?;
        let Some(lease) = stored.filter(|lease| lease.owner != self.0.owner) else {
            return Ok(Ok(Free {
                unchanged: doc! {"_id": id, "owner": &self.0.owner},
                former: None,
            }));
        };
        if let Some(left) = lease.remaining(self.now().await?) {
            return Ok(Err((lease.owner, left)));
        }
        let mut unchanged = lease.unchanged();
        unchanged.insert("owner", &lease.owner);
        Ok(Ok(Free {
            unchanged,
            former: Some(lease.owner),
        }))
    }

    /// Takes a lease. Whether no other worker was faster.
    async fn take(&self, free: &Free) -> Result<bool> {
        let take = doc! {
            "$set": {"owner": &self.0.owner, "lengthMs": self.length_ms()}, "$currentDate": {"renewedAt": true},
        };
        let taken = self
            .0
            .leases
            .find_one_and_update(free.unchanged.clone(), take)
            .upsert(free.former.is_none())
            .return_document(ReturnDocument::After)
            .await;
        match taken {
            Ok(taken) => Ok(taken.is_some()),
            Err(error) if errors::code(&error) == Some(DUPLICATE_KEY) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The lease of a lane is renewed no longer, and runs out by itself.
    pub(super) fn lost(&self, lane: &LaneId) {
        self.known().led.remove(lane);
    }

    /// Gives the lease of a lane back.
    pub(super) async fn follow(&self, lane: &LaneId) -> Result<()> {
        self.lost(lane);
        if self.0.lanes == Lanes::Assigned {
            return Ok(());
        }
        let ours = doc! {"_id": lane.as_str(), "owner": &self.0.owner};
        self.0.leases.delete_one(ours).await.map(drop)
    }

    /// The worker ends in good order: nothing of it is left.
    pub(super) async fn leave(&self) -> Result<()> {
        let mut has_left = self.0.has_left.lock().await;
        *has_left = true;
        let owner = &self.0.owner;
        let ours = doc! {"$or": [{"_id": owner}, {"owner": owner}]};
        self.0.leases.delete_many(ours).await.map(drop)
    }

    /// Ends whatever transaction a worker left open, if its lease is over. How long it lives yet, where it is not.
    pub(super) async fn end_if_over(&self, owner: &str) -> Result<Option<Duration>> {
        // The clock first: a lease that is renewed meanwhile is not over.
        let now = self.now().await?;
        // One that left in good order has left nothing open.
        let Some(lease) = self.0.leases.find_one(doc! {"_id": owner}).await? else {
            return Ok(None);
        };
        if let Some(left) = lease.remaining(now) {
            return Ok(Some(left));
        }
        if let Some(session) = &lease.session {
            tracing::info!(
                owner,
                "a transaction of a worker whose lease is over is in the way: it is ended"
            );
            self.end(session).await;
        }
        Ok(None)
    }

    /// Ends a session, and whatever transaction it left open. Where that fails the transaction runs out by itself.
    pub(super) async fn end(&self, session: &Document) {
        let admin = self.0.client.database("admin");
        let ended = admin.run_command(doc! {"killSessions": [session.clone()]});
        let why = match tokio::time::timeout(END, async { ended.await }).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => errors::message(&error),
            Err(_) => "the database does not answer".into(),
        };
        tracing::warn!(why, "a session could not be ended; its transaction will run out");
    }

    /// Whether the server answers at all.
    pub(super) async fn answers(&self) -> bool {
        let asked = tokio::time::timeout(END, self.now()).await;
        matches!(asked, Ok(Ok(_)))
    }

    /// Removes leases that have been over for long: their workers died.
    async fn sweep(&self) -> Result<()> {
        let (mut leases, now) = (self.0.leases.find(doc! {}).await?, self.now().await?);
        let long_ago = now - SWEEP_AFTER;
        while leases.advance().await? {
            let lease = leases.deserialize_current()?;
            if lease.remaining(long_ago).is_none() {
                self.0.leases.delete_one(lease.unchanged()).await?;
            }
        }
        Ok(())
    }

    /// The server's clock, which also writes `renewedAt`.
    async fn now(&self) -> Result<Moment<Utc>> {
        Ok(server_time(&self.0.client).await?.to_chrono())
    }

    fn length_ms(&self) -> i64 {
        i64::try_from(self.0.length.as_millis()).unwrap_or(i64::MAX)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
