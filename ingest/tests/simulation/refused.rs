//! A server that refuses what follows from single records: each becomes a letter, and its lane goes on.

use ingest::decode::Keep;
use ingest::fake::{Fault, Plan, Turn};
use ingest::ledger::{Commit, DeadLetter};

use crate::logs::{Expected, Log, Usage};
use crate::manual_source::{ManualSource, committed, usages};
use crate::scenarios::check_all;
use crate::world::{run, settings};

/// Organizations whose usage the server refuses to write.
const CURSED: &str = "cursed";

/// Refuses every commit with usage of that organization, and letters unless they are kept like this or less.
fn refusing(taken: Keep) -> Plan {
    let is_refused = move |letter: &DeadLetter| letter.keep < taken;
    Plan::new(move |commit: &Commit| {
        let mut rows = commit.delta.ledger.values();
        let mut letters = commit.lanes.iter().flat_map(|lane| &lane.letters);
        match rows.any(|row| *row.dimensions.organization == *CURSED) || letters.any(is_refused) {
            true => Turn::from(Fault::BadRecord),
            false => Turn::default(),
        }
    })
}

#[test]
fn no_record_stops_its_lane_whatever_the_server_refuses() {
    for taken in [Keep::Readable, Keep::Bytes, Keep::Nothing] {
        run(async {
            let mut usages = usages("plain-", 30);
            usages[17] = Usage::plain("cursed", CURSED, 1);
            let mut log = Log::plain("refused", usages);
            log.items[17].expected = Expected::Rejected("unstorable");
            log.items[3].payload = b"{".to_vec();
            log.items[3].expected = Expected::Rejected("invalid_json");
            let mut manual = ManualSource::start(settings());
            manual.ledger.set_plan(refusing(taken));
            let granted = manual.grant(&log.lane).await;
            manual.records(&granted, &log, 0..30).await;
            committed(&granted, 30).await;
            manual.drain().await;
            check_all(&manual.ledger, std::slice::from_ref(&log));
            manual.ledger.read(|stored| {
                let kept = stored.letters.values().map(|stored| stored.letter.keep);
                assert!(kept.eq([taken; 2]), "no more is given up than has to be");
            });
        });
    }
}

/// Its letter was told that nothing is counted under its id: the emitter's next copy counts.
#[test]
fn an_event_that_was_refused_counts_when_it_comes_again_in_a_form_that_is_taken() {
    run(async {
        let mut log = Log::plain(
            "again",
            [Usage::plain("e", CURSED, 1), Usage::plain("e", "acme", 1)],
        );
        log.items[0].expected = Expected::Rejected("unstorable");
        let mut manual = ManualSource::start(settings());
        manual.ledger.set_plan(refusing(Keep::Readable));
        let granted = manual.grant(&log.lane).await;
        for (at, next) in [(0, 1), (1, 2)] {
            manual.records(&granted, &log, at..at + 1).await;
            committed(&granted, next).await;
        }
        manual.drain().await;
        let tally = manual.ledger.read(ingest::fake::Stored::tally);
        assert_eq!((tally.counted, tally.duplicate, tally.dead_letter), (1, 0, 1));
    });
}
