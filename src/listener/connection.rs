//! Serves one connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use axum::{BoxError, Router};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval, sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

use super::admission::Admission;
use super::client::{Client, TrustedProxies};
use super::metrics;
use super::progress::{Deadlines, InRequest, Progress, Watched};
use crate::clock;

/// Most bytes of the head of a request, and of a connection that are read ahead.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Longest time for which requests may run on after the router was stopped.
const STOP_MAX: Duration = Duration::from_secs(20);

/// What every connection is served with.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    pub(super) routes: Router,
    pub(super) deadlines: Deadlines,
    pub(super) admission: Arc<Admission>,
    pub(super) trusted: TrustedProxies,
    pub(super) stop: CancellationToken,
}

/// Serves the requests of a connection until it ends, a deadline passes or the router stops.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    serving: Arc<Serving>,
) {
    let progress = Progress::new();
    let service = service_fn(|request: Request<Incoming>| {
        let in_request = progress.begin_request();
        let request = received(request, peer, &serving);
        let response = serving.routes.clone().oneshot(request);
        async move {
            let response = match response.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let tracked = |body| TrackedBody { body, _in_request: in_request };
            Ok::<Response<_>, Infallible>(response.map(tracked))
        }
    });
    let io = TokioIo::new(Watched { io, progress: Arc::clone(&progress) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // `Progress` has two deadlines: for the head, and for the time until it begins.
        .header_read_timeout(None::<Duration>)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut checks = interval(serving.deadlines.check_interval());
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopped = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, %peer, "connection failed");
                }
                return;
            }
            _ = checks.tick() => {
                let is_late = stopped.is_some_and(|at| clock::since(at) > STOP_MAX);
                let overdue = progress.overdue(&serving.deadlines());
                if let Some(deadline) = overdue.or(is_late.then_some("stop_timeout")) {
                    metrics::closed(deadline);
                    debug!(deadline, %peer, "connection closed");
                    return;
                }
            }
            () = serving.stop.cancelled(), if stopped.is_none() => {
                stopped = Some(clock::tick());
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

impl Serving {
    /// Returns the deadlines that hold now.
    fn deadlines(&self) -> Deadlines {
        match self.stop.is_cancelled() || self.admission.is_crowded() {
            true => self.deadlines.shortened(),
            false => self.deadlines,
        }
    }
}

/// Returns a request as the routes receive it: with its client, and with a body that must not pause.
fn received(request: Request<Incoming>, peer: IpAddr, serving: &Serving) -> Request<Body> {
    let client = Client::of(peer, request.headers(), &serving.trusted);
    let pause_max = serving.deadlines.body;
    let mut request = request.map(|body| match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(TimedBody { body, pause_max, due: None }),
    });
    request.extensions_mut().insert(client);
    request
}

/// A request body that fails when no part of it arrives for too long.
struct TimedBody {
    body: Incoming,
    pause_max: Duration,
    /// Set while the next part is awaited.
    due: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.due = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let pause_max = self.pause_max;
        let due = self.due.get_or_insert_with(|| Box::pin(sleep(pause_max)));
        if due.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        due.as_mut().reset(Instant::now() + pause_max);
        metrics::body_too_slow();
        let message = format!("no part of the body arrived for {pause_max:?}");
        Poll::Ready(Some(Err(message.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body; its request is handled until it is sent.
struct TrackedBody {
    body: Body,
    _in_request: InRequest,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
