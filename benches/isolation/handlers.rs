//! Handlers on loopback, in a process of their own whose processor time is not the router's. The
//! path decides what a handler does; `/healthy` records when each event arrived.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use switchyard::clock;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// The argument that makes this program a process of handlers.
pub(crate) const FLAG: &str = "--handlers";
/// Precedes number and time of publication in the body of a healthy event.
pub(crate) const MARK: &str = "\"mark\":\"";
/// Shortest time of an attempt at a slow handler. The average is a second. With equal times, all
/// attempts that start together end together, in waves that no real handlers make.
const SLOW_MIN_MS: usize = 750;
/// Attempts one after the other take from [`SLOW_MIN_MS`] up to this much longer, out of order.
const SLOW_SPREAD_MS: usize = 500;

/// An event that arrived at its handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) number: u64,
    /// Microseconds since its publication.
    pub(crate) latency_us: u64,
}

/// A running process of handlers.
pub(crate) struct Process {
    child: Child,
    port: u16,
}

impl Process {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(FLAG)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("the handlers have no output")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let port = first.context("the handlers ended")?.parse()?;
        Ok(Self { child, port })
    }

    /// URL of a handler at one of 65,536 hosts, all of which are this process.
    pub(crate) fn url(&self, host: usize, path: &str) -> String {
        let (high, low) = (host / 200 % 200, host % 200 + 1);
        format!("http://127.1.{high}.{low}:{}{path}", self.port)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Reads the lines that `/arrivals` returns.
pub(crate) fn read_arrivals(text: &str) -> anyhow::Result<Vec<Arrival>> {
    let arrival = |line: &str| {
        let (number, latency) = line.split_once(' ').context("two numbers")?;
        Ok(Arrival { number: number.parse()?, latency_us: latency.parse()? })
    };
    text.lines().map(arrival).collect()
}

type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// Serves until the process is killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let done = async |_body: Bytes| StatusCode::NO_CONTENT;
        let app = Router::new()
            .route("/healthy", post(record))
            .route("/arrivals", get(take))
            .route("/quick", post(done))
            .route("/refuse", post(async |_body: Bytes| StatusCode::SERVICE_UNAVAILABLE))
            .route("/slow", post(answer_late))
            .route("/hang", post(async |_body: Bytes| std::future::pending::<StatusCode>().await))
            .with_state(Arrivals::default());
        Ok(axum::serve(listener, app).await?)
    })
}

async fn answer_late(_body: Bytes) -> StatusCode {
    static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);
    // 211 and the spread have no common divisor: each time comes once in so many attempts.
    let spread_ms = ATTEMPTS.fetch_add(1, Relaxed) * 211 % SLOW_SPREAD_MS;
    let took_ms = u64::try_from(SLOW_MIN_MS + spread_ms).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_millis(took_ms)).await;
    StatusCode::NO_CONTENT
}

async fn record(State(arrivals): State<Arrivals>, body: Bytes) -> StatusCode {
    let now_us = clock::now().as_microsecond();
    match arrival(&body, now_us) {
        Ok(arrival) => {
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

fn arrival(body: &[u8], now_us: i64) -> anyhow::Result<Arrival> {
    let body = std::str::from_utf8(body)?;
    let (_, rest) = body.split_once(MARK).context("a mark")?;
    let (mark, _) = rest.split_once('"').context("the end of the mark")?;
    let (number, sent_us) = mark.split_once(' ').context("two numbers")?;
    let latency_us = now_us - sent_us.parse::<i64>()?;
    ensure!(latency_us >= 0, "the clock was set back");
    Ok(Arrival { number: number.parse()?, latency_us: latency_us.unsigned_abs() })
}

/// Returns the arrivals since the last call, a line each.
async fn take(State(arrivals): State<Arrivals>) -> String {
    let taken = std::mem::take(&mut *arrivals.lock().unwrap_or_else(PoisonError::into_inner));
    let line = |one: &Arrival| format!("{} {}\n", one.number, one.latency_us);
    taken.iter().map(line).collect()
}
