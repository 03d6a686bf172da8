//! The begin of a secured connection: it has the time of a first head, and who is slow makes room as anybody does.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch as signal;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::watch::Watch;

/// Agrees with the peer on how to go on in secret. `None`: the connection is over.
pub(super) async fn handshake<S>(
    tls: &TlsAcceptor,
    stream: S,
    peer: SocketAddr,
    watch: &Watch,
    stop: &mut signal::Receiver<bool>,
) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let until = watch.deadline().map_or_else(Instant::now, |(at, _)| at);
    tokio::select! {
        biased;
        agreed = timeout_at(until, tls.accept(stream)) => match agreed {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection is not secured, and is closed"),
            Err(_) => tracing::debug!(%peer, "a connection is closed: it takes too long to be secured"),
        },
        () = watch.evicted() => tracing::debug!(%peer, "a connection that is not secured makes room for another one"),
        _ = stop.changed() => {}
    }
    None
}
