//! Asks the admin port of a process how it is, as an orchestrator would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long an answer may take. A process that is not ready waits two seconds for MongoDB itself.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than any answer of ours has: another program may listen there.
const MAX_BYTES: usize = 4096;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether it is alive.
    Alive,
    /// Whether it makes progress.
    Ready,
}

impl Question {
    const fn path(self) -> &'static str {
        match self {
            Question::Alive => "/healthz",
            Question::Ready => "/readyz",
        }
    }
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it said yes.
    pub is_yes: bool,
    /// Its words.
    pub words: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Nobody,
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Silent;
        }
        if error.is_connect() {
            return Self::Nobody;
        }
        let mut why: &dyn std::error::Error = &error;
        while let Some(deeper) = why.source() {
            why = deeper;
        }
        Self::Other(why.to_string())
    }
}

/// Asks the process that listens on this address. Where it listens on all addresses, it is asked on loopback.
///
/// # Errors
/// When it does not answer.
pub async fn ask(address: SocketAddr, question: Question) -> Result<Answer, AskError> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Plain HTTP: the certificates of this system are not worth reading for it.
        .tls_certs_only([])
        .build()?;
    let url = format!("http://{}{}", reachable(address), question.path());
    let mut response = client.get(url).send().await?;
    let is_yes = response.status() == reqwest::StatusCode::OK;
    let mut bytes = Vec::new();
    while bytes.len() < MAX_BYTES {
        let Some(chunk) = response.chunk().await? else {
            break;
        };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(MAX_BYTES);
    let words = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(Answer { is_yes, words })
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    SocketAddr::new(host, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.0.0.7:9464", "10.0.0.7:9464"),
        ] {
            let address = listens.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), asked);
        }
    }
}
