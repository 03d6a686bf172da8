use chrono::TimeZone as _;

use super::*;
use crate::certificate::tests::{contents, files, made};

#[test]
fn everything_that_is_wrong_with_both_files_is_said_at_once() {
    let [certificate, key] = made(2040);
    let [_, other_key] = made(2040);
    let (c, k) = (
        "USAGE_LEDGER_API_TLS_CERT: the file `c`",
        "USAGE_LEDGER_API_TLS_KEY: the file `k`",
    );
    let missing = "cannot be read: entity not found";
    for (held, expected) in [
        (
            contents(None, None),
            vec![format!("{c} {missing}"), format!("{k} {missing}")],
        ),
        (
            contents(None, Some("geheim")),
            vec![format!("{c} {missing}"), format!("{k} holds no private key")],
        ),
        (
            contents(Some("geheim"), None),
            vec![format!("{c} holds no certificate"), format!("{k} {missing}")],
        ),
        (contents(Some(&certificate), None), vec![format!("{k} {missing}")]),
        (
            contents(Some(&certificate), Some(&other_key)),
            vec![format!("{k} holds a key that does not belong to the certificate")],
        ),
        (contents(Some(&certificate), Some(&key)), Vec::new()),
    ] {
        let problems = files().judge(&held).err().unwrap_or_default();
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(&expected), "{said}");
            assert!(!said.contains("geheim"), "{said}");
        }
    }
}

#[test]
fn an_expired_certificate_is_taken_with_a_warning() {
    let [certificate, key] = made(2040);
    let held = contents(Some(&certificate), Some(&key));
    let certificate = files().judge(&held).expect("a pair");
    let at = |year| {
        Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0)
            .single()
            .expect("a time")
    };
    assert_eq!(certificate.warning(at(2039)), None);
    let warning = certificate.warning(at(2040)).expect("a warning").to_string();
    assert_eq!(
        warning,
        "USAGE_LEDGER_API_TLS_CERT: the file `c` holds a certificate that expired at 2040-01-01T00:00:00+00:00: nobody \
         trusts it"
    );
}

#[test]
fn contents_are_told_apart_by_what_and_where() {
    let marks = [
        contents(None, None),
        contents(Some(""), None),
        contents(Some("a"), Some("b")),
        contents(Some("ab"), Some("")),
        contents(Some("b"), Some("a")),
        contents(Some("entity not found"), None),
    ];
    for (at, one) in marks.iter().enumerate() {
        for (other_at, other) in marks.iter().enumerate() {
            assert_eq!(one.mark() == other.mark(), at == other_at, "{at} and {other_at}");
        }
    }
}
