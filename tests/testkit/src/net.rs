//! Free loopback ports that stay free while their server is down.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Below the range the system picks outgoing ports from: a client that keeps knocking on the port of a
/// stopped server can otherwise be given that very port, connect to itself and block the restart.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

static TAKEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);

/// A loopback port that nothing listens on, and that this process gives out once.
pub fn free_port() -> Result<u16> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..200 {
        let port = rand::random_range(RANGE);
        if !taken.contains(&port) && is_free(port) {
            taken.insert(port);
            return Ok(port);
        }
    }
    Err(Error::Other(format!("no free loopback port found in {RANGE:?}")))
}

/// The wished port if nothing listens on it, another one otherwise.
pub fn port_near(wish: u16) -> Result<u16> {
    if is_free(wish) { Ok(wish) } else { free_port() }
}

/// The loopback address of a port.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_out_once() {
        let ports: BTreeSet<u16> = (0..20).map(|_| free_port().expect("a port")).collect();
        assert_eq!(ports.len(), 20);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn a_taken_wish_gives_another_port() {
        let holder = TcpListener::bind(loopback(free_port().expect("a port"))).expect("bound");
        let wish = holder.local_addr().expect("an address").port();
        assert_ne!(port_near(wish).expect("a port"), wish);
    }
}
