//! Logs and the build's own metric.

use std::io::{IsTerminal, Write};

use prometheus::{IntGaugeVec, Opts, Registry};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::inert::inert_lines;

/// Logs to the standard error: text on a terminal, JSON elsewhere. `RUST_LOG` chooses what is logged.
pub(crate) fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Inert(std::io::stderr()));
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().flatten_event(true).init();
    }
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
