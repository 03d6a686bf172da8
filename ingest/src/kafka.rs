//! A Kafka topic as a source.
//!
//! ```text
//!  thread kafka-poll                                          thread kafka-watch
//!  ┌───────────────────────────────────────────────┐  asks   ┌──────────────────────────┐
//!  │ member of the group: polls, assigns, pauses   │ ──────▶ │ belongs to no group:     │
//!  │ one lane per partition                        │ ◀────── │ partitions, begins, ends │
//!  └──────────────────────┬────────────────────────┘  seen   └──────────────────────────┘
//!                         ▼ signals
//!                      the loop
//! ```
//! The position of a partition is in the ledger, and nowhere else. A partition that the group assigns is asked
//! for there first; it is given to librdkafka once, with the offset to begin at. Kafka is told of positions for
//! tools that show lag, and never asked for them.
//!
//! A partition whose position no longer exists, or whose topic is another one of the same name, stops its lane;
//! nothing is skipped.

mod client;
mod context;
mod hindrance;
mod lanes;
mod outbox;
mod partitions;
mod reader;
mod record;
mod refusal;
mod settings;
mod standing;
mod topic;
mod track;
mod watch;

use std::sync::Arc;

use rollup::clock::Clock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::hold::HOLD;
use crate::lane::LaneId;
use crate::source::{SourceEvent, Voice};
use context::Log;
use hindrance::Hindrance;
use reader::Reader;

pub use settings::{Problem, Setting, Settings};

/// Speaks for the topic until nobody listens, and then leaves the group: wait for it, or the group waits for
/// the member's session to time out.
pub async fn run<C: Clock>(settings: Settings, clock: Arc<C>, voice: Voice) {
    let (log, mut before) = (Log::default(), None);
    loop {
        let (settings, clock) = (settings.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
        let why = match member(settings, clock, voice.clone(), log.clone(), before.take()).await {
            Ok(None) => return,
            Ok(Some(why)) => why,
            Err(why) => {
                // Nobody left to tell: then the process is stopping already.
                drop(voice.send(SourceEvent::Failed(why)).await);
                return;
            }
        };
        // It stays in the way until the group has taken the next member in.
        before = Some(why.clone());
        if voice.send(why.signal()).await.is_err() {
            return;
        }
        tokio::select! {
            () = voice.closed() => return,
            () = tokio::time::sleep(HOLD) => {}
        }
    }
}

/// One member of the group. It ends when nobody listens any more, or with why it can do nothing more.
async fn member(
    settings: Settings,
    clock: Arc<dyn Clock>,
    voice: Voice,
    log: Log,
    before: Option<Hindrance>,
) -> Result<Option<Hindrance>, String> {
    let (ended, end) = oneshot::channel();
    let runtime = Handle::current();
    let read = move || {
        let read = Reader::join(settings, clock, voice, log, before, runtime).and_then(Reader::run);
        // Nobody waits: then nobody wants to know.
        drop(ended.send(read));
    };
    match std::thread::Builder::new().name("kafka-poll".into()).spawn(read) {
        Err(error) => Err(format!("a thread cannot be started: {error}")),
        Ok(_) => end
            .await
            .unwrap_or_else(|_| Err("the thread that polls Kafka panicked".into())),
    }
}

/// The offset with which a lane of this topic goes on if it is to take in only what arrives from now on.
///
/// # Errors
/// When the lane is not one of this topic, or Kafka does not answer.
pub async fn end(settings: &Settings, lane: &LaneId) -> Result<i64, String> {
    let name = lane
        .as_str()
        .strip_prefix("kafka/")
        .and_then(|name| name.rsplit_once('/'));
    let partition = name
        .filter(|(topic, _)| *topic == settings.topic())
        .and_then(|(_, partition)| partition.parse().ok())
        .ok_or_else(|| format!("`{lane}` is not a lane of the topic `{}`", settings.topic()))?;
    let settings = settings.clone();
    let asked = tokio::task::spawn_blocking(move || watch::end(&settings, partition));
    asked
        .await
        .map_err(|error| format!("Kafka could not be asked: {error}"))?
}
