//! How an error is told: code, name, message and labels, in one line, without what the driver and the server quote.

use std::collections::BTreeSet;

use mongodb::error::{Error, ErrorKind};

use super::answer::Answer;
use super::table::{self, UNAUTHORIZED};

/// Characters of an error that are told.
const MAX_CHARS: usize = 400;

/// The error in a line. Never the server's raw answer, nor a quoted command.
#[must_use]
pub fn message(error: &Error) -> String {
    let labels: BTreeSet<&str> = error.labels().iter().map(String::as_str).collect();
    let labels = match labels.is_empty() {
        true => String::new(),
        false => format!(" ({})", Vec::from_iter(labels).join(", ")),
    };
    if let Some(answer) = Answer::of(error) {
        return answer.message() + &labels;
    }
    let text = match error.kind.as_ref() {
        ErrorKind::Authentication { message, .. }
        | ErrorKind::InvalidArgument { message, .. }
        | ErrorKind::ServerSelection { message, .. }
        | ErrorKind::ConnectionPoolCleared { message, .. } => message.clone(),
        // Their own form is a debugger's.
        ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) | ErrorKind::Write(_) => {
            "a write failed, and the server does not say why".into()
        }
        other => other.to_string(),
    };
    short(&without_answers(&text)) + &labels
}

impl Answer {
    /// Code, name and message.
    #[must_use]
    pub fn message(&self) -> String {
        let name = match (self.name.as_str(), table::line(self.code)) {
            ("", Some(line)) => line.name,
            (name, _) => name,
        };
        let message = match self.code {
            UNAUTHORIZED => not_allowed(&self.message),
            _ => self.message.clone(),
        };
        short(&format!("{} {name}: {message}", self.code))
    }
}

/// A missing right, as "may not … on …".
fn not_allowed(message: &str) -> String {
    if message.contains("requires authentication") {
        return format!("nobody is logged in: {message}");
    }
    let told = refused_command(message).or_else(|| refused_action(message));
    told.unwrap_or_else(|| {
        // What follows is the whole command.
        let end = message.find(" to execute command").unwrap_or(message.len());
        format!("may not: {}", &message[..end])
    })
}

/// `not authorized on usage to execute command { update: "usageLedger", …`
fn refused_command(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not authorized on ")?;
    let (database, rest) = rest.split_once(" to execute command ")?;
    let rest = rest.trim_start_matches(['{', ' ']);
    let (command, rest) = rest.split_once(':')?;
    let command = command.trim().trim_matches('"');
    let named = match command {
        // Its own value is a number.
        "getMore" => rest.split_once("collection")?.1.trim_start_matches(['"', ':']),
        _ => rest,
    };
    let collection = named
        .trim_start()
        .strip_prefix('"')
        .and_then(|rest| rest.split('"').next());
    let place = match collection {
        Some(collection) => format!("{database}.{collection}"),
        None => database.to_owned(),
    };
    let right = right(command, rest)
        .map(|right| format!(" (that takes {right})"))
        .unwrap_or_default();
    Some(format!("may not {command} on {place}{right}"))
}

/// The right that a command takes, as roles call it, where it is not called as the command is.
fn right(command: &str, rest: &str) -> Option<&'static str> {
    Some(match command {
        "aggregate" if rest.contains("$changeStream") => "`find` and `changeStream`",
        "aggregate" => "`find`",
        "update" => "`update`, and `insert` where it upserts",
        "findAndModify" => "`find` and `update`, and `insert` where it upserts",
        "delete" => "`remove`",
        "create" => "`createCollection`",
        "createIndexes" => "`createIndex`",
        _ => return None,
    })
}

/// `user is not allowed to do action [update] on [usage.usageLedger]`
fn refused_action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not allowed to do action [")?;
    let (action, rest) = rest.split_once("] on [")?;
    let (namespace, _) = rest.split_once(']')?;
    Some(format!("may not {action} on {namespace}"))
}

/// Cuts out what the driver says of its own structure, and the server's raw answer with it.
fn without_answers(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(", labels: {") {
        plain.push_str(&rest[..begin]);
        let structure = &rest[begin..];
        let Some(end) = end_of_answer(structure) else {
            rest = "";
            break;
        };
        rest = &structure[end..];
    }
    plain.push_str(rest);
    plain.replace("Kind: ", "")
}

/// Where `server response: None` or `server response: Some(…)` ends.
fn end_of_answer(structure: &str) -> Option<usize> {
    const BEGIN: &str = "server response: ";
    let begin = structure.find(BEGIN)? + BEGIN.len();
    let value = &structure[begin..];
    if value.starts_with("None") {
        return Some(begin + "None".len());
    }
    value.find(')').map(|end| begin + end + 1)
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_told_as_what_may_not_be_done_where() {
        for (said, told) in [
            (
                r#"not authorized on usage to execute command { update: "usageLedger", updates: [ { q: {} } ] }"#,
                "may not update on usage.usageLedger (that takes `update`, and `insert` where it upserts)",
            ),
            (
                r#"not authorized on app to execute command { "aggregate": "events", "pipeline": [{ "$changeStream": {} }] }"#,
                "may not aggregate on app.events (that takes `find` and `changeStream`)",
            ),
            (
                r#"not authorized on app to execute command { getMore: 77, collection: "events", batchSize: 1 }"#,
                "may not getMore on app.events",
            ),
            (
                r#"not authorized on usage to execute command { delete: "usageLeases", ordered: true }"#,
                "may not delete on usage.usageLeases (that takes `remove`)",
            ),
            (
                r#"not authorized on usage to execute command { listCollections: 1, cursor: {} }"#,
                "may not listCollections on usage",
            ),
            (
                r#"not authorized on usage to execute command { "collMod": "usageLedger", "validator": {} }"#,
                "may not collMod on usage.usageLedger",
            ),
            (
                r#"not authorized on admin to execute command { "killSessions": [{}], "$db": "admin" }"#,
                "may not killSessions on admin",
            ),
            (
                "user is not allowed to do action [find] on [usage.usageMeta]",
                "may not find on usage.usageMeta",
            ),
            (
                "Command find requires authentication",
                "nobody is logged in: Command find requires authentication",
            ),
            (
                "not authorized for something new",
                "may not: not authorized for something new",
            ),
        ] {
            assert_eq!(not_allowed(said), told);
        }
    }

    #[test]
    fn the_server_s_raw_answer_is_cut_out() {
        let cleared = "Connection pool for a:1 cleared because another operation failed with: Kind: SCRAM failure, labels: \
                       {\"x\"}, source: Some(Error { kind: Command(CommandError { code: 18 }), labels: {}, source: None, \
                       server_response: Some(RawDocumentBuf { data: \"00ff\" }) }), server response: \
                       Some(RawDocumentBuf { data: \"00ff\" })";
        let told = "Connection pool for a:1 cleared because another operation failed with: SCRAM failure";
        assert_eq!(without_answers(cleared), told);
        let selection = "No available servers. Topology: { Servers: [ { Address: a:1, Error: Kind: I/O error: refused, \
                         labels: {}, source: None, server response: None }, { Address: b:1 } ] }";
        let told = "No available servers. Topology: { Servers: [ { Address: a:1, Error: I/O error: refused }, { Address: \
                    b:1 } ] }";
        assert_eq!(without_answers(selection), told);
    }
}
