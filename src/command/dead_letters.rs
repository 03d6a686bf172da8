//! `dead-letters list`, `show` and `replay`.

use std::collections::BTreeMap;

use chrono::{DateTime as Instant, SecondsFormat, Utc};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, value_parser};
use ingest::decide::{Decision, Time, decide};
use mongodb::bson::DateTime;

use super::running::{execute, say};
use super::settings::Settings;
use crate::app;
use crate::config::{Database, Rules};
use crate::failure::Failure;
use crate::store::Store;
use crate::store::dead_letters::{self, StoredLetter, Which};
use rollup::inert::{inert, short};

/// What `--state` takes besides the states.
const ANY: &str = "any";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead letters: where they were, why they were rejected, what became of them
    List(List),
    /// Show a dead letter whole, with its payload
    Show(Show),
    /// Mark dead letters to be judged again, each exactly once, by the worker that owns its lane
    Replay(Replay),
}

/// What `dead-letters list` is asked for.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    letters: Letters,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    settings: Settings<Database>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Letters in this state
    #[arg(long, default_value = "open", value_parser = PossibleValuesParser::new(dead_letters::STATES.into_iter().chain([ANY])))]
    state: String,
    /// Show at most this many, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    /// Whole letters, each a line of extended JSON
    #[arg(long)]
    json: bool,
}

/// What `dead-letters show` is asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Arguments")]
pub(super) struct Show {
    /// The letter's id, as `dead-letters list` shows it
    id: String,
    #[command(flatten)]
    settings: Settings<Database>,
}

/// What `dead-letters replay` is asked for.
#[derive(Debug, Args)]
pub(super) struct Replay {
    #[command(flatten)]
    letters: Letters,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    settings: Settings<(Database, Rules)>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Arguments")]
struct How {
    /// Every letter that is open
    #[arg(long)]
    all: bool,
    /// Only say what would become of them, by the settings given here
    #[arg(long)]
    dry_run: bool,
}

/// Which letters are meant.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which letters")]
struct Letters {
    /// The letter with this id; may be repeated
    #[arg(long)]
    id: Vec<String>,
    /// Letters of this lane, as `lanes list` shows it
    #[arg(long)]
    lane: Option<String>,
    /// Letters rejected for this reason, such as `currency_mismatch`
    #[arg(long)]
    reason: Option<String>,
    /// Letters of the event with this id
    #[arg(long, value_name = "EVENT")]
    event_id: Option<String>,
    /// The letter of the document with this `_id`, as `dead-letters show` has it
    #[arg(long, value_name = "ID")]
    document_id: Option<String>,
    /// Letters rejected at or after this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    since: Option<Instant<Utc>>,
    /// Letters rejected before this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    until: Option<Instant<Utc>>,
}

impl From<Letters> for Which {
    fn from(letters: Letters) -> Self {
        Which {
            ids: letters.id,
            lane: letters.lane,
            reason: letters.reason,
            event_id: letters.event_id,
            document_id: letters.document_id,
            since: letters.since.map(DateTime::from_chrono),
            until: letters.until.map(DateTime::from_chrono),
        }
    }
}

pub(super) fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(order) => {
            let database = order.settings.load()?;
            execute(list(database, order.letters.into(), order.output))
        }
        Command::Show(order) => execute(show(order.settings.load()?, order.id)),
        Command::Replay(order) => {
            let (database, rules) = order.settings.load()?;
            let which = named(order.letters.into(), order.how.all)?;
            execute(replay(database, rules, which, order.how.dry_run, app::now()))
        }
    }
}

/// The letters that are to be replayed, where somebody said which.
fn named(which: Which, all: bool) -> Result<Which, Failure> {
    match (all, which == Which::default()) {
        (true, true) | (false, false) => Ok(which),
        (false, true) => Err(Failure::argument(
            "--all",
            "required: say which letters, or `--all` for every letter that is open",
        )),
        (true, false) => Err(Failure::argument(
            "--all",
            "cannot be used with arguments that say which letters",
        )),
    }
}

async fn list(database: Database, which: Which, output: Output) -> Result<(), Failure> {
    let store = Store::open(&database).await?;
    let state = Some(output.state.as_str()).filter(|state| *state != ANY);
    let mut shown: u64 = 0;
    let print = |letter: StoredLetter| {
        if shown == 0 && !output.json {
            say(&line(
                "ID",
                "STATE",
                "REASON",
                "EVENT OR DOCUMENT",
                "REJECTED AT",
                "WHY",
            ))?;
        }
        shown += 1;
        match output.json {
            true => say(&letter.to_json().to_string()),
            false => say(&row(&letter)),
        }
    };
    store
        .each_letter(&which, state, Some(output.limit), print)
        .await?;
    if output.json {
        return Ok(());
    }
    match store.count_letters(&which, state).await? {
        0 => say("no such dead letter"),
        found if found > shown => say(&format!("{shown} of {found}; `--limit` shows more")),
        _ => Ok(()),
    }
}

async fn show(database: Database, id: String) -> Result<(), Failure> {
    let store = Store::open(&database).await?;
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
    say(&format!("{:#}", letter.to_json()))
}

async fn replay(
    database: Database,
    rules: Rules,
    which: Which,
    is_dry: bool,
    now: Instant<Utc>,
) -> Result<(), Failure> {
    let store = Store::open(&database).await?;
    if is_dry {
        return forecast(&store, &rules, &which, now).await;
    }
    let marked = store.mark_letters(&which).await?;
    say(&format!(
        "{marked} marked: the worker that reads their lane judges each again in its next commit, and closes it there; \
         `dead-letters list --state replay` shows those that wait for it"
    ))?;
    match store.count_letters(&which, Some(dead_letters::LOST)).await? {
        0 => Ok(()),
        lost => say(&format!(
            "{lost} cannot be judged: their payloads were too large to be kept, refused by the server, or dropped by age"
        )),
    }
}

/// What would become of open letters, as far as that is known without their lane.
async fn forecast(store: &Store, rules: &Rules, which: &Which, now: Instant<Utc>) -> Result<(), Failure> {
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let judge = |letter: StoredLetter| {
        let outcome = match letter.replay_request() {
            Err(why) => format!("cannot be judged: {why}"),
            Ok(marked) => {
                let counted_before = letter.counted_before();
                let time = Time::of_letter(&marked, rules.max_age, now);
                match decide(&marked.payload, &rules.event, time, |_| counted_before).decision {
                    Decision::Reject(reject) => format!("would stay a dead letter: {reject}"),
                    Decision::Duplicate => "would end as a duplicate".into(),
                    Decision::Count { .. } => "would be counted, unless its id is counted by then".into(),
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

fn row(letter: &StoredLetter) -> String {
    let reason = match letter.field() {
        None => letter.reason().to_owned(),
        Some(field) => format!("{} `{field}`", letter.reason()),
    };
    let state = match (letter.closed_by(), letter.outcome()) {
        (None, _) => letter.state().to_owned(),
        (Some(by), None) => format!("closed by {by}"),
        (Some(by), Some(outcome)) => format!("closed by {by}: {outcome}"),
    };
    let rejected = letter.rejected_at();
    let rejected = rejected.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    line(
        &inert(letter.id()),
        &state,
        &reason,
        &short(letter.event_or_document_id()),
        rejected.as_deref().unwrap_or_default(),
        &inert(letter.message()),
    )
}

fn line(id: &str, state: &str, reason: &str, event: &str, rejected: &str, why: &str) -> String {
    format!("{id:<34} {state:<8} {reason:<32} {event:<26} {rejected:<20} {why}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn a_letter_is_one_line_whatever_its_emitter_wrote() {
        let letter = doc! {
            "_id": "kafka/t/0/7", "state": "open", "reason": "too_long", "field": "eventId",
            "eventId": format!("\u{1b}[2Ja\nb\u{202e}{}", "x".repeat(128)),
            "message": "`eventId` has 135 characters: a text of 1 to 128 characters",
        };
        let row = row(&letter.into());
        assert!(row.ends_with(": a text of 1 to 128 characters"), "{row}");
        assert!(row.contains("\\u001b[2Ja\\u000ab\\u202exxx"), "{row}");
        assert!(
            row.contains('…') && row.lines().count() == 1 && row.len() < 300,
            "{row}"
        );
    }

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        replay: Replay,
    }

    fn replay(arguments: &[&str]) -> Result<Which, Failure> {
        let arguments = ["replay"].iter().chain(arguments);
        let Line { replay } = Line::try_parse_from(arguments).expect("valid");
        named(replay.letters.into(), replay.how.all)
    }

    #[test]
    fn nothing_is_replayed_that_nobody_named() {
        assert!(replay(&[]).is_err());
        assert!(replay(&["--all", "--lane", "kafka/t/0"]).is_err());
        assert!(replay(&["--all"]).is_ok());
        let since = "2026-01-05T10:00:00Z";
        let which = replay(&["--reason", "too_old", "--since", since, "--dry-run"]).expect("valid");
        assert_eq!(which.reason.as_deref(), Some("too_old"));
        assert_eq!(
            which.since.map(|since| since.timestamp_millis()),
            Some(1_767_607_200_000)
        );
    }
}
