//! A TCP proxy that makes the network fail on purpose.
//!
//! It stands before one server and passes bytes both ways until told otherwise. Its tasks belong to the
//! runtime it was started on. For MongoDB connect through `Mongo::proxied_uri`: a driver that follows the
//! host names in the server's `hello` would go around the proxy.
//!
//! | call | connections that are open | new connections |
//! |---|---|---|
//! | [`Proxy::pass`] | pass | pass |
//! | [`Proxy::cut`] | closed | as before |
//! | [`Proxy::refuse`] | pass | refused |
//! | [`Proxy::blackhole`] | held: nothing moves, nothing is lost | accepted, held |
//! | [`Proxy::drop_replies`] | requests pass, replies vanish | the same |
//! | [`Proxy::lose_reply_to`] | the reply to one request vanishes, then that connection is closed | the same |
//! | [`Proxy::lose_request`] | one request vanishes, and that connection is closed | the same |
//! | [`Proxy::hold_request`] | one request waits for [`Proxy::let_go`], and what follows it there | the same |

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Doing as _, Error, Result};
use crate::net;

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;
/// How long to wait before listening is tried again, where the port was taken meanwhile.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    Blackhole,
    DropReplies,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    LoseRequest,
    LoseReply,
    Hold,
}

#[derive(Debug)]
struct Hook {
    needle: Vec<u8>,
    skip: usize,
    fate: Fate,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Open connections hold a receiver: `true` closes them, and the last one gone closes the channel.
    line: Mutex<watch::Sender<bool>>,
    hooks: Mutex<Vec<Hook>>,
    lost: watch::Sender<u64>,
    held: watch::Sender<u64>,
    /// Requests that are held go on when it is `false`.
    holding: watch::Sender<bool>,
    listening: watch::Sender<bool>,
}

/// The proxy. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The acceptor, which owns the connections.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free loopback port, before the server at `upstream` (which need not run yet).
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        Self::start_on(net::free_port()?, upstream).await
    }

    /// The same on a port of the caller's choice.
    pub async fn start_on(port: u16, upstream: SocketAddr) -> Result<Self> {
        let address = net::loopback(port);
        let listener = bind(address).await?;
        let shared = Arc::new(Shared {
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            line: Mutex::new(watch::Sender::new(false)),
            hooks: Mutex::default(),
            lost: watch::Sender::new(0),
            held: watch::Sender::new(0),
            holding: watch::Sender::new(false),
            listening: watch::Sender::new(true),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(address, listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections are open through it.
    #[must_use]
    pub fn connections(&self) -> usize {
        held(&self.shared.line).receiver_count()
    }

    /// Heals everything. Connections whose replies were dropped are closed, for their streams have holes;
    /// hooks that have not fired are taken away.
    pub async fn pass(&self) {
        held(&self.shared.hooks).clear();
        self.let_go();
        if self.shared.mode.send_replace(Mode::Pass) == Mode::DropReplies {
            self.cut().await;
        }
        self.listens(true).await;
    }

    /// Closes all connections. New ones are treated as before.
    pub async fn cut(&self) {
        let line = std::mem::replace(&mut *held(&self.shared.line), watch::Sender::new(false));
        line.send_replace(true);
        line.closed().await;
    }

    /// Refuses new connections; those that are open go on.
    pub async fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
        self.listens(false).await;
    }

    /// A dead server: all connections closed, new ones refused, until [`Proxy::pass`].
    pub async fn down(&self) {
        self.refuse().await;
        self.cut().await;
    }

    /// Holds all bytes both ways, as a network that has gone away without a word. They arrive after
    /// [`Proxy::pass`], unless cut before.
    pub async fn blackhole(&self) {
        self.shared.mode.send_replace(Mode::Blackhole);
        self.listens(true).await;
    }

    /// From now on the server receives everything and no reply arrives.
    pub async fn drop_replies(&self) {
        self.shared.mode.send_replace(Mode::DropReplies);
        self.listens(true).await;
    }

    /// Once: the next request that contains `needle` reaches the server, its reply is swallowed, and then
    /// that connection is closed: a lost acknowledgement.
    pub fn lose_reply_to(&self, needle: impl AsRef<[u8]>) {
        self.arm(needle.as_ref(), 0, Fate::LoseReply);
    }

    /// The same for a later one: `skip` requests with `needle` pass unharmed before.
    pub fn lose_reply_to_nth(&self, skip: usize, needle: impl AsRef<[u8]>) {
        self.arm(needle.as_ref(), skip, Fate::LoseReply);
    }

    /// Once: the next request that contains `needle` does not reach the server, and its connection is
    /// closed: to the client it looks the same as a lost reply.
    pub fn lose_request(&self, needle: impl AsRef<[u8]>) {
        self.arm(needle.as_ref(), 0, Fate::LoseRequest);
    }

    /// Once: the next request that contains `needle` waits before the server until [`Proxy::let_go`], and its
    /// connection with it; all others go on.
    pub fn hold_request(&self, needle: impl AsRef<[u8]>) {
        self.shared.holding.send_replace(true);
        self.arm(needle.as_ref(), 0, Fate::Hold);
    }

    /// Waits until at least `count` requests were held.
    pub async fn wait_held(&self, count: u64, deadline: Duration) -> Result<()> {
        reached(&self.shared.held, count, deadline, "held").await
    }

    /// Lets the requests go on that are held.
    pub fn let_go(&self) {
        self.shared.holding.send_replace(false);
    }

    /// How many replies and requests were swallowed so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        *self.shared.lost.borrow()
    }

    /// Waits until at least `count` were swallowed.
    pub async fn wait_lost(&self, count: u64, deadline: Duration) -> Result<()> {
        reached(&self.shared.lost, count, deadline, "swallowed").await
    }

    fn arm(&self, needle: &[u8], skip: usize, fate: Fate) {
        assert!(!needle.is_empty(), "every request contains nothing");
        held(&self.shared.hooks).push(Hook {
            needle: needle.to_vec(),
            skip,
            fate,
        });
    }

    async fn listens(&self, wish: bool) {
        let mut listening = self.shared.listening.subscribe();
        // The sender lives in `shared`, so this ends only with the wish fulfilled.
        drop(listening.wait_for(|now| *now == wish).await);
    }
}

async fn reached(counter: &watch::Sender<u64>, count: u64, deadline: Duration, what: &str) -> Result<()> {
    let mut counted = counter.subscribe();
    let waited = tokio::time::timeout(deadline, counted.wait_for(|counted| *counted >= count)).await;
    match waited {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Error::Other(format!(
            "the proxy has {what} {} of {count} messages within {} s",
            *counter.borrow(),
            deadline.as_secs_f32()
        ))),
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .doing(|| format!("listen on {address}"))
}

async fn accept(address: SocketAddr, listener: TcpListener, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let refusing = *mode.borrow_and_update() == Mode::Refuse;
        if refusing {
            listener = None;
        } else if listener.is_none() {
            listener = bind(address)
                .await
                .inspect_err(|error| eprintln!("proxy: {error}"))
                .ok();
        }
        shared.listening.send_replace(listener.is_some());
        if !refusing && listener.is_none() {
            tokio::time::sleep(RETRY).await;
            continue;
        }
        tokio::select! {
            Some(_) = connections.join_next() => {}
            changed = mode.changed() => if changed.is_err() { return },
            stream = next(listener.as_ref()) => {
                let line = held(&shared.line).subscribe();
                connections.spawn(connection(stream, Arc::clone(&shared), line));
            }
        }
    }
}

/// The next connection; never where there is no listener.
async fn next(listener: Option<&TcpListener>) -> TcpStream {
    loop {
        match listener {
            None => std::future::pending().await,
            Some(listener) => match listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>, mut line: watch::Receiver<bool>) {
    let through = async {
        open(&shared).await;
        let Ok(server) = TcpStream::connect(shared.upstream).await else {
            return;
        };
        // Without these a small message may wait for the acknowledgement of the one before.
        if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
            return;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let lose_next_reply = watch::Sender::new(false);
        tokio::select! {
            () = requests(from_client, to_server, &shared, &lose_next_reply) => {}
            () = replies(from_server, to_client, &shared, &lose_next_reply) => {}
        }
    };
    tokio::select! {
        _ = line.wait_for(|cut| *cut) => {}
        () = through => {}
    }
}

async fn open(shared: &Shared) {
    let mut mode = shared.mode.subscribe();
    drop(mode.wait_for(|mode| *mode != Mode::Blackhole).await);
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    lose_next_reply: &watch::Sender<bool>,
) {
    let mut chunk = vec![0; CHUNK];
    let mut before = Vec::new();
    loop {
        open(shared).await;
        let Ok(length @ 1..) = client.read(&mut chunk).await else {
            return;
        };
        open(shared).await;
        let bytes = &chunk[..length];
        let fate = fired(&mut held(&shared.hooks), &before, bytes);
        match fate {
            None => {}
            Some(Fate::LoseReply) => drop(lose_next_reply.send_replace(true)),
            Some(Fate::LoseRequest) => return count(shared),
            Some(Fate::Hold) => {
                shared.held.send_modify(|held| *held += 1);
                drop(shared.holding.subscribe().wait_for(|holding| !holding).await);
            }
        }
        remember(&mut before, bytes);
        if server.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    lose_next_reply: &watch::Sender<bool>,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        open(shared).await;
        let Ok(length @ 1..) = server.read(&mut chunk).await else {
            return;
        };
        open(shared).await;
        if *lose_next_reply.borrow() {
            return count(shared);
        }
        if *shared.mode.borrow() == Mode::DropReplies {
            count(shared);
        } else if client.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

fn count(shared: &Shared) {
    shared.lost.send_modify(|lost| *lost += 1);
}

/// The fate that these bytes call for. A needle may begin in the bytes before them.
fn fired(hooks: &mut Vec<Hook>, before: &[u8], bytes: &[u8]) -> Option<Fate> {
    for index in 0..hooks.len() {
        let hook = &mut hooks[index];
        if !contains(before, bytes, &hook.needle) {
            continue;
        }
        if hook.skip > 0 {
            hook.skip -= 1;
            continue;
        }
        return Some(hooks.remove(index).fate);
    }
    None
}

fn contains(before: &[u8], bytes: &[u8], needle: &[u8]) -> bool {
    let kept = before.len().min(needle.len() - 1);
    let seam = [
        &before[before.len() - kept..],
        &bytes[..bytes.len().min(needle.len() - 1)],
    ]
    .concat();
    let within = |haystack: &[u8]| haystack.windows(needle.len()).any(|window| window == needle);
    within(&seam) || within(bytes)
}

fn remember(before: &mut Vec<u8>, bytes: &[u8]) {
    const MOST: usize = 256;
    before.extend_from_slice(&bytes[bytes.len().saturating_sub(MOST)..]);
    before.drain(..before.len().saturating_sub(MOST));
}

#[cfg(test)]
mod tests;
