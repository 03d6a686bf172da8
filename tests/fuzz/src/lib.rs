//! Inputs that were of use to the fuzzer, repeated by every test run.
//!
//! What is checked of an input stands beside the code that reads such inputs, in modules named `fuzz` that are
//! there for tests and for the fuzzer only (`cfg(fuzzing)`). `tests/fuzz/run.sh` looks for new inputs.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Checks every input of `tests/fuzz/corpus/<target>`.
///
/// # Panics
/// Names the input that fails, after its own panic; also where there is no input.
pub fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs = 0;
    for file in files {
        let path = file.expect("an input").path();
        let bytes = fs::read(&path).expect("an input");
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(outcome.is_ok(), "{} fails", path.display());
        inputs += 1;
    }
    assert!(inputs > 0, "no input in {}", folder.display());
}
