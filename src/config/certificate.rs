//! The reader's certificate and its key: what two files hold, and what is wrong with it.

use std::io;
use std::path::{Path, PathBuf};

use api::tls::{Fault, File, Pair};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::given::Problem;
use super::table::variable;

/// The settings that name the files.
pub(super) const CERTIFICATE: &str = "API_TLS_CERT";
pub(super) const KEY: &str = "API_TLS_KEY";

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and behind it those that vouch for it.
    pub certificate: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

/// What the two files held when they were read, or why they could not be.
pub struct Contents {
    certificate: Result<Vec<u8>, String>,
    key: Result<Vec<u8>, String>,
}

/// By this two contents are told apart. It shows nothing of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; 32]);

/// A certificate that can be used.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Where it is.
    pub files: CertificateFiles,
    /// What was read there.
    pub mark: Mark,
    /// The certificate with its key.
    pub pair: Pair,
}

impl Contents {
    /// What tells these from others.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let mut hash = Sha256::new();
        for content in [&self.certificate, &self.key] {
            let (is_read, bytes) = match content {
                Ok(bytes) => (1, bytes.as_slice()),
                Err(why) => (0, why.as_bytes()),
            };
            hash.update([is_read]);
            // Each by itself: where one ends and the next begins is told as well.
            hash.update(Sha256::digest(bytes));
        }
        Mark(hash.finalize().into())
    }
}

impl CertificateFiles {
    /// What they hold now.
    pub fn read(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Contents {
        let content = |path: &Path| read(path).map_err(|error| error.to_string());
        Contents {
            certificate: content(&self.certificate),
            key: content(&self.key),
        }
    }

    /// What can be made of what they held.
    ///
    /// # Errors
    /// Everything that is wrong, each with its variable and its file.
    pub fn judge(&self, contents: &Contents) -> Result<Certificate, Vec<Problem>> {
        let (certificate, key) = (contents.certificate.as_deref(), contents.key.as_deref());
        // What cannot be read is judged as an empty file, so that all is said of the other one.
        let judged = Pair::new(certificate.unwrap_or_default(), key.unwrap_or_default());
        let faults = match judged {
            Ok(pair) => {
                return Ok(Certificate {
                    files: self.clone(),
                    mark: contents.mark(),
                    pair,
                });
            }
            Err(faults) => faults,
        };
        let say = |Fault { file, what }| {
            let content = match file {
                File::Certificate => certificate,
                File::Key => key,
            };
            match content {
                Ok(_) => self.problem(file, what),
                Err(why) => self.problem(file, &format!("cannot be read: {why}")),
            }
        };
        Err(faults.into_iter().map(say).collect())
    }

    fn problem(&self, file: File, what: &str) -> Problem {
        let (name, path) = match file {
            File::Certificate => (CERTIFICATE, &self.certificate),
            File::Key => (KEY, &self.key),
        };
        Problem {
            variable: variable(name),
            message: format!("the file `{}` {what}", path.display()),
        }
    }
}

impl Certificate {
    /// What is not as it should be, and no reason to refuse it.
    #[must_use]
    pub fn warning(&self, now: DateTime<Utc>) -> Option<Problem> {
        let end = self.pair.expires();
        let what = format!(
            "holds a certificate that expired at {}: nobody trusts it",
            end.to_rfc3339()
        );
        (end <= now).then(|| self.files.problem(File::Certificate, &what))
    }
}

#[cfg(test)]
mod tests;
