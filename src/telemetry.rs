//! Logs and the build's own metric.

use std::env;
use std::io::{IsTerminal, Write};

use prometheus::{IntGaugeVec, Opts, Registry};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::prelude::*;

use rollup::inert::inert_lines;

/// Logs to the standard error: text on a terminal, JSON elsewhere. `RUST_LOG` chooses what is logged.
#[expect(
    clippy::disallowed_methods,
    reason = "the log begins before the settings are read, and is no setting"
)]
pub(crate) fn init() {
    let chosen = chosen(&env::var("RUST_LOG").unwrap_or_default());
    let wrong = chosen.as_ref().err().map(ToString::to_string);
    let log = tracing_subscriber::fmt::layer().with_writer(|| Inert(std::io::stderr()));
    let registry = tracing_subscriber::registry().with(chosen.unwrap_or_else(|_| usual()));
    if std::io::stderr().is_terminal() {
        registry.with(log.with_target(false)).init();
    } else {
        registry.with(log.json().flatten_event(true)).init();
    }
    if let Some(wrong) = wrong {
        tracing::warn!("RUST_LOG is not understood ({wrong}), and does nothing");
    }
}

/// What `RUST_LOG` chooses: a level, or `target=level` with commas between.
fn chosen(text: &str) -> Result<Targets, ParseError> {
    if text.trim().is_empty() {
        return Ok(usual());
    }
    text.parse()
}

fn usual() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// Writes events of the log without the control and format characters that may be in their values. What colours a
/// terminal is the log's own: it writes that of values out itself.
struct Inert<W>(W);

impl<W: Write> Write for Inert<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let inert: Vec<String> = text.split(COLOUR).map(inert_lines).collect();
        self.0.write_all(inert.join(COLOUR).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Begins a colour.
const COLOUR: &str = "\u{1b}";

/// Registers which build this is.
pub(crate) fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let info = IntGaugeVec::new(
        Opts::new("usage_ledger_build_info", "Which build this is; always 1"),
        &["version"],
    )?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_all_or_for_one_part() {
        use tracing::Level;
        let logs = |text: &str, target: &str, level: Level| {
            let chosen = chosen(text).expect("a filter");
            chosen.would_enable(target, &level)
        };
        assert!(logs("", "ingest", Level::INFO));
        assert!(!logs("", "ingest", Level::DEBUG));
        assert!(logs("debug", "ingest", Level::DEBUG));
        assert!(logs("warn,ingest=debug", "ingest::batch", Level::DEBUG));
        assert!(!logs("warn,ingest=debug", "api", Level::INFO));
        assert!(chosen("ingest=loud").is_err());
    }

    #[test]
    fn a_line_of_the_log_holds_no_characters_that_do_something() {
        let mut written = Inert(Vec::new());
        let event = "\u{1b}[33mWARN\u{1b}[0m letter=a\u{202e}b\u{9b}c\n";
        written.write_all(event.as_bytes()).expect("written");
        assert_eq!(
            String::from_utf8(written.0).expect("a text"),
            "\u{1b}[33mWARN\u{1b}[0m letter=a\\u202eb\\u009bc\n"
        );
    }
}
