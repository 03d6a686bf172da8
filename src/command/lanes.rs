//! `lanes list` and `lanes resume`.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};
use ingest::kafka;
use ingest::lane::LaneId;
use mongodb::bson::{Bson, Document};

use super::{Failure, say};
use crate::config::{Config, Problem, Source};
use crate::store::Store;
use crate::store::lanes::From;

/// What `lanes resume` was asked to do.
#[derive(Debug)]
pub(super) struct Resume {
    lane: LaneId,
    from: From,
}

impl Resume {
    pub(super) fn arguments(command: Command) -> Command {
        command
            .next_help_heading("Arguments")
            .arg(
                Arg::new("lane")
                    .long("lane")
                    .required(true)
                    .value_name("LANE")
                    .help("The lane, as `lanes list` shows it"),
            )
            .arg(
                Arg::new("from")
                    .long("from")
                    .required(true)
                    .value_parser(["earliest", "now"])
                    .help("Go on with the oldest event that the source still has, or with what arrives from now on"),
            )
            .arg(
                Arg::new("accept-gap")
                    .long("accept-gap")
                    .action(ArgAction::SetTrue)
                    .help("Yes, what lies between will not be counted; answers over that time will say so"),
            )
    }

    pub(super) fn read(arguments: &ArgMatches) -> Result<Self, Failure> {
        if !arguments.get_flag("accept-gap") {
            return Err(Failure::Settings(vec![Problem {
                variable: "--accept-gap".into(),
                message: "required: events between the lane's position and the new one will not be counted"
                    .into(),
            }]));
        }
        let text = |name: &str| arguments.get_one::<String>(name).cloned().unwrap_or_default();
        let from = if text("from") == "now" {
            From::Now
        } else {
            From::Earliest
        };
        Ok(Self {
            lane: LaneId::from_stored(text("lane")),
            from,
        })
    }
}

pub(super) async fn list(config: Config) -> Result<(), Failure> {
    let fences = Store::open(&config).await?.fences().await?;
    if fences.is_empty() {
        say("no lane was ever read")?;
    }
    for fence in &fences {
        say(describe(fence).trim_end())?;
    }
    Ok(())
}

pub(super) async fn resume(config: Config, order: Resume) -> Result<(), Failure> {
    let store = Store::open(&config).await?;
    let from = match (order.from, order.lane.source()) {
        (From::Now, "kafka") => From::Offset(end(&config, &order.lane).await?),
        (from, _) => from,
    };
    let resumed = store.resume(&order.lane, from).await?;
    match resumed.gap {
        Some((from, to)) => println!(
            "the lane `{}` goes on; events from {} to {} are not counted, and answers over that time say so",
            order.lane,
            instant(&Bson::DateTime(from)),
            instant(&Bson::DateTime(to)),
        ),
        None => println!("the lane `{}` goes on; nothing is missing", order.lane),
    }
    Ok(())
}

/// Where a Kafka partition ends: only Kafka knows.
async fn end(config: &Config, lane: &LaneId) -> Result<i64, Failure> {
    let Source::Kafka(topic) = &config.source else {
        return Err(Failure::Settings(vec![Problem {
            variable: "USAGE_LEDGER_SOURCE".into(),
            message: format!("expected `kafka`: where `{lane}` ends must be asked of Kafka"),
        }]));
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
