//! The start of the next page of a ranking, as an opaque text.
//!
//! A cursor names the question that it belongs to, so that it cannot be used to read another one from the
//! middle. It grants nothing: access is checked on every request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::ranking::Position;
use crate::reader::Key;

/// The form of a cursor. Another form would get another number.
const VERSION: u8 = 1;

/// The question that a cursor belongs to, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 12]);

impl Fingerprint {
    /// Of a question, told by everything that decides which groups there are and how they are ranked.
    pub(crate) fn of(question: &str) -> Self {
        let digest = Sha256::digest(question.as_bytes());
        let mut short = [0; 12];
        short.copy_from_slice(&digest[..12]);
        Self(short)
    }

    fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    v: u8,
    q: String,
    m: i64,
    t: i64,
    k: Vec<String>,
}

/// The cursor to the groups after a position.
pub(crate) fn encode(question: Fingerprint, position: &Position) -> Result<String, serde_json::Error> {
    let content = Content {
        v: VERSION,
        q: question.text(),
        m: position.metric,
        t: position.tokens,
        k: position.key.iter().map(ToString::to_string).collect(),
    };
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&content)?))
}

/// Reads a cursor that an earlier answer to the same question gave.
pub(crate) fn decode(question: Fingerprint, parts: usize, text: &str) -> Result<Position, Problem> {
    let refuse = |detail: &str| Problem::parameter("cursor", detail);
    let content = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|json| serde_json::from_slice::<Content>(&json).ok())
        .filter(|content| content.v == VERSION && content.k.len() == parts)
        .ok_or_else(|| refuse("expected the `nextCursor` of an earlier answer"))?;
    if content.q != question.text() {
        return Err(refuse(
            "this cursor belongs to another question: a page continues the same organization, dates, filters, \
             `by` and `sort`; start again without it",
        ));
    }
    let key: Key = content.k.into_iter().map(String::into_boxed_str).collect();
    Ok(Position {
        metric: content.m,
        tokens: content.t,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_for_its_own_question_only(metric: i64, tokens: i64, name in ".{0,20}") {
            let question = Fingerprint::of("one");
            let position = Position { metric, tokens, key: Box::new([name.into()]) };
            let cursor = encode(question, &position).expect("text");
            prop_assert_eq!(decode(question, 1, &cursor), Ok(position));
            for refused in [decode(Fingerprint::of("other"), 1, &cursor), decode(question, 2, &cursor)] {
                let problem = refused.expect_err("refused");
                prop_assert_eq!(problem.at_fault(), Some("cursor"));
            }
        }

        #[test]
        fn what_is_no_cursor_is_refused(text in "[ -~]{0,60}") {
            prop_assert!(decode(Fingerprint::of("one"), 1, &text).is_err());
        }
    }
}
