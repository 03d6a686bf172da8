//! What the table says. That every error of the driver reaches it is shown in `tests/driver`.

use std::collections::BTreeSet;

use bson::doc;

use super::*;
use crate::hold::Refusal;
use crate::server_error::table::BAD_VALUE;

use Act::{BadRecord, LaneLost, Overflow, RetrySame, RetryWhole, TakeLess, Wait};

const RIGHT: Act = Act::Person(Refusal::NotAuthorized);
const SETTING: Act = Act::Person(Refusal::WriteRefused);
const TRANSIENT: Labels = Labels {
    transient: true,
    unknown_commit: false,
};
const UNKNOWN: Labels = Labels {
    transient: false,
    unknown_commit: true,
};

fn answer(code: i32) -> Answer {
    Answer {
        code,
        name: String::new(),
        message: String::new(),
        shape: Shape::Command,
        labels: Labels::default(),
    }
}

fn everywhere(code: i32) -> [Act; 3] {
    [Place::Transaction, Place::Commit, Place::Outside].map(|place| answer(code).act(place))
}

/// Lesson D22: codes were matched by memory. Who must act in a transaction, at its commit, and elsewhere.
#[test]
fn d22_each_code_says_who_must_act() {
    for (codes, acts) in [
        (&[112, 11000, 24, 46, 11601, 246][..], [RetrySame; 3]),
        (&[251], [RetryWhole; 3]),
        (&[1], [RetrySame, RetrySame, Wait]),
        (&[257, 290, 388], [TakeLess, TakeLess, Wait]),
        (&[50, 262], [TakeLess, RetrySame, Wait]),
        (&[10334, 17280, 15], [BadRecord, BadRecord, Wait]),
        (&[286, 280, 260], [Wait, Wait, LaneLost]),
        (&[6, 7, 89, 189, 9001, 10107, 11600, 11602, 13388], [Wait; 3]),
        (&[13435, 13436, 133, 365, 433, 449, 462, 211, 371], [Wait; 3]),
        (&[134, 225, 384, 391, 402, 404], [Wait; 3]),
        (&[91, 64], [Wait, RetrySame, Wait]),
        (&[13, 18, 11], [RIGHT; 3]),
        (&[121, 72, 20, 8000, 100, 79, 14031], [SETTING; 3]),
        // Not what memory takes it for.
        (&[307], [Wait; 3]),
        // Unknown.
        (&[99_999, 0, -1], [Wait; 3]),
    ] {
        for code in codes {
            assert_eq!(everywhere(*code), acts, "{code}");
        }
    }
}

#[test]
fn a_code_has_one_line_and_a_name() {
    let codes: BTreeSet<i32> = TABLE.iter().map(|line| line.code).collect();
    assert_eq!(codes.len(), TABLE.len(), "a code stands twice");
    assert!(TABLE.iter().all(|line| !line.name.is_empty()));
    assert!(!codes.contains(&BAD_VALUE), "it is judged by its message");
}

#[test]
fn an_unknown_code_of_a_transaction_that_is_over_is_tried_again() {
    let unknown = Answer {
        labels: TRANSIENT,
        ..answer(99_999)
    };
    assert_eq!(unknown.act(Place::Transaction), RetrySame);
    // A code that is known says more than the label.
    let too_large = Answer {
        labels: TRANSIENT,
        ..answer(388)
    };
    assert_eq!(too_large.act(Place::Transaction), TakeLess);
}

#[test]
fn bad_value_is_judged_by_its_message() {
    for (message, act) in [
        (
            "Failed to apply $inc operations to current value ((NumberLong)9)",
            Overflow,
        ),
        ("found object with nesting depth exceeding 180 levels", BadRecord),
        ("object to insert too large. size in bytes: 17000000", BadRecord),
        ("unknown top level operator: $where", Wait),
    ] {
        let answer = Answer {
            message: message.into(),
            ..answer(BAD_VALUE)
        };
        assert_eq!(answer.act(Place::Transaction), act, "{message}");
    }
}

/// Only the server's own word says that a commit is not applied, nor ever will be.
#[test]
fn a_commit_is_known_to_be_aborted_only_where_the_server_says_so() {
    let aborted = |code, labels, shape| {
        let answer = Answer {
            labels,
            shape,
            ..answer(code)
        };
        answer.is_aborted(Place::Commit)
    };
    let none = Labels::default();
    for (code, labels, shape, expected) in [
        (251, TRANSIENT, Shape::Command, true),
        (112, TRANSIENT, Shape::Command, true),
        (99_999, TRANSIENT, Shape::Command, true),
        (388, none, Shape::Command, true),
        (10334, none, Shape::Command, true),
        // It may have been applied, and the answer lost; by another primary, by a commit that went on.
        (251, none, Shape::Command, false),
        (11601, none, Shape::Command, false),
        (50, none, Shape::Command, false),
        (64, UNKNOWN, Shape::WriteConcern, false),
        (99_999, none, Shape::Command, false),
        (13, none, Shape::Command, false),
        // It was applied, and may be taken back.
        (251, TRANSIENT, Shape::WriteConcern, false),
        (388, none, Shape::WriteConcern, false),
        (388, UNKNOWN, Shape::Command, false),
    ] {
        assert_eq!(
            aborted(code, labels, shape),
            expected,
            "{code} {labels:?} {shape:?}"
        );
    }
    assert!(!answer(388).is_aborted(Place::Transaction));
    let unknown = Answer {
        labels: UNKNOWN,
        ..answer(11600)
    };
    assert_eq!(unknown.act(Place::Commit), RetrySame, "the fences tell");
}

/// While a connection logs in, all but refused credentials passes: it is the service that knows them.
#[test]
fn a_failing_log_in_is_nobody_s_fault_but_for_wrong_credentials() {
    let at_log_in = |code| {
        let answer = Answer {
            shape: Shape::LogIn,
            ..answer(code)
        };
        answer.act(Place::Outside)
    };
    assert_eq!([18, 8000].map(at_log_in), [RIGHT; 2]);
    assert_eq!([11, 13, 20, 96, 211, 286, 365, 99_999].map(at_log_in), [Wait; 8]);
}

#[test]
fn an_answer_that_says_ok_is_searched_for_errors() {
    assert_eq!(Answer::within(&doc! {"ok": 1, "n": 3}), None);
    assert_eq!(Answer::within(&doc! {"ok": 1, "writeErrors": []}), None);
    let answer = doc! {
        "ok": 1, "n": 0, "errorLabels": ["TransientTransactionError"],
        "writeErrors": [{"index": 2, "code": 388, "errmsg": "too large"}, {"index": 3, "code": 112}],
        "writeConcernError": {"code": 64},
    };
    let within = Answer::within(&answer).expect("an error");
    assert_eq!(
        (within.code, within.shape, within.labels),
        (388, Shape::Statement, TRANSIENT)
    );
    assert_eq!(within.message(), "388 TransactionTooLargeForCache: too large");
    let answer =
        doc! {"ok": 1, "n": 1, "writeConcernError": {"code": 64_i64, "codeName": "X", "errmsg": "late"}};
    let within = Answer::within(&answer).expect("an error");
    assert_eq!((within.code, within.shape), (64, Shape::WriteConcern));
    assert_eq!(within.message(), "64 X: late");
}
