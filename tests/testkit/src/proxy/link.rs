//! The network between clients and one server, whatever they say to each other.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
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
/// How often a slow line moves.
const PACE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    Blackhole,
    DropReplies,
}

/// What carries a connection from its opening to its end.
type Carry = Box<dyn Fn(Ends) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

struct Shared {
    upstream: SocketAddr,
    carry: Carry,
    mode: watch::Sender<Mode>,
    /// In bytes per second each way of each connection; `None` is as fast as it goes.
    speed: watch::Sender<Option<u32>>,
    /// Open connections hold a receiver: `true` closes them, and the last one gone closes the channel.
    line: Mutex<watch::Sender<bool>>,
    lost: watch::Sender<u64>,
    listening: watch::Sender<bool>,
}

/// The proxy of bytes. Dropping it closes its port and all connections.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The acceptor, which owns the connections.
    _tasks: JoinSet<()>,
}

impl Link {
    /// Listens on a free loopback port, before the server at `upstream` (which need not run yet).
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        Self::start_on(net::free_port()?, upstream).await
    }

    /// The same on a port of the caller's choice.
    pub async fn start_on(port: u16, upstream: SocketAddr) -> Result<Self> {
        Self::carrying(port, upstream, Box::new(|ends| Box::pin(bytes(ends)))).await
    }

    /// With somebody to carry the connections.
    pub(super) async fn carrying(port: u16, upstream: SocketAddr, carry: Carry) -> Result<Self> {
        let address = net::loopback(port);
        let listener = bind(address).await?;
        let shared = Arc::new(Shared {
            upstream,
            carry,
            mode: watch::Sender::new(Mode::Pass),
            speed: watch::Sender::new(None),
            line: Mutex::new(watch::Sender::new(false)),
            lost: watch::Sender::new(0),
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

    /// The server it stands before.
    #[must_use]
    pub fn upstream(&self) -> SocketAddr {
        self.shared.upstream
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections are open through it.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.shared.line).receiver_count()
    }

    /// Heals everything. Connections whose replies were dropped are closed, for their streams have holes.
    pub async fn pass(&self) {
        self.shared.speed.send_replace(None);
        if self.shared.mode.send_replace(Mode::Pass) == Mode::DropReplies {
            self.cut().await;
        }
        self.listens(true).await;
    }

    /// Closes all connections. New ones are treated as before.
    pub async fn cut(&self) {
        let line = std::mem::replace(&mut *locked(&self.shared.line), watch::Sender::new(false));
        line.send_replace(true);
        line.closed().await;
    }

    /// Refuses new connections; those that are open go on.
    pub async fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
        self.listens(false).await;
    }

    /// A dead server: all connections closed, new ones refused, until [`Link::pass`].
    pub async fn down(&self) {
        self.refuse().await;
        self.cut().await;
    }

    /// Holds all bytes both ways, as a network that has gone away without a word. They arrive after
    /// [`Link::pass`], unless cut before.
    pub async fn blackhole(&self) {
        self.shared.mode.send_replace(Mode::Blackhole);
        self.listens(true).await;
    }

    /// From now on the server receives everything and no reply arrives.
    pub async fn drop_replies(&self) {
        self.shared.mode.send_replace(Mode::DropReplies);
        self.listens(true).await;
    }

    /// Lets each connection move so many bytes a second each way, until [`Link::pass`].
    ///
    /// # Panics
    /// When it is 0: that is [`Link::blackhole`].
    pub fn slow(&self, bytes_per_second: u32) {
        assert!(bytes_per_second > 0, "a line that moves nothing is a blackhole");
        self.shared.speed.send_replace(Some(bytes_per_second));
    }

    /// How many replies [`Link::drop_replies`] swallowed so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        *self.shared.lost.borrow()
    }

    /// Waits until at least `count` were swallowed.
    pub async fn wait_lost(&self, count: u64, deadline: Duration) -> Result<()> {
        let mut lost = self.shared.lost.subscribe();
        let waited = tokio::time::timeout(deadline, lost.wait_for(|lost| *lost >= count)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Other(format!(
                "the proxy has swallowed {} of {count} replies within {} s",
                self.lost(),
                deadline.as_secs_f32()
            ))),
        }
    }

    async fn listens(&self, wish: bool) {
        let mut listening = self.shared.listening.subscribe();
        // The sender lives in `shared`, so this ends only with the wish fulfilled.
        drop(listening.wait_for(|now| *now == wish).await);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { upstream, mode, .. } = &*self.shared;
        write!(f, "{} → {upstream}: {:?}", self.address, *mode.borrow())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
                let line = locked(&shared.line).subscribe();
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
        (shared.carry)(Ends::new(client, server, &shared)).await;
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

/// The four ends of a connection through the proxy. Each obeys the link.
pub(super) struct Ends {
    pub(super) from_client: Inlet,
    pub(super) to_server: Outlet,
    pub(super) from_server: Inlet,
    pub(super) to_client: Outlet,
}

impl Ends {
    fn new(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) -> Self {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let inlet = |half| Inlet {
            half,
            shared: Arc::clone(shared),
        };
        let outlet = |half, replies| Outlet {
            half,
            replies,
            shared: Arc::clone(shared),
        };
        Self {
            from_client: inlet(from_client),
            to_server: outlet(to_server, false),
            from_server: inlet(from_server),
            to_client: outlet(to_client, true),
        }
    }
}

/// Where bytes come in.
pub(super) struct Inlet {
    half: OwnedReadHalf,
    shared: Arc<Shared>,
}

impl Inlet {
    /// Reads some bytes; `None` at the end of the connection.
    async fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        open(&self.shared).await;
        let Ok(length @ 1..) = self.half.read(into).await else {
            return None;
        };
        open(&self.shared).await;
        Some(length)
    }

    /// Reads as many bytes as there is room for; `None` at the end of the connection.
    pub(super) async fn fill(&mut self, into: &mut [u8]) -> Option<()> {
        let mut filled = 0;
        while filled < into.len() {
            filled += self.read(&mut into[filled..]).await?;
        }
        Some(())
    }
}

/// Where bytes go out.
pub(super) struct Outlet {
    half: OwnedWriteHalf,
    replies: bool,
    shared: Arc<Shared>,
}

impl Outlet {
    /// Writes the bytes, or drops them where the link says so; `None` at the end of the connection.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            open(&self.shared).await;
            if self.replies && *self.shared.mode.borrow() == Mode::DropReplies {
                self.shared.lost.send_modify(|lost| *lost += 1);
                return Some(());
            }
            let (piece, pause) = piece(rest.len(), *self.shared.speed.borrow());
            tokio::time::sleep(pause).await;
            let (now, later) = rest.split_at(piece);
            self.half.write_all(now).await.ok()?;
            rest = later;
        }
        Some(())
    }
}

/// How much of what is left goes out next, and how long that takes.
fn piece(left: usize, speed: Option<u32>) -> (usize, Duration) {
    let Some(speed) = speed else {
        return (left, Duration::ZERO);
    };
    let most = (f64::from(speed) * PACE.as_secs_f64()).max(1.0) as usize;
    let piece = left.min(most);
    (
        piece,
        Duration::from_secs(1).mul_f64(piece as f64 / f64::from(speed)),
    )
}

/// Passes bytes both ways until either side ends.
async fn bytes(ends: Ends) {
    tokio::select! {
        () = copy(ends.from_client, ends.to_server) => {}
        () = copy(ends.from_server, ends.to_client) => {}
    }
}

async fn copy(mut from: Inlet, mut to: Outlet) {
    let mut chunk = vec![0; CHUNK];
    while let Some(length) = from.read(&mut chunk).await {
        if to.write(&chunk[..length]).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
