//! The instant of all fuzzed requests, and the forms of their texts.

use crate::problem::Problem;

/// 2027-01-15T08:00:00Z.
pub(super) const NOW_SECONDS: i64 = 1_800_000_000;

pub(super) fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A problem is short, and repeats nothing that a terminal obeys.
pub(super) fn printable(problem: &Problem) {
    let shown = [problem.at_fault().unwrap_or_default(), problem.detail()];
    for text in shown {
        assert!(text.chars().count() < 1000, "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
