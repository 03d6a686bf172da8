//! How a server presents itself through the proxy: pure.

use std::net::SocketAddr;

use bson::{Document, doc};

use super::command::Seen;

/// A version that a server is said to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) wire: i32,
}

/// Whether the reply to this command is one that [`present`] changes.
pub(super) fn presents(seen: &Seen) -> bool {
    seen.is_handshake() || seen.name.eq_ignore_ascii_case("buildInfo")
}

/// Changes a server's reply about itself: clients that follow its host names come to the proxy, nobody
/// compresses, and it has the version that it is said to have.
pub(super) fn present(reply: &mut Document, proxy: SocketAddr, version: Option<&Version>) {
    reply.remove("compression");
    let proxy = proxy.to_string();
    if reply.contains_key("hosts") {
        reply.remove("passives");
        reply.remove("arbiters");
        reply.insert("hosts", vec![proxy.clone()]);
    }
    for field in ["me", "primary"] {
        if reply.contains_key(field) {
            reply.insert(field, &proxy);
        }
    }
    let Some(Version { version, wire }) = version else {
        return;
    };
    if reply.contains_key("maxWireVersion") {
        let least = reply.get_i32("minWireVersion").unwrap_or(0);
        reply.insert("minWireVersion", least.min(*wire));
        reply.insert("maxWireVersion", *wire);
    }
    if reply.contains_key("version") {
        let numbers: Vec<i32> = version.split(['.', '-']).flat_map(str::parse).collect();
        reply.extend(doc! {"version": version, "versionArray": numbers});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    fn version() -> Version {
        Version {
            version: "6.0.14".to_owned(),
            wire: 17,
        }
    }

    #[test]
    fn a_replica_set_is_the_proxy_alone() {
        let mut reply = doc! {
            "hosts": ["a:1", "b:2"], "arbiters": ["c:3"], "me": "a:1", "primary": "a:1", "compression": ["zstd"],
            "setName": "set", "minWireVersion": 0, "maxWireVersion": 27,
        };
        present(&mut reply, net::loopback(9), None);
        let expected = doc! {
            "hosts": ["127.0.0.1:9"], "me": "127.0.0.1:9", "primary": "127.0.0.1:9",
            "setName": "set", "minWireVersion": 0, "maxWireVersion": 27,
        };
        let sorted = |document: Document| document.into_iter().collect::<std::collections::BTreeMap<_, _>>();
        assert_eq!(sorted(reply), sorted(expected));
    }

    #[test]
    fn a_version_is_told_in_every_form_and_nowhere_else() {
        let mut hello = doc! {"minWireVersion": 21, "maxWireVersion": 27};
        present(&mut hello, net::loopback(9), Some(&version()));
        assert_eq!(hello, doc! {"minWireVersion": 17, "maxWireVersion": 17});
        let mut build = doc! {"version": "8.2.0", "ok": 1.0};
        present(&mut build, net::loopback(9), Some(&version()));
        assert_eq!(
            build,
            doc! {"version": "6.0.14", "ok": 1.0, "versionArray": [6, 0, 14]}
        );
        let mut error = doc! {"ok": 0.0};
        present(&mut error, net::loopback(9), Some(&version()));
        assert_eq!(error, doc! {"ok": 0.0});
    }
}
