//! One lane under one grant: the stream is opened and polled, and what it brings is sent.
//!
//! A connection that is silent is given up, and whatever was asked on it is asked again on another. A server that looks
//! through a long history for what concerns one collection is silent too: so the same is waited for twice as long each
//! time.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::options::{FullDocumentBeforeChangeType, FullDocumentType};
use rollup::clock::Clock;

use super::change::{Change, Operation};
use super::events::Events;
use super::interrupt::Interrupt;
use super::large::Ask;
use super::standing::Standing;
use crate::decode::{Payload, hashed};
use crate::lane::{Backfill, Position};
use crate::source::{Grant, Record, SourceEvent, Stop, StopReason, Voice};

/// How long an answer is waited for at first.
const ANSWER: Duration = Duration::from_secs(30);
/// The most.
const LONG_ANSWER: Duration = Duration::from_secs(960);
/// Empty polls after which a stream that asks for less has seen all there is.
const EMPTY_POLLS: usize = 1;

/// What one poll of the stream gave.
pub(super) enum Polled {
    Change(Change),
    /// Whatever could be read when the poll began was read.
    Empty {
        token: Document,
    },
}

/// Reads one lane under one grant.
pub(super) struct Reader<'a, C> {
    pub(super) events: &'a Events,
    pub(super) clock: &'a C,
    pub(super) signals: &'a Voice,
    pub(super) grant: &'a Grant,
    /// Where the stream is, in step with what was sent; `None` before its first opening.
    pub(super) token: Option<Document>,
    /// How much of the changes is asked for.
    ask: Ask,
    /// The token behind which lies what the server cannot deliver, and has its letter.
    pub(super) passed: Option<Document>,
    /// Empty polls since less was asked for.
    empty: usize,
    /// What was too large was met, or is not there any more.
    has_met_it: bool,
    /// How far the history was sent.
    pub(super) backfill: Backfill,
    /// A change that was read and belongs behind the present chunk of the scan.
    pub(super) held: Option<Change>,
    pub(super) was_away: bool,
    /// How the primary stood before the present poll began.
    standing: Option<Standing>,
    /// How long an answer is waited for.
    patience: Duration,
}

impl<'a, C: Clock> Reader<'a, C> {
    /// A reader that goes on from where the grant says.
    pub(super) fn new(
        events: &'a Events,
        clock: &'a C,
        signals: &'a Voice,
        grant: &'a Grant,
    ) -> Result<Self, Interrupt> {
        let (token, passed, backfill) = match grant.fence.position.clone() {
            Some(Position::Stream {
                token,
                is_past,
                backfill,
            }) => (Some(token.clone()), is_past.then_some(token), backfill),
            Some(Position::Offset { .. }) => {
                return Err(Interrupt::Away(
                    "the lane's position is not a resume token".into(),
                ));
            }
            None => (None, None, Backfill::Pending),
        };
        Ok(Self {
            events,
            clock,
            signals,
            grant,
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
        })
    }

    /// Opens the stream where the reader is. An empty poll waits for so long.
    pub(super) async fn open(
        &mut self,
        await_time: Duration,
    ) -> Result<ChangeStream<RawDocumentBuf>, Interrupt> {
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
    pub(super) async fn poll(
        &mut self,
        stream: &mut ChangeStream<RawDocumentBuf>,
    ) -> Result<Polled, Interrupt> {
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

    /// Waits for longer next time: this time was in vain.
    pub(super) fn wait_longer(&mut self) {
        self.patience = (self.patience * 2).min(LONG_ANSWER);
    }

    /// Asks for less of the changes. Whether there is less.
    pub(super) fn ask_for_less(&mut self) -> bool {
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
                document_id: None,
            },
            next: self.position(token),
            source_time_ms: now_ms,
            as_of_ms: None,
            index: None,
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
    /// Where a person has accepted that, reading goes on there.
    async fn ended(&mut self, change: Change, stream: &mut ChangeStream<RawDocumentBuf>) -> Interrupt {
        let ended_at = change.time;
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
        let accepted = self.grant.fence.ends_accepted_until;
        if accepted.is_some_and(|accepted| ended_at <= accepted) {
            tracing::info!(lane = %self.events.lane(), what, "the collection ended here, which was accepted");
            self.token = Some(token);
            return Interrupt::Again;
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

    pub(super) async fn forward(&mut self, change: Change) -> Result<(), Interrupt> {
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

    pub(super) async fn idle(&self, as_of_ms: Option<i64>) -> Result<(), Interrupt> {
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

    pub(super) async fn send(&self, signal: SourceEvent) -> Result<(), Interrupt> {
        self.signals.send(signal).await.map_err(|_| Interrupt::Closed)
    }

    /// Asks how the primary stands now. Up to when everything was read by the poll before, which was empty.
    pub(super) async fn look(&mut self) -> Result<Option<i64>, Interrupt> {
        let now = self.ask_standing().await?;
        let election = now.election;
        match self.standing.replace(now) {
            None => Ok(None),
            Some(before) if before.election == election => Ok(Some(before.as_of_ms)),
            // The stream may be of the former primary, and behind this one.
            Some(_) => Err(Interrupt::Again),
        }
    }

    async fn ask_standing(&self) -> Result<Standing, Interrupt> {
        let asked_ms = self.clock.now().timestamp_millis();
        let admin = self.events.client.database("admin");
        let hello = admin.run_command(doc! {"hello": 1}).into_future();
        let hello = self.answer(hello).await?;
        Standing::read(&hello, asked_ms).ok_or_else(|| {
            Interrupt::Away("the server does not say what a majority has: it is no replica set".into())
        })
    }

    /// The server's answer, if it comes in time and somebody waits for it still. Whoever gets an interrupt drops the
    /// stream that was asked: its future was dropped half-way.
    pub(super) async fn answer<T>(
        &self,
        asked: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Interrupt> {
        tokio::select! {
            biased;
            answer = tokio::time::timeout(self.patience, asked) => {
                let answer = answer.map_err(|_| Interrupt::Silent)?;
                answer.map_err(Interrupt::from)
            }
            () = self.grant.lost.cancelled() => Err(Interrupt::Lost),
            () = self.signals.closed() => Err(Interrupt::Closed),
        }
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
