//! The names that mean this machine.
//!
//! A reader that asks nobody for a token is open to every page that the user's browser has open, unless the
//! browser keeps that page from reading the answer. It does not if the page's own name was made to mean this
//! machine (DNS rebinding). But then that name is in the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::{Kind, Problem};

/// Whether a host, without a port, can only be this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    host.parse::<Ipv4Addr>()
        .is_ok_and(|address| IpAddr::from(address).is_loopback())
}

/// The same of a host with or without a port, as requests name it.
fn is_loopback(authority: &str) -> bool {
    // The colons of an address in brackets part nothing.
    let end_of_address = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end_of_address..].split_once(':') {
        Some((rest, port)) => (&authority[..end_of_address + rest.len()], Some(port)),
        None => (authority, None),
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_none_or(is_number) && is_loopback_host(host)
}

/// Whether a request names this machine, wherever it names one.
fn names_this_machine(request: &Request) -> bool {
    let in_address = request.uri().authority().map(|authority| authority.as_str());
    let mut named = in_address.is_some();
    let mut hosts = request.headers().get_all(header::HOST).iter().peekable();
    named |= hosts.peek().is_some();
    named && in_address.is_none_or(is_loopback) && hosts.all(|host| host.to_str().is_ok_and(is_loopback))
}

/// Answers only who named this machine.
pub(crate) async fn of_this_machine(request: Request, next: Next) -> Response {
    if names_this_machine(&request) {
        return next.run(request).await;
    }
    let detail = "this reader asks nobody for a token, and so answers only to the names of this machine, such as \
                  `localhost` and `127.0.0.1`";
    Problem::new(Kind::Forbidden, detail).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Uri;

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback_names() {
        for (authority, expected) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("127.255.0.9:1", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("[0:0:0:0:0:0:0:1]:8080", true),
            ("", false),
            (":8080", false),
            ("::1", false),
            ("localhost.", false),
            ("localhost.example.com", false),
            ("example.com", false),
            ("127.0.0.1.example.com", false),
            ("127.0.0.1.nip.io:8080", false),
            ("127.1", false),
            ("2130706433", false),
            ("0x7f.0.0.1", false),
            ("0.0.0.0", false),
            ("128.0.0.1", false),
            ("10.0.0.7:8080", false),
            ("[::]", false),
            ("[::ffff:127.0.0.1]", false),
            ("[::1]evil.example.com", false),
            ("[::1]:80:80", false),
            ("localhost:evil", false),
            ("evil@localhost", false),
            ("localhost/evil", false),
            ("localhost evil", false),
        ] {
            assert_eq!(is_loopback(authority), expected, "{authority:?}");
        }
    }

    #[test]
    fn a_request_names_one_machine_and_it_is_this_one() {
        let names = |uri: &str, hosts: &[&str]| {
            let mut request = Request::get(uri.parse::<Uri>().expect(uri));
            for host in hosts {
                request = request.header("host", *host);
            }
            names_this_machine(&request.body(Body::empty()).expect("a request"))
        };
        assert!(names("/", &["localhost:8080"]));
        assert!(names("http://127.0.0.1:8080/", &[]));
        assert!(names("http://127.0.0.1:8080/", &["localhost"]));
        assert!(!names("/", &[]));
        assert!(!names("/", &["evil.example.com"]));
        assert!(!names("/", &["localhost", "evil.example.com"]));
        assert!(!names("http://evil.example.com/", &["localhost"]));
        assert!(!names("http://localhost/", &["evil.example.com"]));
    }
}
