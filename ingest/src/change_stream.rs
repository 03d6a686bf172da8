//! The change stream of the events collection as a source.
//!
//! One task owns the stream. An empty poll returns by itself after half a second. Futures of a change stream must not be
//! dropped half-way: one that is waited for in vain is dropped with its stream, which is opened again.
//!
//! A stream that fails is opened again at the last position sent. One that can never go on (its history is
//! gone, its collection was dropped) stops the lane; it never skips ahead.

mod backfill;
mod bytes;
mod change;
mod events;
mod interrupt;
mod large;
mod order;
mod page;
mod reader;
mod standing;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rollup::clock::Clock;
use tokio::sync::oneshot;

use crate::hold::{HOLD, pauses};
use crate::lane::Backfill;
use crate::source::{Grant, SourceEvent, Stop, Voice};

use interrupt::Interrupt;
use reader::{Polled, Reader};

pub use events::Events;

/// How long the server waits for an event before it answers that there is none.
const AWAIT: Duration = Duration::from_millis(500);
/// The same during the scan, where an empty answer is waited for after every chunk.
const AWAIT_SCANNING: Duration = Duration::from_millis(10);
/// How long until a stream that failed is opened again, at most.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

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
    let mut reader = match Reader::new(events, clock, signals, &grant) {
        Ok(reader) => reader,
        Err(interrupt) => return interrupt,
    };
    loop {
        let before = reader.token.clone();
        let why = match read(&mut reader).await {
            Interrupt::Away(why) => why,
            Interrupt::Silent => {
                reader.wait_longer();
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

/// Opens the stream and reads it until it is interrupted.
async fn read<C: Clock>(reader: &mut Reader<'_, C>) -> Interrupt {
    match read_until_interrupted(reader).await {
        Ok(never) => match never {},
        Err(interrupt) => interrupt,
    }
}

async fn read_until_interrupted<C: Clock>(reader: &mut Reader<'_, C>) -> Result<Infallible, Interrupt> {
    reader.held = None;
    if reader.backfill != Backfill::Done {
        let mut stream = reader.open(AWAIT_SCANNING).await?;
        backfill::scan_history(reader, &mut stream).await?;
    }
    let mut stream = reader.open(AWAIT).await?;
    loop {
        match reader.poll(&mut stream).await? {
            Polled::Change(change) => reader.forward(change).await?,
            Polled::Empty { token } => {
                reader.token = Some(token);
                let as_of_ms = reader.look().await?;
                reader.idle(as_of_ms).await?;
            }
        }
    }
}
