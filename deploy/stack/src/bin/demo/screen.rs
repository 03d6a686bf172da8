//! The words of the demo: an introduction, once; then a table that is drawn again and again, or plain lines where there is
//! no terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use testkit::Result;
use testkit::traffic::Truth;

use crate::environment::Environment;
use crate::own;
use crate::watch::{Answers, Shown};

/// More organizations than this are only summed.
const ROWS: usize = 8;

const SLOW: &str = "            \
    It is good for a look: it installs in seconds. Its build in Rust takes ten times the traffic and more\n            \
    (`deploy/setup.sh mongodb`: 7 minutes of compiling, once).\n";

/// Where the demo is told. What does not change is said once, and stays where it can be copied from.
#[derive(Debug)]
pub(crate) struct Screen {
    rate: u32,
    terminal: bool,
    /// How many lines the last drawing has, if nothing was written below it.
    drawn: usize,
}

impl Screen {
    /// Says what runs, where the page is, and what can be done.
    pub(crate) fn open(environment: &Environment, rate: u32) -> Result<Self> {
        let slow = if environment.is_slow() { SLOW } else { "" };
        println!(
            "\n\
             usage page  {}/   it answers now\n            \
                         Click an organization for its usage; there, an assistant, a model or a source shows only that.\n\
             source      {}\n\
             ledger      {}\n{slow}\
             rate        {rate} requests/s\n\
             your event  In another terminal; a moment later `mine` is in the table below, and on the page:\n\n\
             {}\n\n\
             stop        Ctrl-C: sending ends, every total is compared, and all that was started is removed.\n",
            environment.product.api(),
            environment.source(),
            environment.server(),
            environment.send_line()?
        );
        Ok(Self {
            rate,
            terminal: io::stdout().is_terminal(),
            drawn: 0,
        })
    }

    /// Says something below what is drawn.
    pub(crate) fn say(&mut self, text: &str) {
        eprintln!("{text}");
        self.drawn = 0;
    }

    /// Draws one moment, over the one before.
    pub(crate) fn draw(&mut self, elapsed: Duration, truth: &Truth, answers: &Answers) {
        if !self.terminal {
            println!("{}", line(elapsed, truth, answers));
            return;
        }
        let mut text = format!("{} s, {} requests/s\n\n", elapsed.as_secs(), self.rate);
        text.push_str(&table(truth, answers));
        let _infallible = write!(text, "\n{}\n", freshness(answers));
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        print!("{up}{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        // A terminal that is gone is no reason to stop comparing.
        drop(io::stdout().flush());
        self.drawn = text.lines().count();
    }
}

/// What was sent beside what the ledger serves.
pub(crate) fn table(truth: &Truth, answers: &Answers) -> String {
    let mut text = format!(
        "{:<14}{:<8}{:>12}{:>18}{:>22}\n",
        "organization", "", "requests", "tokens", "cost"
    );
    let mut all = Vec::new();
    for (organization, served) in &answers.totals {
        let sent = truth.organizations.get(organization).copied().unwrap_or_default();
        all.push((organization.as_str(), Shown::sent(&sent), Shown::served(served)));
    }
    for (name, sent, served) in all.iter().take(ROWS) {
        text.push_str(&pair(name, sent, served));
    }
    if all.len() > ROWS {
        let _infallible = writeln!(text, "… and {} more", all.len() - ROWS);
    }
    let sent: Shown = all.iter().map(|(_, sent, _)| *sent).sum();
    let served: Shown = all.iter().map(|(_, _, served)| *served).sum();
    text.push_str(&pair("all", &sent, &served));
    let own = Shown::served(&answers.own);
    if own.requests > 0 {
        text.push_str(&row(own::ORGANIZATION, "ledger", &own, "  yours"));
    }
    let _infallible = writeln!(
        text,
        "\n{:<14}{:<8}{:>12}{:>12}{:>12}{:>12}{:>14}",
        "events", "", "all", "counted", "duplicate", "skipped", "dead letter"
    );
    let sent = truth.results().map(|(_, count)| count);
    let served = truth
        .results()
        .map(|(name, _)| answers.results.get(name).copied().unwrap_or(0));
    for (name, [counted, duplicate, skipped, dead]) in [("sent", sent), ("ledger", served)] {
        let _infallible = writeln!(
            text,
            "{:<14}{name:<8}{:>12}{:>12}{:>12}{:>12}{:>14}",
            "",
            grouped(counted + duplicate + skipped + dead),
            grouped(counted),
            grouped(duplicate),
            grouped(skipped),
            grouped(dead)
        );
    }
    text
}

fn pair(name: &str, sent: &Shown, served: &Shown) -> String {
    let equal = if sent == served { "  =" } else { "" };
    row(name, "sent", sent, "") + &row("", "ledger", served, equal)
}

fn row(name: &str, what: &str, shown: &Shown, end: &str) -> String {
    let (requests, tokens) = (grouped(shown.requests), grouped(shown.tokens));
    format!(
        "{name:<14}{what:<8}{requests:>12}{tokens:>18}{:>22}{end}\n",
        shown.amount()
    )
}

fn line(elapsed: Duration, truth: &Truth, answers: &Answers) -> String {
    let served: Shown = answers.totals.values().map(Shown::served).sum();
    let sent = Shown::sent(&truth.totals);
    let equal = if sent == served { ", equal" } else { "" };
    let own = match Shown::served(&answers.own).requests {
        0 => String::new(),
        own => format!("; of `{}` {own}", own::ORGANIZATION),
    };
    format!(
        "{:>4} s  sent {} requests, {} tokens, cost {}; ledger {} requests, {} tokens, cost {}{equal}{own}; {}",
        elapsed.as_secs(),
        grouped(sent.requests),
        grouped(sent.tokens),
        sent.amount(),
        grouped(served.requests),
        grouped(served.tokens),
        served.amount(),
        freshness(answers)
    )
}

fn freshness(answers: &Answers) -> String {
    match (&answers.data_as_of, answers.lag) {
        (Some(instant), Some(lag)) => format!("data as of {instant}, {lag:.1} s behind"),
        (Some(instant), None) => format!("data as of {instant}"),
        _ => "data as of: not known yet".to_owned(),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        let numbers = [0, 12, 123, 1_234, 123_456, 1_234_567];
        assert_eq!(
            numbers.map(grouped),
            ["0", "12", "123", "1,234", "123,456", "1,234,567"]
        );
    }

    #[test]
    fn equal_rows_are_marked_and_others_not() {
        let sent = Shown {
            requests: 1,
            tokens: 2,
            nanos: Some(3),
        };
        assert!(pair("acme", &sent, &sent).ends_with("0.000000003  =\n"));
        assert!(!pair("acme", &sent, &Shown::default()).contains('='));
    }
}
