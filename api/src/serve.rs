//! A listener, a router and a signal to stop.
//!
//! No peer can hold a connection by doing nothing: [`watch`] says how long each state may last. Where all
//! places are taken, the connection that has waited for its peer for longest makes room for the next one.

mod answered;
mod connection;
mod handshake;
mod refusals;
mod watch;
mod watched;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch as signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::connection::connection;
use self::refusals::Refusals;
use self::watch::{Patience, Watch};
use crate::tls::Tls;

/// What a socket takes of an answer before the peer does. Much more, and a peer that takes little at a time
/// would look like one that takes nothing.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Listens on an address, as [`serve`] needs it.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers on a listener, on at most so many connections at once, until `stop` resolves; then takes no more
/// and returns once the requests under way are answered. Dropping the future cuts them off. With `tls` nothing else is
/// spoken, without it nothing is secured.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    max_connections: usize,
    stop: impl Future<Output = ()> + Send,
) {
    let port = Port::new(tls, router, max_connections, Patience::default());
    port.serve(listener, stop).await;
}

/// What the connections of a port share.
struct Port {
    tls: Option<Tls>,
    router: Router,
    patience: Patience,
    places: Arc<Semaphore>,
    live: Arc<Mutex<HashMap<u64, Arc<Watch>>>>,
    stop: signal::Sender<bool>,
    tasks: JoinSet<()>,
    accepted: u64,
}

/// A connection's place among those of its port.
struct Place {
    number: u64,
    live: Arc<Mutex<HashMap<u64, Arc<Watch>>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.live).remove(&self.number);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    fn new(tls: Option<Tls>, router: Router, max_connections: usize, patience: Patience) -> Self {
        Self {
            tls,
            router,
            patience,
            places: Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS))),
            live: Arc::default(),
            stop: signal::Sender::new(false),
            tasks: JoinSet::new(),
            accepted: 0,
        }
    }

    async fn serve(mut self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut refusals = Refusals::default();
        loop {
            tokio::select! {
                // Without the bias a busy listener could keep the signal waiting.
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        refusals.accepted();
                        if !self.take(stream, peer, &mut stop).await {
                            break;
                        }
                    }
                    Err(error) if is_of_the_peer(&error) => {
                        tracing::debug!(error = %error, "a connection ended before it was accepted");
                    }
                    Err(error) => {
                        // Out of files, most likely: that does not end the service.
                        self.make_room();
                        let (pause, say) = refusals.refused(Instant::now());
                        if let Some(times) = say {
                            tracing::warn!(error = %error, times, "connections cannot be accepted");
                        }
                        if !until(&mut stop, tokio::time::sleep(pause)).await {
                            break;
                        }
                    }
                },
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
        drop(listener);
        // Nobody may be connected any more: then there is nobody to tell.
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Gives a connection a place, which may have to be made first. `false`: it is time to stop.
    async fn take<F: Future<Output = ()>>(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        stop: &mut Pin<&mut F>,
    ) -> bool {
        let places = Arc::clone(&self.places);
        let mut permit = Arc::clone(&places).try_acquire_owned().ok();
        if permit.is_none() {
            self.make_room();
            // Where all are busy this waits, and with it who comes later.
            let freed = async { permit = places.acquire_owned().await.ok() };
            if !until(stop, freed).await {
                return false;
            }
        }
        let Some(permit) = permit else {
            return false;
        };
        let number = self.accepted;
        self.accepted += 1;
        let watch = Arc::new(Watch::new(self.patience, Instant::now()));
        locked(&self.live).insert(number, Arc::clone(&watch));
        let place = Place {
            number,
            live: Arc::clone(&self.live),
            _permit: permit,
        };
        let (router, stop) = (self.router.clone(), self.stop.subscribe());
        let tls = self.tls.as_ref().map(Tls::acceptor);
        self.tasks.spawn(async move {
            connection(stream, peer, tls, router, watch, stop).await;
            drop(place);
        });
        true
    }

    /// Ends the connection that has waited for its peer for longest, if there is one.
    fn make_room(&self) {
        let live = locked(&self.live);
        let waiting = live
            .values()
            .filter_map(|watch| Some((watch.waits_since()?, watch)));
        if let Some((_, watch)) = waiting.min_by_key(|(since, _)| *since) {
            watch.evict();
        }
    }
}

/// Waits for something, unless it is time to stop first: then `false`.
async fn until<F: Future<Output = ()>>(stop: &mut Pin<&mut F>, what: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = stop => false,
        () = what => true,
    }
}

/// Whether only the connection that would have been accepted is at fault.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
