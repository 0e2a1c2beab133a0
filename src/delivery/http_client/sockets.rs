//! Budget of sockets: how many connections to handlers may be open, and which idle ones are closed
//! when another is needed.
//!
//! A process may open a limited number of descriptors. The sockets of running attempts and of idle
//! connections share one budget below that limit, so that the broker, the listener and files always
//! find a descriptor. A new connection that finds the budget used up closes the idle connections of
//! the endpoints that were used least recently.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::delivery::metrics;

/// Longest time that a new connection waits for a socket; shorter than the deadline of an attempt,
/// whose end would be blamed on the handler.
const SOCKET_TIMEOUT: Duration = Duration::from_millis(500);
/// Divisor of the budget; the quotient is the largest part of it that is idle.
const IDLE_PART: usize = 2;
/// Divisor of the limit of idle sockets; so many are closed together, so that a search through all
/// endpoints is rare.
const EVICTED_PART: usize = 8;

/// Budget of sockets, shared by all clients.
#[derive(Clone, Debug)]
pub struct SocketBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sockets: Arc<Semaphore>,
    max: usize,
    idle_max: usize,
    open: AtomicUsize,
    busy: AtomicUsize,
    /// Number of the last use of any client.
    uses: AtomicU64,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    members: Vec<Weak<dyn IdlePool>>,
    /// Number of members at which those dropped are removed.
    prune_at: usize,
}

/// The idle connections of one endpoint.
pub(super) trait IdlePool: Send + Sync {
    /// Returns the counters of its sockets.
    fn sockets(&self) -> &Arc<ClientSockets>;

    /// Closes its idle connections.
    fn close_idle(&self);
}

/// Counters of the sockets of one client.
#[derive(Debug)]
pub(super) struct ClientSockets {
    budget: SocketBudget,
    open: AtomicUsize,
    busy: AtomicUsize,
    last_use: AtomicU64,
}

/// A socket within the budget.
pub(super) struct Socket {
    stream: TokioIo<TcpStream>,
    times: Arc<ConnectionTimes>,
    _place: SocketPlace,
}

/// How long it took to open a connection; for the first request over it.
#[derive(Debug)]
pub(super) struct ConnectionTimes {
    pub(super) dns: Duration,
    pub(super) connect: Duration,
    connected: Instant,
    /// From the TCP connection until requests can be sent: a TLS handshake, if there is one.
    handshake: OnceLock<Duration>,
    is_taken: AtomicBool,
}

impl ConnectionTimes {
    /// Creates the times of a TCP connection that is open now.
    pub(super) fn new(dns: Duration, connect: Duration) -> Self {
        Self {
            dns,
            connect,
            connected: clock::tick(),
            handshake: OnceLock::new(),
            is_taken: AtomicBool::new(false),
        }
    }

    /// Returns the time of the handshake, the first time that it is called: later requests use a
    /// connection that is open.
    pub(super) fn take(&self) -> Option<Duration> {
        let is_first = !self.is_taken.swap(true, Relaxed);
        is_first.then(|| self.handshake.get().copied().unwrap_or_default())
    }
}

/// A place in the budget; returned on drop.
pub(super) struct SocketPlace {
    client: Arc<ClientSockets>,
    _permit: OwnedSemaphorePermit,
}

/// A running request; ends on drop.
pub(super) struct BusySocket<'a>(&'a ClientSockets);

impl SocketBudget {
    /// Creates a budget of `max` sockets, of which `idle_max` may be idle.
    #[must_use]
    pub fn new(max: usize, idle_max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            sockets: Arc::new(Semaphore::new(max)),
            max,
            idle_max: idle_max.min(max / IDLE_PART).max(1),
            open: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            uses: AtomicU64::new(0),
            clients: Mutex::default(),
        }))
    }

    /// Returns how many sockets may be open.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// Returns how many sockets are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }

    /// Returns how many open sockets have no request; approximate while requests start and end.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.open().saturating_sub(self.0.busy.load(Relaxed))
    }

    /// Returns the counters of a new client.
    pub(super) fn new_client(&self) -> Arc<ClientSockets> {
        Arc::new(ClientSockets {
            budget: self.clone(),
            open: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            last_use: AtomicU64::new(0),
        })
    }

    /// Adds a client whose idle connections may be closed.
    pub(super) fn add(&self, pool: Weak<dyn IdlePool>) {
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.members.len() >= clients.prune_at {
            clients.members.retain(|client| client.strong_count() > 0);
            clients.prune_at = clients.members.len().max(64) * 2;
        }
        clients.members.push(pool);
    }

    /// Closes idle connections of the clients used least recently, about `count` of them.
    fn evict(&self, count: usize) {
        let clients = match self.0.clients.try_lock() {
            Ok(clients) => clients,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another task evicts at this moment.
            Err(TryLockError::WouldBlock) => return,
        };
        let mut idle: Vec<_> = clients
            .members
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|pool| pool.sockets().idle() > 0)
            .map(|pool| (pool.sockets().last_use.load(Relaxed), pool))
            .collect();
        drop(clients);
        idle.sort_unstable_by_key(|(last_use, _)| *last_use);
        let mut closed = 0;
        for (_, pool) in idle {
            if closed >= count {
                break;
            }
            closed += pool.sockets().idle();
            pool.close_idle();
        }
        if closed > 0 {
            metrics::sockets_evicted(closed);
        }
    }

    /// Returns how many idle connections are closed together.
    fn evicted_at_once(&self) -> usize {
        (self.0.idle_max / EVICTED_PART).max(1)
    }
}

impl ClientSockets {
    /// Takes a place for a new socket, closing idle ones if there is none; none if the budget
    /// stays used up.
    pub(super) async fn place(self: &Arc<Self>) -> Option<SocketPlace> {
        let budget = &self.budget.0;
        let permit = match Arc::clone(&budget.sockets).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.budget.evict(self.budget.evicted_at_once());
                let freed = Arc::clone(&budget.sockets).acquire_owned();
                tokio::time::timeout(SOCKET_TIMEOUT, freed).await.ok()?.ok()?
            }
        };
        budget.open.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Some(SocketPlace { client: Arc::clone(self), _permit: permit })
    }

    /// Counts a running request until the guard is dropped.
    pub(super) fn busy(&self) -> BusySocket<'_> {
        let budget = &self.budget.0;
        budget.busy.fetch_add(1, Relaxed);
        self.busy.fetch_add(1, Relaxed);
        self.last_use.store(budget.uses.fetch_add(1, Relaxed), Relaxed);
        BusySocket(self)
    }

    fn idle(&self) -> usize {
        self.open.load(Relaxed).saturating_sub(self.busy.load(Relaxed))
    }
}

impl Drop for BusySocket<'_> {
    fn drop(&mut self) {
        let budget = &self.0.budget;
        self.0.busy.fetch_sub(1, Relaxed);
        budget.0.busy.fetch_sub(1, Relaxed);
        if budget.idle() > budget.0.idle_max {
            budget.evict(budget.evicted_at_once());
        }
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.client.open.fetch_sub(1, Relaxed);
        self.client.budget.0.open.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl Socket {
    /// Wraps a connected stream.
    pub(super) fn new(stream: TcpStream, times: ConnectionTimes, place: SocketPlace) -> Self {
        Self { stream: TokioIo::new(stream), times: Arc::new(times), _place: place }
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        // The client calls this once the handshake, if any, is done.
        self.times.handshake.get_or_init(|| clock::since(self.times.connected));
        self.stream.connected().extra(Arc::clone(&self.times))
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}
