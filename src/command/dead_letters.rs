//! `dead-letters list`, `show` and `replay`.

use std::collections::BTreeMap;

use chrono::{DateTime as Instant, SecondsFormat, TimeDelta, Utc};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ingest::decide::{Decision, Time, decide};
use mongodb::bson::{Bson, DateTime, Document};

use super::{Failure, rules, say};
use crate::config::{Config, Problem};
use crate::inert::{inert, short};
use crate::store::Store;
use crate::store::letters::{self, Which};

/// What `--state` takes besides the states.
const ANY: &str = "any";

/// What `dead-letters list` was asked for.
#[derive(Debug)]
pub(super) struct List {
    which: Which,
    state: Option<String>,
    limit: u32,
    as_json: bool,
}

/// What `dead-letters replay` was asked for.
#[derive(Debug)]
pub(super) struct Replay {
    which: Which,
    is_dry: bool,
}

fn argument(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// The arguments that say which letters are meant.
fn which_arguments(command: Command) -> Command {
    command
        .next_help_heading("Which letters")
        .arg(argument("id", "ID", "The letter with this id; may be repeated").action(ArgAction::Append))
        .arg(argument(
            "lane",
            "LANE",
            "Letters of this lane, as `lanes list` shows it",
        ))
        .arg(argument(
            "reason",
            "REASON",
            "Letters rejected for this reason, such as `currency_mismatch`",
        ))
        .arg(argument("event-id", "EVENT", "Letters of the event with this id"))
        .arg(
            argument(
                "since",
                "INSTANT",
                "Letters rejected at or after this instant (RFC 3339)",
            )
            .value_parser(value_parser!(Instant<Utc>)),
        )
        .arg(
            argument(
                "until",
                "INSTANT",
                "Letters rejected before this instant (RFC 3339)",
            )
            .value_parser(value_parser!(Instant<Utc>)),
        )
}

fn read_which(arguments: &ArgMatches) -> Which {
    let text = |name: &str| arguments.get_one::<String>(name).cloned();
    let instant = |name: &str| {
        arguments
            .get_one::<Instant<Utc>>(name)
            .copied()
            .map(DateTime::from_chrono)
    };
    Which {
        ids: arguments
            .get_many::<String>("id")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        lane: text("lane"),
        reason: text("reason"),
        event_id: text("event-id"),
        since: instant("since"),
        until: instant("until"),
    }
}

impl List {
    pub(super) fn arguments(command: Command) -> Command {
        which_arguments(command)
            .arg(
                argument("state", "STATE", "Letters in this state")
                    .value_parser(PossibleValuesParser::new(
                        letters::STATES.into_iter().chain([ANY]),
                    ))
                    .default_value("open"),
            )
            .next_help_heading("Output")
            .arg(
                argument("limit", "NUMBER", "Show at most this many, the newest first")
                    .value_parser(value_parser!(u32).range(1..))
                    .default_value("50"),
            )
            .arg(
                Arg::new("json")
                    .long("json")
                    .action(ArgAction::SetTrue)
                    .help("Whole letters, each a line of extended JSON"),
            )
    }

    pub(super) fn read(arguments: &ArgMatches) -> Self {
        let state = arguments.get_one::<String>("state").cloned();
        Self {
            which: read_which(arguments),
            state: state.filter(|state| state != ANY),
            limit: arguments.get_one("limit").copied().unwrap_or(50),
            as_json: arguments.get_flag("json"),
        }
    }
}

impl Replay {
    pub(super) fn arguments(command: Command) -> Command {
        which_arguments(command)
            .arg(
                Arg::new("all")
                    .long("all")
                    .action(ArgAction::SetTrue)
                    .help("Every letter that is open"),
            )
            .next_help_heading("Arguments")
            .arg(
                Arg::new("dry-run")
                    .long("dry-run")
                    .action(ArgAction::SetTrue)
                    .help("Only say what would become of them, by the settings given here"),
            )
    }

    pub(super) fn read(arguments: &ArgMatches) -> Result<Self, Failure> {
        let which = read_which(arguments);
        match (arguments.get_flag("all"), which == Which::default()) {
            (true, true) | (false, false) => Ok(Self {
                which,
                is_dry: arguments.get_flag("dry-run"),
            }),
            (false, true) => Err(wrong(
                "required: say which letters, or `--all` for every letter that is open",
            )),
            (true, false) => Err(wrong("cannot be used with arguments that say which letters")),
        }
    }
}

fn wrong(message: &str) -> Failure {
    Failure::Settings(vec![Problem {
        variable: "--all".into(),
        message: message.into(),
    }])
}

/// The argument of `dead-letters show`.
pub(super) fn show_arguments(command: Command) -> Command {
    command.next_help_heading("Arguments").arg(
        Arg::new("id")
            .required(true)
            .value_name("ID")
            .help("The letter's id, as `dead-letters list` shows it"),
    )
}

pub(super) async fn list(config: Config, order: List) -> Result<(), Failure> {
    let store = Store::open(&config).await?;
    let mut shown: u64 = 0;
    let print = |letter: Document| {
        if shown == 0 && !order.as_json {
            say(&line("ID", "STATE", "REASON", "EVENT", "REJECTED AT"))?;
        }
        shown += 1;
        match order.as_json {
            true => say(&Bson::Document(letter).into_relaxed_extjson().to_string()),
            false => say(&row(&letter)),
        }
    };
    let state = order.state.as_deref();
    store
        .each_letter(&order.which, state, Some(order.limit), print)
        .await?;
    if order.as_json {
        return Ok(());
    }
    match store.count_letters(&order.which, state).await? {
        0 => say("no such dead letter"),
        found if found > shown => say(&format!("{shown} of {found}; `--limit` shows more")),
        _ => Ok(()),
    }
}

pub(super) async fn show(config: Config, id: String) -> Result<(), Failure> {
    let store = Store::open(&config).await?;
    let which = Which {
        ids: vec![id.clone()],
        ..Which::default()
    };
    let mut found = None;
    let keep = |letter| {
        found = Some(letter);
        Ok::<_, Failure>(())
    };
    store.each_letter(&which, None, Some(1), keep).await?;
    let Some(letter) = found else {
        return Err(Failure::Failed(format!("there is no dead letter `{id}`")));
    };
    say(&format!("{:#}", Bson::Document(letter).into_relaxed_extjson()))
}

pub(super) async fn replay(config: Config, order: Replay, now: Instant<Utc>) -> Result<(), Failure> {
    let store = Store::open(&config).await?;
    if order.is_dry {
        return forecast(&store, &config, &order.which, now).await;
    }
    let marked = store.mark_letters(&order.which).await?;
    say(&format!(
        "{marked} marked: the worker that reads their lane judges each again in its next commit, and closes it there; \
         `dead-letters list --state replay` shows those that wait for it"
    ))?;
    match store.count_lost_letters(&order.which).await? {
        0 => Ok(()),
        lost => say(&format!(
            "{lost} cannot be judged: their payloads were too large to be kept, refused by the server, or dropped by age"
        )),
    }
}

/// What would become of open letters, as far as that is known without their lane.
async fn forecast(store: &Store, config: &Config, which: &Which, now: Instant<Utc>) -> Result<(), Failure> {
    let rules = rules(config);
    let max_age = config
        .max_age
        .map(|age| TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX));
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let judge = |letter: Document| {
        let outcome = match letters::read(&letter) {
            Err(why) => format!("cannot be judged: {why}"),
            Ok(marked) => {
                let counted_before = matches!(letter.get_bool("countedBefore"), Ok(true));
                let time = Time::of_letter(&marked, max_age, now);
                match decide(&marked.payload, &rules, time, |_| counted_before).decision {
                    Decision::Reject(reject) => format!("would stay a dead letter: {reject}"),
                    Decision::Duplicate => "would end as a duplicate".into(),
                    Decision::Count(_) => "would be counted, unless its id is counted by then".into(),
                    Decision::Skip(_) => "would be skipped by rule".into(),
                }
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
        Ok::<_, Failure>(())
    };
    store.each_letter(which, Some("open"), None, judge).await?;
    if outcomes.is_empty() {
        say("no such dead letter is open")?;
    }
    for (outcome, letters) in outcomes {
        say(&format!("{letters:>8}  {outcome}"))?;
    }
    Ok(())
}

fn row(letter: &Document) -> String {
    let text = |name: &str| letter.get_str(name).unwrap_or_default();
    let reason = match text("field") {
        "" => text("reason").to_owned(),
        field => format!("{} `{field}`", text("reason")),
    };
    let state = match (text("closedBy"), text("outcome")) {
        ("", _) => text("state").to_owned(),
        (by, "") => format!("closed by {by}"),
        (by, outcome) => format!("closed by {by}: {outcome}"),
    };
    let rejected = letter
        .get_datetime("rejectedAt")
        .map(|at| at.to_chrono().to_rfc3339_opts(SecondsFormat::Secs, true));
    line(
        &inert(text("_id")),
        &state,
        &reason,
        &short(text("eventId")),
        rejected.as_deref().unwrap_or_default(),
    )
}

fn line(id: &str, state: &str, reason: &str, event: &str, rejected: &str) -> String {
    format!("{id:<34} {state:<8} {reason:<32} {event:<26} {rejected}")
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn a_letter_is_one_line_whatever_its_emitter_wrote() {
        let letter = doc! {
            "_id": "kafka/t/0/7", "state": "open", "reason": "too_long", "field": "eventId",
            "eventId": format!("\u{1b}[2Ja\nb\u{202e}{}", "x".repeat(128)),
        };
        let row = row(&letter);
        assert!(row.contains("\\u001b[2Ja\\u000ab\\u202exxx"), "{row}");
        assert!(
            row.contains('…') && row.lines().count() == 1 && row.len() < 250,
            "{row}"
        );
    }

    fn replay(arguments: &[&str]) -> Result<Replay, Failure> {
        let command = Replay::arguments(Command::new("replay"));
        let arguments = ["replay"].iter().chain(arguments);
        Replay::read(&command.try_get_matches_from(arguments).expect("valid"))
    }

    #[test]
    fn nothing_is_replayed_that_nobody_named() {
        assert!(replay(&[]).is_err());
        assert!(replay(&["--all", "--lane", "kafka/t/0"]).is_err());
        assert!(replay(&["--all"]).is_ok());
        let order = replay(&[
            "--reason",
            "too_old",
            "--since",
            "2026-01-05T10:00:00Z",
            "--dry-run",
        ])
        .expect("valid");
        assert!(order.is_dry);
        assert_eq!(order.which.reason.as_deref(), Some("too_old"));
    }
}
