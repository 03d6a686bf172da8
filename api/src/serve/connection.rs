//! One connection, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch as signal;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt};

use super::answered::Answered;
use super::handshake::handshake;
use super::watch::{End, Watch};
use super::watched::Watched;
use crate::held::Held;

/// The most that a head may come to, in bytes and in fields.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
const MAX_HEAD_FIELDS: usize = 64;
/// Requests that one peer may have open on one connection.
const MAX_STREAMS: u32 = 32;
/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether a connection's time is over.
const LOOK: Duration = Duration::from_secs(1);

/// Answers on one connection until it ends, is evicted, or its time is over. With `tls` it is secured first.
pub(super) async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    watch: Arc<Watch>,
    mut stop: signal::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Below TLS: what the peer takes is what leaves the socket, and not what waits to be encrypted.
    let stream = Watched::new(stream, Arc::clone(&watch));
    let Some(tls) = tls else {
        return answer(stream, peer, router, watch, stop).await;
    };
    if let Some(stream) = handshake(&tls, stream, peer, &watch, &mut stop).await {
        answer(stream, peer, router, watch, stop).await;
    }
}

async fn answer<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    watch: Arc<Watch>,
    mut stop: signal::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watching = Arc::clone(&watch);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut under_way = watching.begin(request.version() == Version::HTTP_2);
        let mut router = router.clone();
        async move {
            let router = ServiceExt::<Request<Body>>::ready(&mut router).await?;
            let mut response = router.call(request.map(Body::new)).await?;
            under_way.hold(response.extensions_mut().remove::<Held>());
            Ok::<_, std::convert::Infallible>(response.map(|body| Answered::new(body, under_way)))
        }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_parting = false;
    loop {
        let now = Instant::now();
        match watch.deadline() {
            Some((at, End::Cut)) if at <= now => {
                tracing::debug!(%peer, "a connection is closed: nothing moves on it");
                return;
            }
            Some((at, End::Parting)) if at <= now && !is_parting => {
                is_parting = true;
                watch.part(now);
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        let look = watch.deadline().map_or(now + LOOK, |(at, _)| at.min(now + LOOK));
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = %error, "a connection ended early");
                }
                return;
            }
            () = watch.evicted() => {
                tracing::debug!(%peer, "a quiet connection makes room for another one");
                return;
            }
            _ = stop.changed(), if !is_parting => {
                is_parting = true;
                watch.part(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep_until(look) => {}
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let head_bytes = usize::try_from(MAX_HEAD_BYTES).unwrap_or(usize::MAX);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // The watch ends what takes too long, whichever protocol it may turn out to be.
        .header_read_timeout(None)
        .max_headers(MAX_HEAD_FIELDS)
        .max_buf_size(head_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests;
