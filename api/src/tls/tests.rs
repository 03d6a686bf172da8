use std::ops::Deref as _;

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, date_time_ymd,
};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use x509_cert::der::asn1::OctetStringRef;
use x509_cert::der::{AnyRef, Decode, Reader as _};

use super::*;

/// A certificate for `localhost` until 2040, signed by itself, as PEM, and its key.
fn made() -> (rcgen::Certificate, KeyPair) {
    of(KeyPair::generate().expect("a key"))
}

fn of(key: KeyPair) -> (rcgen::Certificate, KeyPair) {
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    parameters.not_after = date_time_ymd(2040, 1, 31);
    (parameters.self_signed(&key).expect("signs"), key)
}

/// A port's pair, and how a peer speaks to it.
pub(crate) fn secured() -> (Tls, TlsConnector) {
    let (certificate, key) = made();
    let pair = Pair::new(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("a pair");
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.der().clone()).expect("a certificate");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    (Tls::new(pair), TlsConnector::from(Arc::new(config)))
}

fn faults(certificate: &str, key: &str) -> Vec<Fault> {
    Pair::new(certificate.as_bytes(), key.as_bytes()).expect_err("a fault")
}

/// What is inside of PKCS#8: PKCS#1 of RSA, or SEC1 of elliptic curves.
fn inner(pkcs8: &[u8]) -> Vec<u8> {
    let outer = AnyRef::from_der(pkcs8).expect("DER");
    let inside = outer.sequence(|reader| {
        u8::decode(reader)?;
        AnyRef::decode(reader)?;
        let inner = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
        reader.read_slice(reader.remaining_len())?;
        Ok::<_, x509_cert::der::Error>(inner)
    });
    inside.expect("a key")
}

#[test]
fn keys_of_every_kind_and_form_are_read_and_the_end_is_that_of_the_certificate() {
    for (algorithm, old_form) in [
        (&PKCS_ECDSA_P256_SHA256, Some("EC PRIVATE KEY")),
        (&PKCS_RSA_SHA256, Some("RSA PRIVATE KEY")),
        (&PKCS_ED25519, None),
    ] {
        let (certificate, key) = of(KeyPair::generate_for(algorithm).expect("a key"));
        let old = old_form.map(|name| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(inner(key.serialized_der()));
            format!("-----BEGIN {name}-----\n{text}\n-----END {name}-----\n")
        });
        for key in [Some(key.serialize_pem()), old].into_iter().flatten() {
            let pair = Pair::new(certificate.pem().as_bytes(), key.as_bytes()).expect("a pair");
            assert_eq!(pair.expires().to_rfc3339(), "2040-01-31T00:00:00+00:00");
            assert_eq!(pair.config.alpn_protocols, PROTOCOLS);
        }
    }
}

#[test]
fn both_may_be_in_one_file_and_others_follow_the_certificate() {
    let (certificate, key) = made();
    let (other, _) = made();
    let all = [key.serialize_pem(), certificate.pem(), other.pem()].concat();
    let pair = Pair::new(all.as_bytes(), all.as_bytes()).expect("a pair");
    assert!(!format!("{pair:?}").contains("key"), "{pair:?}");
}

#[test]
fn what_is_wrong_with_each_file_is_said_and_nothing_of_what_is_in_it() {
    let (certificate, key) = made();
    let (other_certificate, other_key) = made();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let (other_certificate, other_key) = (other_certificate.pem(), other_key.serialize_pem());
    let nonsense = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n";
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let [c, k] = [File::Certificate, File::Key];
    for (certificate, key, expected) in [
        ("", &*key, &[(c, "holds no certificate")][..]),
        (&*key, &key, &[(c, "holds no certificate")]),
        (
            &certificate[..certificate.len() / 2],
            &key,
            &[(c, "holds damaged PEM")],
        ),
        (nonsense, &key, &[(c, "holds a certificate that cannot be read")]),
        (&certificate, "", &[(k, "holds no private key")]),
        (&certificate, &certificate, &[(k, "holds no private key")]),
        (&certificate, &encrypted, &[(k, "holds no private key")]),
        (&certificate, no_key, &[(k, "holds a key that cannot be used")]),
        (
            &certificate,
            &other_key,
            &[(k, "does not belong to the certificate")],
        ),
        (
            &[other_certificate.deref(), &certificate].concat(),
            &key,
            &[(k, "does not belong to the certificate (the first")],
        ),
        (
            "",
            "",
            &[(c, "holds no certificate"), (k, "holds no private key")],
        ),
    ] {
        let found = faults(certificate, key);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (fault, (file, what)) in found.iter().zip(expected) {
            assert_eq!(fault.file, *file, "{found:?}");
            assert!(fault.what.contains(what), "{found:?}");
        }
    }
}
