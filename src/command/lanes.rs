//! `lanes list` and `lanes resume`.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use ingest::kafka;
use ingest::lane::LaneId;
use mongodb::bson::{Bson, Document};

use super::settings::Settings;
use super::{execute, say};
use crate::config::{Database, Source};
use crate::failure::Failure;
use crate::store::Store;
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
    /// Go on with the oldest event that the source still has, or with what arrives from now on
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
    };
    let resumed = store.resume(&lane, from).await?;
    match resumed.gap {
        Some((from, to)) => say(&format!(
            "the lane `{lane}` goes on; events from {} to {} are not counted, and answers over that time say so",
            instant(&Bson::DateTime(from)),
            instant(&Bson::DateTime(to)),
        )),
        None => say(&format!("the lane `{lane}` goes on; nothing is missing")),
    }
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

fn describe(fence: &Document) -> String {
    let number = |name: &str| fence.get_i64(name).unwrap_or(0);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a `String` cannot fail.
        writeln!(text, "  {name:<12}{value}").expect("writes");
    };
    let state = match (fence.get_document("stopped"), fence.get_bool("scanning")) {
        (Ok(stopped), _) => format!("stopped: {}", stopped.get_str("reason").unwrap_or("unknown")),
        (_, Ok(true)) => "taking in what was there before".into(),
        _ => "running".into(),
    };
    line("state", state);
    if let Ok(stopped) = fence.get_document("stopped") {
        line("since", stopped.get("at").map(instant).unwrap_or_default());
        line("detail", stopped.get_str("detail").unwrap_or_default().into());
    }
    let position = match (fence.get("next"), fence.get("token")) {
        (Some(next), _) => format!("offset {next}"),
        (None, Some(token)) => token.to_string(),
        (None, None) => "none yet".into(),
    };
    line("position", position);
    line(
        "watermark",
        fence.get("watermark").map_or_else(|| "unknown".into(), instant),
    );
    line("owner", fence.get_str("owner").unwrap_or("nobody").into());
    line(
        "records",
        format!(
            "{} read = {} counted + {} duplicate + {} skipped + {} dead letters",
            number("read"),
            number("counted"),
            number("duplicate"),
            number("skipped"),
            number("deadLetter")
        ),
    );
    line(
        "commits",
        format!("{} under {} owners", number("seq"), number("epoch")),
    );
    for gap in fence
        .get_array("gaps")
        .into_iter()
        .flatten()
        .filter_map(Bson::as_document)
    {
        let edge = |name: &str| gap.get(name).map(instant).unwrap_or_default();
        line("gap", format!("{} to {}", edge("from"), edge("to")));
    }
    format!("{}\n{text}", fence.get_str("_id").unwrap_or_default())
}

fn instant(value: &Bson) -> String {
    match value {
        Bson::DateTime(instant) => instant
            .to_chrono()
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        other => other.to_string(),
    }
}
