//! TLS on a port: a certificate with its key, and the one that new connections are shown.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use x509_cert::der::Decode as _;

/// What is spoken on a secured connection, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// That of the certificate and those that vouch for it.
    Certificate,
    /// That of the key.
    Key,
}

/// What is wrong with what a file holds. It shows nothing of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub file: File,
    /// Reads on from the file's name.
    pub what: &'static str,
}

/// A certificate, those that vouch for it, and its key.
#[derive(Clone)]
pub struct Pair {
    config: Arc<ServerConfig>,
    expires: DateTime<Utc>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads both from PEM: the certificate itself first in its file, and the key as PKCS#8, PKCS#1 or SEC1. An
    /// expired certificate is a pair as well.
    ///
    /// # Errors
    /// What is wrong with each file.
    ///
    /// # Panics
    /// Never: the library of cryptography knows both versions of TLS.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, Vec<Fault>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (chain, expires, key) = match (chain(certificate), signing_key(key, &provider)) {
            (Ok((chain, expires)), Ok(key)) => (chain, expires, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        let certified = CertifiedKey::new(chain, key);
        belong_together(&certified).map_err(|fault| vec![fault])?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            config: Arc::new(config),
            expires,
        })
    }

    /// After this nobody trusts the certificate.
    #[must_use]
    pub const fn expires(&self) -> DateTime<Utc> {
        self.expires
    }
}

/// The certificates of a file, and until when the first one is good.
fn chain(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, DateTime<Utc>), Fault> {
    let fault = |what| Fault {
        file: File::Certificate,
        what,
    };
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    // The error may repeat a line of the file.
    let chain = chain.map_err(|_| fault("holds damaged PEM"))?;
    let leaf = chain.first();
    let leaf = leaf.ok_or_else(|| fault("holds no certificate: expected PEM"))?;
    let expires = expires(leaf).ok_or_else(|| fault("holds a certificate that cannot be read"))?;
    Ok((chain, expires))
}

fn expires(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    DateTime::from_timestamp(i64::try_from(end.to_unix_duration().as_secs()).ok()?, 0)
}

fn signing_key(pem: &[u8], provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, Fault> {
    let fault = |what| Fault {
        file: File::Key,
        what,
    };
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| fault("holds no private key: expected PEM of PKCS#8, PKCS#1 or SEC1, not encrypted"))?;
    let key = provider.key_provider.load_private_key(key);
    key.map_err(|_| fault("holds a key that cannot be used: expected one of RSA, ECDSA or Ed25519"))
}

fn belong_together(certified: &CertifiedKey) -> Result<(), Fault> {
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) => Err(Fault {
            file: File::Key,
            what: "holds a key that does not belong to the certificate (the first one of its file)",
        }),
        Err(_) => Err(Fault {
            file: File::Certificate,
            what: "holds a certificate that cannot be used",
        }),
    }
}

/// What new connections of a port are shown. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tls(Arc<RwLock<Pair>>);

impl Tls {
    /// Begins with this pair.
    #[must_use]
    pub fn new(pair: Pair) -> Self {
        Self(Arc::new(RwLock::new(pair)))
    }

    /// From now on new connections get this pair. Those that are there go on; none is resumed over the change, since
    /// a session is known only to the pair that it began with.
    pub fn renew(&self, pair: Pair) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let pair = self.0.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&pair.config))
    }
}

#[cfg(test)]
pub(crate) mod tests;
