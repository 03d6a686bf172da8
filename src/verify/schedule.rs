//! Rows are compared with their entries beside a worker, now and then: `USAGE_LEDGER_VERIFY_EVERY`.
//!
//! ```text
//! LOOK     every few seconds: what did the last comparison find, whoever made it       shown as metrics
//! TURN     where the next one is due: the lease `verify`, which one worker holds       nobody has it: go on
//! COMPARE  rows of the last days, at a quarter of a core, while the lease is renewed   in `usageMeta`: what was found
//! ```
//! When the next one is due follows from `usageMeta` alone, so whoever starts anew, or takes over, makes none too many. It
//! writes nothing else, and nothing that fails here is in the way of counting.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days as Count, NaiveDate, TimeDelta, Utc};
use rollup::clock::Clock;
use rollup::period::Calendar;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::gauges::{Gauges, Outcome};
use super::pace::Pace;
use super::pass::Error;
use super::report::{self, Question, Report};
use super::scope::{Days, Scope};
use crate::config;
use crate::store::leases::Leases;
use crate::store::leases::turn::Turn;
use crate::store::{Store, Verified};

/// How often it is looked what is known, and whether a comparison is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After one that failed the next one begins no sooner.
const LEAST_PAUSE: Duration = Duration::from_secs(60);
/// Differences that the log names.
const NAMED: usize = 3;
/// The lease of whoever compares.
const LEASE: &str = "verify";

/// The comparisons of a worker.
pub(crate) struct Schedule<C> {
    store: Store,
    leases: Leases,
    settings: config::Schedule,
    calendar: Calendar,
    clock: Arc<C>,
    gauges: Gauges,
    /// It is this worker's turn.
    turn: Option<Turn>,
    /// The last one failed here: the next one begins no sooner.
    not_before: Option<Instant>,
}

impl<C: Clock> Schedule<C> {
    pub(crate) fn new(
        (store, leases): (Store, Leases),
        settings: config::Schedule,
        calendar: Calendar,
        clock: Arc<C>,
        gauges: Gauges,
    ) -> Self {
        Self {
            store,
            leases,
            settings,
            calendar,
            clock,
            gauges,
            turn: None,
            not_before: None,
        }
    }

    /// Looks and compares until it is to stop: then at once, and the turn is given back.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_on() => {}
        }
        self.give_back().await;
    }

    async fn look_on(&mut self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(error, "whether rows are to be compared is not known now");
            }
        }
    }

    async fn give_back(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.give_back().await;
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        if !self.is_due().await? {
            return Ok(());
        }
        let turn = self.leases.turn(LEASE).await;
        let Some(turn) = turn.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        self.turn = Some(turn.clone());
        // The last one may have ended just before the turn was given back.
        let is_due = self.is_due().await;
        if is_due == Ok(true) {
            self.take_turn(&turn).await;
        }
        self.give_back().await;
        is_due.map(drop)
    }

    /// Shows what is known, and whether a comparison is due.
    async fn is_due(&self) -> Result<bool, String> {
        let verified = self.store.verified().await.map_err(|error| error.to_string())?;
        self.gauges.show(verified.as_ref());
        let is_waiting = self.not_before.is_some_and(|instant| Instant::now() < instant);
        let last = verified.map(|verified| verified.at);
        Ok(!is_waiting && is_due(last, self.settings.every, self.clock.now()))
    }

    async fn take_turn(&mut self, turn: &Turn) {
        let began = Instant::now();
        let days = days(self.calendar.day_of(self.clock.now()), self.settings.days);
        let ended = match self.compare(days, turn).await {
            Ok(Some(report)) => self.note(days, &report).await,
            Ok(None) => {
                tracing::info!("the turn to compare rows was lost: whoever has it next compares");
                return;
            }
            Err(why) => Err(why),
        };
        let outcome = ended.unwrap_or_else(|why| {
            let pause = pause(self.settings.every);
            self.not_before = Some(Instant::now() + pause);
            tracing::warn!(
                why,
                again_in = ?pause,
                "rows could not be compared with their entries; nothing else stands still, and it is tried again; \
                 `usage-ledger verify` does the same by hand"
            );
            Outcome::Failed
        });
        self.gauges.ended(outcome);
        if outcome != Outcome::Failed {
            self.gauges.took(began.elapsed());
        }
    }

    /// Compares on a task of its own: what goes wrong there ends nothing else. `None`: the turn was lost meanwhile.
    async fn compare(&self, days: Days, turn: &Turn) -> Result<Option<Report>, String> {
        tracing::info!(from = ?days.from, to = ?days.to, "comparing rows with their entries");
        let mut tasks = JoinSet::new();
        tasks.spawn(report_of(self.store.clone(), days, self.settings.memory));
        tokio::select! {
            () = turn.keep() => Ok(None),
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(report)) => Ok(Some(report)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panic) => Err(panic.to_string()),
            },
        }
    }

    /// Says what was found, to people and to all workers.
    async fn note(&self, days: Days, report: &Report) -> Result<Outcome, String> {
        let at = self.clock.now();
        let today = self.calendar.day_of(at);
        let verified = Verified {
            at,
            from: days.from.unwrap_or(today),
            to: days.to.unwrap_or(today),
            differences: report.drifted(),
            rows: report.rows(),
            entries: report.entries(),
            clean_at: (report.drifted() == 0).then_some(at),
        };
        let (rows, entries) = (verified.rows, verified.entries);
        let (from, to) = (verified.from, verified.to);
        if verified.is_clean() {
            tracing::info!(%from, %to, rows, entries, "every row that was compared is the sum of its entries");
        } else {
            tracing::error!(
                %from,
                %to,
                rows,
                entries,
                differences = verified.differences,
                first = report.first(NAMED),
                "rows are not the sums of their entries: `usage-ledger verify` names all of them, and `usage-ledger rebuild \
                 --dry-run` says what would mend them"
            );
        }
        let noted = self.store.note_verified(&verified).await;
        noted.map_err(|error| format!("what was found could not be noted: {error}"))?;
        Ok(if verified.is_clean() {
            Outcome::Clean
        } else {
            Outcome::Drift
        })
    }
}

async fn report_of(store: Store, days: Days, memory: usize) -> Result<Report, Error> {
    let scope = Scope {
        days,
        ..Scope::default()
    };
    let question = Question {
        store: &store,
        scope,
        memory,
        pace: Pace::QUARTER,
        tell: |line| tracing::debug!("{line}"),
    };
    report::report(&question).await
}

/// So many days, the last of which is this one.
fn days(today: NaiveDate, count: u32) -> Days {
    let before = Count::new(u64::from(count.saturating_sub(1)));
    Days {
        from: today.checked_sub_days(before),
        to: Some(today),
    }
}

/// Whether the next comparison is due, given when the last one ended.
fn is_due(last: Option<DateTime<Utc>>, every: Duration, now: DateTime<Utc>) -> bool {
    let every = TimeDelta::from_std(every).unwrap_or(TimeDelta::MAX);
    // One that lies that far ahead was told by a clock that was wrong.
    last.is_none_or(|last| (now - last).abs() >= every)
}

/// How long to wait after a comparison that failed.
fn pause(every: Duration) -> Duration {
    (every / 10).max(LEAST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-01-05T{time}Z").parse().expect("an instant")
    }

    #[test]
    fn the_next_comparison_is_due_that_long_after_the_last_one_whoever_made_it() {
        let last = Some(at("12:00:00"));
        assert!(is_due(None, HOUR, at("12:00:00")), "there was none");
        assert!(!is_due(last, HOUR, at("12:59:59")));
        assert!(is_due(last, HOUR, at("13:00:00")));
        assert!(!is_due(last, HOUR, at("11:59:59")), "clocks differ");
        assert!(is_due(last, HOUR, at("11:00:00")), "a clock was wrong");
    }

    #[test]
    fn after_a_failure_it_waits_a_tenth_and_never_less_than_a_minute() {
        assert_eq!(pause(24 * HOUR), HOUR * 24 / 10);
        assert_eq!(pause(HOUR), Duration::from_secs(360));
        assert_eq!(pause(Duration::from_secs(60)), LEAST_PAUSE);
    }

    #[test]
    fn the_last_days_end_with_today_in_the_zone_of_the_ledger() {
        let day = |text: &str| text.parse().ok();
        let late = "2026-03-01T23:30:00Z".parse().expect("an instant");
        let berlin: Calendar = "Europe/Berlin".parse().expect("a zone");
        for (calendar, count, from, to) in [
            (Calendar::UTC, 1, "2026-03-01", "2026-03-01"),
            (Calendar::UTC, 2, "2026-02-28", "2026-03-01"),
            (berlin, 2, "2026-03-01", "2026-03-02"),
        ] {
            let days = days(calendar.day_of(late), count);
            assert_eq!((days.from, days.to), (day(from), day(to)));
        }
    }
}
