//! `lanes list` and `lanes resume`.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use ingest::kafka;
use ingest::lane::LaneId;
use mongodb::bson::DateTime;

use super::running::{execute, say};
use super::settings::Settings;
use crate::config::{Database, Source};
use crate::failure::Failure;
use crate::store::Store;
use crate::store::fences::StoredFence;
use crate::store::lanes::From;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the lanes: where they are, what they read, why they stopped
    List(Settings<Database>),
    /// Let a stopped lane go on, accepting that what lies between is not counted
    Resume(Resume),
}

/// What `lanes resume` is asked to do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Arguments")]
pub(super) struct Resume {
    /// The lane, as `lanes list` shows it
    #[arg(long)]
    lane: String,
    /// Go on with the oldest event that the source still has, with what arrives from now on, or, where the journal is
    /// damaged, where the lane stands: duplicates of what was counted before are not recognised then
    #[arg(long)]
    from: Start,
    /// Yes, what lies between will not be counted; answers over that time will say so
    #[arg(long)]
    accept_gap: bool,
    #[command(flatten)]
    settings: Settings<(Database, Source)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Start {
    Earliest,
    Now,
    Fence,
}

pub(super) fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(settings) => execute(list(settings.load()?)),
        Command::Resume(order) => {
            let (database, source) = order.settings.load()?;
            if !order.accept_gap {
                return Err(Failure::argument(
                    "--accept-gap",
                    "required: events between the lane's position and the new one will not be counted",
                ));
            }
            execute(resume(
                database,
                source,
                LaneId::from_stored(&order.lane),
                order.from,
            ))
        }
    }
}

async fn list(database: Database) -> Result<(), Failure> {
    let fences = Store::open(&database).await?.fences().await?;
    if fences.is_empty() {
        say("no lane was ever read")?;
    }
    for fence in &fences {
        say(describe(fence).trim_end())?;
    }
    Ok(())
}

async fn resume(database: Database, source: Source, lane: LaneId, start: Start) -> Result<(), Failure> {
    let store = Store::open(&database).await?;
    let from = match (start, lane.source()) {
        (Start::Now, "kafka") => From::Offset(end(&source, &lane).await?),
        (Start::Now, _) => From::Now,
        (Start::Earliest, _) => From::Earliest,
        (Start::Fence, _) => From::Fence,
    };
    let resumed = store.resume(&lane, from).await?;
    let Some((from, to)) = resumed.gap else {
        return say(&format!(
            "the lane `{lane}` goes on where it stood, with a journal that begins anew: nothing is missing; a duplicate \
             of an event that was counted before is counted again"
        ));
    };
    say(&format!(
        "the lane `{lane}` goes on; events from {} to {} may not be counted, and answers over that time say so",
        instant(from),
        instant(to),
    ))?;
    if resumed.may_count_again {
        say(
            "the collection had ended, and what is in it now is read from where it began anew. What cannot be known: \
             whether documents were in it before. Those known by an `eventId` are counted once, as long as the window \
             of duplicates reaches; those known by their `_id` only are counted again. If the collection was restored \
             or renamed back, `--from now` counts none of them",
        )?;
    }
    Ok(())
}

/// Where a Kafka partition ends: only Kafka knows.
async fn end(source: &Source, lane: &LaneId) -> Result<i64, Failure> {
    let Source::Kafka(topic) = source else {
        return Err(Failure::argument(
            "USAGE_LEDGER_SOURCE",
            format!("expected `kafka`: where `{lane}` ends must be asked of Kafka"),
        ));
    };
    kafka::end(topic, lane).await.map_err(Failure::Failed)
}

fn describe(fence: &StoredFence) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a `String` cannot fail.
        writeln!(text, "  {name:<12}{value}").expect("writes");
    };
    let state = match &fence.stopped {
        Some(stopped) => format!("stopped: {}", stopped.reason),
        None if fence.scanning => "taking in what was there before".into(),
        None => "running".into(),
    };
    line("state", state);
    if let Some(stopped) = &fence.stopped {
        line("since", stopped.at.map(instant).unwrap_or_default());
        line("detail", stopped.detail.clone());
    }
    let position = match (fence.next, &fence.token) {
        (Some(next), _) if fence.index > 0 => format!("offset {next}.{}", fence.index),
        (Some(next), _) => format!("offset {next}"),
        (None, Some(token)) => token.to_string(),
        (None, None) => "none yet".into(),
    };
    line("position", position);
    line(
        "watermark",
        fence.watermark.map_or_else(|| "unknown".into(), instant),
    );
    line("owner", fence.owner.clone().unwrap_or_else(|| "nobody".into()));
    line(
        "records",
        format!(
            "{} read = {} counted + {} duplicate + {} skipped + {} dead letters",
            fence.read, fence.counted, fence.duplicate, fence.skipped, fence.dead_letter
        ),
    );
    line("commits", format!("{} under {} owners", fence.seq, fence.epoch));
    for gap in &fence.gaps {
        line("gap", format!("{} to {}", instant(gap.from), instant(gap.to)));
    }
    format!("{}\n{text}", fence.lane)
}

fn instant(instant: DateTime) -> String {
    instant
        .to_chrono()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
