//! What a connection does, since when, and whether that takes too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;
use crate::config::ServerConfig;

/// Waits for the first byte of a request.
const IDLE: u8 = 0;
/// Receives the head of a request.
const HEAD: u8 = 1;
/// Handles a request.
const REQUEST: u8 = 2;
/// No write waits for the client.
const NOT_BLOCKED: i64 = -1;
/// Longest deadlines of connections without a request while the listener is crowded, or stops.
const SHORTENED_MAX: Duration = Duration::from_secs(2);
/// Shortest interval between two checks of a connection.
const CHECK_MIN: Duration = Duration::from_millis(20);
/// Longest interval between two checks of a connection.
const CHECK_MAX: Duration = Duration::from_secs(1);

/// Deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For the head of a request, and for the TLS handshake.
    pub(super) head: Duration,
    /// Between two requests.
    idle: Duration,
    /// Between two parts of a body that is received, and for a client to read what is sent.
    pub(super) body: Duration,
}

impl Deadlines {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            head: Duration::from_millis(config.header_timeout_ms),
            idle: Duration::from_millis(config.idle_timeout_ms),
            body: Duration::from_millis(config.body_timeout_ms),
        }
    }

    /// Returns the deadlines while most connections are in use, or the router stops: connections without
    /// a request end soon, so that slow clients of many addresses keep out no others and delay no stop.
    pub(super) fn shortened(self) -> Self {
        Self { head: self.head.min(SHORTENED_MAX), idle: self.idle.min(SHORTENED_MAX), ..self }
    }

    /// Returns how often a connection is checked.
    pub(super) fn check_interval(&self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.body);
        (shortest / 4).clamp(CHECK_MIN, CHECK_MAX)
    }
}

/// What a connection does.
#[derive(Debug)]
pub(super) struct Progress {
    phase: AtomicU8,
    since_ms: AtomicI64,
    /// Since when a write waits.
    blocked_ms: AtomicI64,
}

impl Progress {
    /// Returns the progress of a new connection, whose first request is due at once.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(HEAD),
            since_ms: AtomicI64::new(clock::uptime_ms()),
            blocked_ms: AtomicI64::new(NOT_BLOCKED),
        })
    }

    /// Notes that a request is handled, until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> InRequest {
        self.enter(REQUEST);
        InRequest(Arc::clone(self))
    }

    /// Returns the deadline that has passed, as the label of the metric.
    pub(super) fn overdue(&self, deadlines: &Deadlines) -> Option<&'static str> {
        let now_ms = clock::uptime_ms();
        let is_over = |since_ms: i64, deadline: Duration| {
            i64::try_from(deadline.as_millis()).is_ok_and(|most| now_ms - since_ms > most)
        };
        let blocked_ms = self.blocked_ms.load(Relaxed);
        if blocked_ms != NOT_BLOCKED && is_over(blocked_ms, deadlines.body) {
            return Some("write_timeout");
        }
        let since_ms = self.since_ms.load(Relaxed);
        match self.phase.load(Relaxed) {
            HEAD => is_over(since_ms, deadlines.head).then_some("header_timeout"),
            IDLE => is_over(since_ms, deadlines.idle).then_some("idle_timeout"),
            _ => None,
        }
    }

    fn enter(&self, phase: u8) {
        self.since_ms.store(clock::uptime_ms(), Relaxed);
        self.phase.store(phase, Relaxed);
    }

    fn note_read(&self) {
        if self.phase.load(Relaxed) == IDLE {
            self.enter(HEAD);
        }
    }

    fn note_write(&self, is_blocked: bool) {
        match (is_blocked, self.blocked_ms.load(Relaxed)) {
            (true, NOT_BLOCKED) => self.blocked_ms.store(clock::uptime_ms(), Relaxed),
            (false, since_ms) if since_ms != NOT_BLOCKED => {
                self.blocked_ms.store(NOT_BLOCKED, Relaxed);
            }
            _ => {}
        }
    }
}

/// A request that is handled.
#[derive(Debug)]
pub(super) struct InRequest(Arc<Progress>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}

/// A connection whose progress is noted.
#[derive(Debug)]
pub(super) struct Watched<Io> {
    pub(super) io: Io,
    pub(super) progress: Arc<Progress>,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.progress.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.progress.note_write(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.progress.note_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        if flushed.is_pending() {
            self.progress.note_write(true);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_depend_on_what_the_connection_does() {
        let deadline = Duration::from_millis(20);
        let deadlines = |head, idle, body| Deadlines { head, idle, body };
        let long = Duration::from_secs(60);
        let progress = Progress::new();
        let overdue = |head, idle, body| progress.overdue(&deadlines(head, idle, body));
        std::thread::sleep(deadline * 2);
        assert_eq!(overdue(deadline, long, long), Some("header_timeout"));
        assert_eq!(overdue(long, deadline, deadline), None);
        let request = progress.begin_request();
        std::thread::sleep(deadline * 2);
        assert_eq!(overdue(deadline, deadline, deadline), None, "a request may take its time");
        progress.note_write(true);
        progress.note_write(true);
        std::thread::sleep(deadline * 2);
        assert_eq!(overdue(long, long, deadline), Some("write_timeout"));
        progress.note_write(false);
        drop(request);
        assert_eq!(overdue(deadline, deadline, deadline), None, "it was idle for no time");
        std::thread::sleep(deadline * 2);
        assert_eq!(overdue(long, deadline, long), Some("idle_timeout"));
        progress.note_read();
        assert_eq!(overdue(deadline, deadline, long), None, "the head begins");
        let short = deadlines(long, long, long).shortened();
        assert_eq!((short.head, short.idle, short.body), (SHORTENED_MAX, SHORTENED_MAX, long));
    }
}
