//! The change stream of the events collection as a source.
//!
//! One task owns the stream. An empty poll returns by itself after half a second. Futures of a change stream must not be
//! dropped half-way: one that is waited for in vain is dropped with its stream, which is opened again.
//!
//! A stream that fails is opened again at the last position sent. One that can never go on (its history is
//! gone, its collection was dropped) stops the lane; it never skips ahead.

mod answer;
mod backfill;
mod bytes;
mod change;
mod error;
mod large;
mod order;
mod page;
mod standing;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::options::FullDocumentBeforeChangeType;
use mongodb::options::FullDocumentType;
use mongodb::{Client, Collection};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::decode::{Payload, hashed};
use crate::hold::{HOLD, pauses};
use crate::lane::{Backfill, LaneId, Position};
use crate::ledger::Refusal;
use crate::source::{Grant, Record, SourceEvent, Stop, StopReason, Voice};

use answer::ANSWER;
use change::{Change, Operation};
use large::Ask;
use standing::Standing;

/// How long the server waits for an event before it answers that there is none.
const AWAIT: Duration = Duration::from_millis(500);
/// The same during the scan, where an empty answer is waited for after every chunk.
const AWAIT_SCANNING: Duration = Duration::from_millis(10);
/// Empty polls after which a stream that asks for less has seen all there is.
const EMPTY_POLLS: usize = 1;
/// How long until a stream that failed is opened again, at most.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// The collection whose changes are read.
#[derive(Debug, Clone)]
pub struct Events {
    /// A client that reads from the primary.
    pub client: Client,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
}

impl Events {
    /// The lane of this collection.
    #[must_use]
    pub fn lane(&self) -> LaneId {
        LaneId::change_stream(&self.database, &self.collection)
    }

    fn collection(&self) -> Collection<RawDocumentBuf> {
        self.client.database(&self.database).collection(&self.collection)
    }
}

/// Why reading was interrupted.
#[derive(Debug)]
enum Interrupt {
    /// The loop no longer listens.
    Closed,
    /// The lane is no longer ours.
    Lost,
    /// The lane can never go on from here by itself.
    Stopped(Box<Stop>),
    /// The server is away, or says what nobody knows: open again.
    Away(String),
    /// A person must act: open again now and then.
    Refused { reason: Refusal, why: String },
    /// The server does not answer: open again, and wait for longer.
    Silent,
    /// A change is larger than the server can deliver: open again, and ask for less.
    TooLarge(String),
    /// Open again at once.
    Again,
}

/// Speaks for the collection until nobody listens.
pub async fn run<C: Clock>(events: Events, clock: Arc<C>, signals: Voice) {
    let lane = events.lane();
    if signals
        .send(SourceEvent::Topology(vec![lane.clone()]))
        .await
        .is_err()
    {
        return;
    }
    loop {
        let (reply, granted) = oneshot::channel();
        if signals
            .send(SourceEvent::Assigned {
                lane: lane.clone(),
                reply,
            })
            .await
            .is_err()
        {
            return;
        }
        let Ok(grant) = granted.await else { return };
        let lost = grant.lost.clone();
        match follow(&events, clock.as_ref(), &signals, grant).await {
            Interrupt::Closed => return,
            // The loop commits what was read, and then lets go of the lane.
            Interrupt::Stopped(_) => {
                tokio::select! {
                    () = lost.cancelled() => {}
                    () = signals.closed() => return,
                }
            }
            _ => {}
        }
    }
}

/// Reads the lane until something ends that for good, opening the stream again whenever it fails.
async fn follow<C: Clock>(events: &Events, clock: &C, signals: &Voice, grant: Grant) -> Interrupt {
    let backoff = || pauses(Duration::from_millis(100), OPEN_AGAIN);
    let mut waited = backoff();
    let (token, passed, backfill) = match grant.fence.position.clone() {
        Some(Position::Stream {
            token,
            is_past,
            backfill,
        }) => (Some(token.clone()), is_past.then_some(token), backfill),
        Some(Position::Offset(_)) => {
            return Interrupt::Away("the lane's position is not a resume token".into());
        }
        None => (None, None, Backfill::Pending),
    };
    let mut reader = Reader {
        events,
        clock,
        signals,
        grant: &grant,
        ask: if passed.is_some() { Ask::Past } else { Ask::Whole },
        token,
        passed,
        empty: 0,
        has_met_it: false,
        backfill,
        held: None,
        was_away: false,
        standing: None,
        patience: ANSWER,
    };
    loop {
        let before = reader.token.clone();
        let why = match reader.read().await {
            Interrupt::Away(why) => why,
            Interrupt::Silent => {
                reader.patience = answer::longer(reader.patience);
                "the server does not answer".into()
            }
            Interrupt::TooLarge(why) if reader.ask_for_less() => {
                tracing::warn!(
                    error = why,
                    "a change is larger than the server can deliver; less of it is asked for"
                );
                continue;
            }
            Interrupt::TooLarge(why) => why,
            Interrupt::Again => continue,
            Interrupt::Refused { reason, why } => {
                reader.was_away = true;
                if let Some(over) = wait(signals, &grant, SourceEvent::Refused { reason, why }, HOLD).await {
                    return over;
                }
                continue;
            }
            Interrupt::Stopped(stop) => {
                let told = signals
                    .send(SourceEvent::Stopped {
                        lane: events.lane(),
                        stop: Stop::clone(&stop),
                    })
                    .await;
                return if told.is_ok() {
                    Interrupt::Stopped(stop)
                } else {
                    Interrupt::Closed
                };
            }
            other => return other,
        };
        if reader.token != before {
            waited = backoff();
        }
        reader.was_away = true;
        let pause = waited.next().unwrap_or(OPEN_AGAIN);
        if let Some(over) = wait(signals, &grant, SourceEvent::Away(Some(why)), pause).await {
            return over;
        }
    }
}

/// Says why nothing is read, and waits. Why reading is over, if it is meanwhile.
async fn wait(signals: &Voice, grant: &Grant, why: SourceEvent, pause: Duration) -> Option<Interrupt> {
    if signals.send(why).await.is_err() {
        return Some(Interrupt::Closed);
    }
    tokio::select! {
        biased;
        () = grant.lost.cancelled() => Some(Interrupt::Lost),
        () = signals.closed() => Some(Interrupt::Closed),
        () = tokio::time::sleep(pause) => None,
    }
}

/// What one poll of the stream gave.
enum Polled {
    Change(Change),
    /// Whatever could be read when the poll began was read.
    Empty {
        token: Document,
    },
}

/// Reads one lane under one grant.
struct Reader<'a, C> {
    events: &'a Events,
    clock: &'a C,
    signals: &'a Voice,
    grant: &'a Grant,
    /// Where the stream is, in step with what was sent; `None` before its first opening.
    token: Option<Document>,
    /// How much of the changes is asked for.
    ask: Ask,
    /// The token behind which lies what the server cannot deliver, and has its letter.
    passed: Option<Document>,
    /// Empty polls since less was asked for.
    empty: usize,
    /// What was too large was met, or is not there any more.
    has_met_it: bool,
    /// How far the history was sent.
    backfill: Backfill,
    /// A change that was read and belongs behind the present chunk of the scan.
    held: Option<Change>,
    was_away: bool,
    /// How the primary stood before the present poll began.
    standing: Option<Standing>,
    /// How long an answer is waited for.
    patience: Duration,
}

impl<C: Clock> Reader<'_, C> {
    /// Opens the stream and reads it until it is interrupted.
    async fn read(&mut self) -> Interrupt {
        match self.read_until_interrupted().await {
            Ok(never) => match never {},
            Err(interrupt) => interrupt,
        }
    }

    async fn read_until_interrupted(&mut self) -> Result<Infallible, Interrupt> {
        self.held = None;
        if self.backfill != Backfill::Done {
            let mut stream = self.open(AWAIT_SCANNING).await?;
            self.scan_history(&mut stream).await?;
        }
        let mut stream = self.open(AWAIT).await?;
        loop {
            match self.poll(&mut stream).await? {
                Polled::Change(change) => self.forward(change).await?,
                Polled::Empty { token } => {
                    self.token = Some(token);
                    let as_of_ms = self.look().await?;
                    self.idle(as_of_ms).await?;
                }
            }
        }
    }

    async fn open(&mut self, await_time: Duration) -> Result<ChangeStream<RawDocumentBuf>, Interrupt> {
        let resume: Option<ResumeToken> =
            match &self.token {
                Some(token) => Some(bson::deserialize_from_document(token.clone()).map_err(|error| {
                    Interrupt::Away(format!("the stored resume token is damaged: {error}"))
                })?),
                None => None,
            };
        let collection = self.events.collection();
        let mut watch = collection
            .watch()
            .pipeline(self.ask.pipeline())
            .full_document(FullDocumentType::WhenAvailable)
            .full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable)
            .max_await_time(await_time);
        if let Some(token) = resume {
            // Unlike `resumeAfter` this also goes on behind an invalidation.
            watch = watch.start_after(token);
        }
        if let Some(batch) = self.ask.batch() {
            watch = watch.batch_size(batch);
        }
        (self.empty, self.has_met_it) = (0, false);
        // Before it is opened: so it is the same primary's if that is the primary still when it is asked next.
        self.standing = Some(self.ask_standing().await?);
        let stream = self.answer(watch.into_future()).await?;
        let stream = stream.with_type::<RawDocumentBuf>();
        if self.token.is_none() {
            self.token = Some(token_of(&stream)?);
        }
        if std::mem::take(&mut self.was_away) {
            self.send(SourceEvent::Away(None)).await?;
        }
        Ok(stream)
    }

    /// One answer of the server, or the change that was held back.
    async fn poll(&mut self, stream: &mut ChangeStream<RawDocumentBuf>) -> Result<Polled, Interrupt> {
        self.ask_for_all()?;
        loop {
            if self.grant.lost.is_cancelled() {
                return Err(Interrupt::Lost);
            }
            if let Some(change) = self.held.take() {
                return Ok(Polled::Change(change));
            }
            let next = self.answer(stream.next_if_any()).await?;
            self.patience = ANSWER;
            return match next.map(Change::read).transpose()? {
                Some(change) if change.operation == Operation::End => Err(self.ended(change, stream).await),
                Some(change) => {
                    self.pass_over().await?;
                    self.has_met_it |= self.ask == Ask::Past || change.left_out.is_some();
                    Ok(Polled::Change(change))
                }
                None if !stream.is_alive() => Err(Interrupt::Stopped(Box::new(Stop {
                    reason: StopReason::Invalidated,
                    detail: "the server ended the change stream".into(),
                    resumable: None,
                }))),
                // The first answer of a stream says nothing yet of what is behind its position.
                None if self.ask != Ask::Whole && self.empty < EMPTY_POLLS => {
                    self.empty += 1;
                    continue;
                }
                None => {
                    self.pass_over().await?;
                    self.has_met_it = true;
                    let token = token_of(stream)?;
                    Ok(Polled::Empty { token })
                }
            };
        }
    }

    /// Asks for less of the changes. Whether there is less.
    fn ask_for_less(&mut self) -> bool {
        let less = self.ask.less();
        self.ask = less.unwrap_or(self.ask);
        less.is_some()
    }

    /// What the server cannot deliver, directly behind where the stream is, becomes a letter: all that is known of it
    /// is its place. The position says that it has it.
    async fn pass_over(&mut self) -> Result<(), Interrupt> {
        let (Ask::Past, Some(token)) = (self.ask, self.token.clone()) else {
            return Ok(());
        };
        if self.passed.as_ref() == Some(&token) {
            return Ok(());
        }
        let bytes = bson::serialize_to_vec(&token).unwrap_or_default();
        self.passed = Some(token.clone());
        let now_ms = self.clock.now().timestamp_millis();
        let record = Record {
            lane: self.grant.key,
            payload: Payload::Oversized {
                place: hashed("behind/", &bytes),
                length: None,
                sha256: None,
                head: Vec::new(),
            },
            next: self.position(token),
            source_time_ms: now_ms,
            as_of_ms: None,
            historical: false,
            last: None,
        };
        self.send(SourceEvent::Records(vec![record])).await
    }

    /// Behind what was too large the stream is opened anew, with everything in its changes.
    fn ask_for_all(&mut self) -> Result<(), Interrupt> {
        if self.ask == Ask::Whole || !self.has_met_it {
            return Ok(());
        }
        self.ask = Ask::Whole;
        Err(Interrupt::Again)
    }

    /// Where the lane goes on at this token.
    fn position(&self, token: Document) -> Position {
        Position::Stream {
            is_past: self.passed.as_ref() == Some(&token),
            token,
            backfill: self.backfill.clone(),
        }
    }

    /// The collection was dropped or renamed: the last change of the stream says where a new one would go on.
    async fn ended(&self, change: Change, stream: &mut ChangeStream<RawDocumentBuf>) -> Interrupt {
        let what = change
            .raw
            .get_str("operationType")
            .unwrap_or("invalidate")
            .to_owned();
        let mut token = change.token;
        // The cursor may be closed already while its last changes are still to be taken.
        loop {
            match self
                .answer(stream.next_if_any())
                .await
                .map(|next| next.map(Change::read))
            {
                Ok(Some(Ok(last))) => token = last.token,
                Ok(None) => break,
                Ok(Some(Err(interrupt))) | Err(interrupt) => return interrupt,
            }
        }
        let Events {
            database, collection, ..
        } = self.events;
        Interrupt::Stopped(Box::new(Stop {
            reason: StopReason::Invalidated,
            detail: format!("the change stream of `{database}.{collection}` ended with `{what}`"),
            resumable: Some(self.position(token)),
        }))
    }

    async fn forward(&mut self, change: Change) -> Result<(), Interrupt> {
        let token = change.token.clone();
        let next = self.position(token.clone());
        let mut record = change.into_record(self.grant.key, next);
        if self.backfill != Backfill::Done {
            // What the stream has brought says nothing of the documents above the bound.
            record.as_of_ms = None;
        }
        self.send(SourceEvent::Records(vec![record])).await?;
        self.token = Some(token);
        Ok(())
    }

    async fn idle(&self, as_of_ms: Option<i64>) -> Result<(), Interrupt> {
        let Some(token) = self.token.clone() else {
            return Ok(());
        };
        let next = self.position(token);
        self.send(SourceEvent::Idle {
            lane: self.grant.key,
            next,
            as_of_ms,
        })
        .await
    }

    async fn send(&self, signal: SourceEvent) -> Result<(), Interrupt> {
        self.signals.send(signal).await.map_err(|_| Interrupt::Closed)
    }
}

fn token_of(stream: &ChangeStream<RawDocumentBuf>) -> Result<Document, Interrupt> {
    let token = stream.resume_token().ok_or_else(|| {
        Interrupt::Away(
            "the server gives no resume tokens: it is no replica set, or older than MongoDB 6.0".into(),
        )
    })?;
    bson::serialize_to_document(&token)
        .map_err(|error| Interrupt::Away(format!("the resume token is not a document: {error}")))
}
