//! Servers that take little at a time, or are slow: whatever can be committed at all is, in the end.

use std::time::Duration;

use ingest::dedupe::Scope;
use ingest::fake::{Fault, Plan, Turn};
use ingest::ledger::Commit;

use crate::logs::Log;
use crate::manual_source::{ManualSource, committed, usages};
use crate::scenarios::check_all;
use crate::world::{run, settings};

/// Statements of the rows and rollups of one event that shares none: three granularities, a row and five sets.
const OF_ONE_EVENT: usize = 18;
const EVENTS: usize = 120;

fn statements(commit: &Commit) -> usize {
    commit.delta.ledger.len() + commit.delta.rollups.len()
}

/// A server on which a commit takes this long, and which takes at most so many statements.
fn server(took: impl Fn(u32) -> Duration + Send + 'static, most: usize) -> Plan {
    Plan::new(move |commit| {
        let statements = statements(commit);
        Turn {
            fault: (statements > most).then_some(Fault::TooMuch),
            within: took(u32::try_from(statements).expect("few")),
            ..Turn::default()
        }
    })
}

/// Reads a log to its end on such a server; how many attempts it took.
fn count_all(plan: Plan) -> u64 {
    run(async {
        let manual = ManualSource::start(settings());
        manual.ledger.set_plan(plan);
        let log = Log::plain("small", usages("small-", EVENTS));
        let grant = manual.grant(&log.lane).await;
        let mut follow = grant.committed.clone();
        manual.records(&grant, &log, 0..EVENTS).await;
        let all = i64::try_from(EVENTS).expect("few");
        while manual.ledger.read(|stored| stored.tally().read()) < all {
            follow.changed().await.expect("ours");
        }
        check_all(&manual.ledger, &[log]);
        manual.ledger.read(|stored| stored.attempts)
    })
}

/// Lesson D20: a batch too large for the server's cache was tried again, the same, for ever.
#[test]
fn d20_less_is_taken_until_the_server_takes_it_down_to_a_single_event() {
    for most in [OF_ONE_EVENT, 2 * OF_ONE_EVENT, 50, 100, usize::MAX] {
        let attempts = count_all(server(|n| Duration::from_millis(u64::from(n)), most));
        assert!(attempts <= 3 * EVENTS as u64, "{attempts} attempts with {most}");
    }
}

/// A commit of one event that takes longer than an attempt may is given more time, until it has enough.
#[test]
fn what_cannot_be_halved_is_given_more_time() {
    for seconds in [15, 45] {
        count_all(server(move |_| Duration::from_secs(seconds), usize::MAX));
    }
    // Every statement takes a second: a batch is halved until there is one event in it, which takes longer yet.
    count_all(server(|n| Duration::from_secs(u64::from(n)), usize::MAX));
}

/// After a long rest a whole window of ids is due to be forgotten: that takes statements too, and where they are too many
/// what is to be counted goes first.
#[test]
fn what_is_to_be_forgotten_is_in_nobody_s_way() {
    run(async {
        let mut settings = settings();
        settings.policy.scope = Scope::Ledger;
        let manual = ManualSource::start(settings);
        let mut log = Log::plain("rest", usages("rest-", 700));
        let rest = Duration::from_secs(3600);
        for item in &mut log.items[600..] {
            item.source_time_ms += 3_600_000;
        }
        let grant = manual.grant(&log.lane).await;
        for from in (0..600).step_by(100) {
            manual.records(&grant, &log, from..from + 100).await;
        }
        committed(&grant, 600).await;
        tokio::time::sleep(rest).await;
        manual.ledger.set_plan(Plan::new(|commit| {
            let forgotten: usize = commit.lanes.iter().map(|lane| lane.dropped.len()).sum();
            let is_too_much = statements(commit) + forgotten > 150;
            is_too_much
                .then_some(Fault::TooMuch)
                .map(Turn::from)
                .unwrap_or_default()
        }));
        manual.records(&grant, &log, 600..700).await;
        committed(&grant, 700).await;
        check_all(&manual.ledger, &[log]);
    });
}
