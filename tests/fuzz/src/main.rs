//! The fuzzer: libFuzzer over the target that `FUZZ_TARGET` names. Started by `tests/fuzz/run.sh`.
#![no_main]

use std::sync::LazyLock;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 7] = [
    ("document", ingest::decode::fuzz::document),
    ("message", ingest::decode::fuzz::message),
    ("headers", ingest::decode::fuzz::headers),
    ("query", api::fuzz::query),
    ("cursor", api::fuzz::cursor),
    ("token", api::fuzz::token),
    ("configuration", usage_ledger::config::fuzz::configuration),
];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = TARGETS.into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no target `{name}`")).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHOSEN(bytes));
