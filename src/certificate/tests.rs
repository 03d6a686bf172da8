use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{Datelike as _, TimeZone as _, Utc};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// A certificate that is good until the begin of this year, and its key, as PEM.
pub(crate) fn made(year: i32) -> [String; 2] {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    parameters.not_after = date_time_ymd(year, 1, 1);
    let certificate = parameters.self_signed(&key).expect("signs");
    [certificate.pem(), key.serialize_pem()]
}

/// Files that are only made up: `c` and `k`.
pub(crate) fn files() -> CertificateFiles {
    CertificateFiles {
        certificate: "c".into(),
        key: "k".into(),
    }
}

/// What the files hold; `None`: they are not there.
pub(crate) fn contents(certificate: Option<&str>, key: Option<&str>) -> Contents {
    let held = [("c", certificate), ("k", key)].map(|(path, text)| (PathBuf::from(path), text));
    let held = BTreeMap::from(held);
    files().read(|path: &Path| match held[path] {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Err(io::ErrorKind::NotFound.into()),
    })
}

fn first_of_2030() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0)
        .single()
        .expect("a time")
}

/// Whatever the files hold on the way to the next pair, the port goes on with the last one that was whole.
#[test]
fn a_certificate_is_taken_up_when_its_key_is_there_too() {
    let [[old, old_key], [new, new_key]] = [made(2040), made(2041)];
    let whole = contents(Some(&old), Some(&old_key));
    let certificate = files().judge(&whole).expect("a pair");
    let registry = Registry::new();
    let gauge = gauge(&registry).expect("registers");
    let mut renewal = Renewal::new(&certificate, gauge.clone(), first_of_2030);
    for (certificate, key, expected) in [
        (Some(&old), Some(&old_key), 2040),
        (None, None, 2040),
        (Some(&new), None, 2040),
        (Some(&new), Some(&old_key), 2040),
        (Some(&new), Some(&new_key), 2041),
        (Some(&new), Some(&old), 2041),
        (Some(&old), Some(&old_key), 2040),
    ] {
        let found = contents(certificate.map(String::as_str), key.map(String::as_str));
        renewal.look(&found);
        let shown = DateTime::from_timestamp(gauge.get(), 0).expect("a time");
        assert_eq!(shown.year(), expected);
        assert_eq!(renewal.judged, found.mark(), "it is judged once");
    }
}
