//! *observed*: a router that is scraped each second while `tail` and `top` show what it does, against the same router
//! alone.
//!
//! The events of a round are stored while the consumer of the router is paused, so that only routing is measured. One
//! subscription receives all events, and filters of 200 installations match none.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::{ConnectOptions, HeaderMap};
use hyper::Method;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde_json::{Value, json};
use switchyard::bus::ManagedServer;
use switchyard::bus::subjects::ROUTER_CONSUMER;
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::corpus::{EVENT_TYPE, SITE, bodies};
use crate::report::{Contest, Report, Stopwatch};
use crate::rig::binaries;
use crate::router_process::{ADMIN_TOKEN, RouterProcess};
use crate::sink;

/// Size limit of the streams on disk.
const FILE_BYTES_MAX: u64 = 16 << 30;
/// Installations whose filters match no event.
const OTHERS: usize = 200;
/// Time between two scrapes.
const SCRAPES: Duration = Duration::from_secs(1);
/// Time in which `tail` and `top` connect.
const CONNECTED: Duration = Duration::from_secs(2);
/// Longest time until a round is over.
const ROUND_MAX: Duration = Duration::from_secs(900);
/// Pause between two checks of a running round.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const STREAM: &str = "SW_EVENTS";

/// Measures the rounds and adds them to the report.
pub(crate) async fn measure(rounds: usize, events: u64, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = folder.path().join("broker");
    let server = ManagedServer::start(&broker, &binaries(), FILE_BYTES_MAX).await?;
    let measured = async {
        let sink = sink::Process::start().await?;
        let mut router = ObservedRouter::start(&server, folder.path(), &sink).await?;
        let mut contest =
            Contest::new("observed", "events/s", "router", "scraped, tail and top open");
        for round in 0..rounds {
            // In turns, since the second of two may find a warmer or a busier machine.
            let (alone, observed) = match round % 2 {
                0 => (router.round(events, false).await?, router.round(events, true).await?),
                _ => {
                    let observed = router.round(events, true).await?;
                    (router.round(events, false).await?, observed)
                }
            };
            contest.round(usize::try_from(events)?, alone, observed);
        }
        report.add(contest);
        router.process.kill().await?;
        sink.stop().await
    };
    let measured = tokio::select! {
        measured = measured => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    server.stop().await;
    measured
}

/// A router process, and a client of its broker.
struct ObservedRouter {
    process: Child,
    /// Its address and its API.
    address: String,
    api: ApiClient,
    client: async_nats::Client,
    /// Events so far.
    published: u64,
}

impl ObservedRouter {
    async fn start(
        server: &ManagedServer,
        folder: &Path,
        sink: &sink::Process,
    ) -> anyhow::Result<Self> {
        let settings = [
            ("SWITCHYARD_DELIVERY__ALLOW_HTTP", "true"),
            ("SWITCHYARD_DELIVERY__ALLOW_CIDRS", "127.0.0.0/8"),
            ("SWITCHYARD_DELIVERY__ALLOW_PORTS", "any"),
        ];
        let RouterProcess { process, address, api } =
            RouterProcess::start(server, &folder.join("router"), &settings).await?;
        let seed = std::fs::read_to_string(server.credentials_file())?;
        let client = ConnectOptions::with_nkey(seed).connect(server.url()).await?;
        let router = Self { process, address, api, client, published: 0 };
        router.provision(sink).await?;
        Ok(router)
    }

    async fn provision(&self, sink: &sink::Process) -> anyhow::Result<()> {
        let put = async |path: String, body: Value| {
            self.api.send(Method::PUT, &format!("/admin/v1/{path}"), &[], &body).await
        };
        for (app, filter) in [("all", "true"), ("none", "event.issue.fields.project.key == 'NOPE'")]
        {
            let trigger = json!({ "key": "t", "events": [EVENT_TYPE], "endpoint": "hook",
                "filter": { "expression": filter } });
            let endpoint = json!({ "key": "hook", "url": sink.url("/hook")?.as_str() });
            let spec = json!({ "kind": "forge", "staticModules": { "trigger": [trigger] },
                "endpoints": [endpoint] });
            put(format!("apps/{app}"), spec).await?;
        }
        let installation = |app: &str| json!({ "app": app, "cloudId": SITE, "product": "jira" });
        put("installations/all".into(), installation("all")).await?;
        for number in 0..OTHERS {
            put(format!("installations/none-{number}"), installation("none")).await?;
        }
        Ok(())
    }

    /// Stores events, and has the router route them; returns the time from the first to the last.
    async fn round(&mut self, events: u64, is_observed: bool) -> anyhow::Result<Stopwatch> {
        self.pause(true).await?;
        self.publish(events).await?;
        let observers = if is_observed { Some(Observers::start(&self.address)?) } else { None };
        // The same wait without, so that both rounds begin alike.
        tokio::time::sleep(CONNECTED).await;
        let pid = self.process.id().context("the router ended")?;
        let watch = Stopwatch::start_of(pid);
        self.pause(false).await?;
        let routed = self.until_acknowledged();
        match observers {
            Some(observers) => {
                tokio::select! {
                    routed = routed => routed?,
                    failed = observers.scrape() => failed?,
                }
            }
            None => routed.await?,
        }
        Ok(watch.stop())
    }

    /// Pauses the consumer of the router, or lets it go on.
    async fn pause(&self, is_paused: bool) -> anyhow::Result<()> {
        let later = (clock::now() + ROUND_MAX).to_string();
        let body = if is_paused { json!({ "pause_until": later }) } else { json!({}) };
        let subject = format!("$JS.API.CONSUMER.PAUSE.{STREAM}.{ROUTER_CONSUMER}");
        let answer = self.client.request(subject, body.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        let paused = answer.get("paused").and_then(Value::as_bool);
        ensure!(paused == Some(is_paused), "the consumer is not paused or resumed: {answer}");
        Ok(())
    }

    async fn publish(&mut self, events: u64) -> anyhow::Result<()> {
        let all = bodies();
        let bodies = all.iter().cycle();
        for (number, body) in (self.published..self.published + events).zip(bodies) {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{SITE}/event-{number}").as_str());
            headers.insert("ce-specversion", "1.0");
            headers.insert("ce-id", format!("event-{number}").as_str());
            headers.insert("ce-type", EVENT_TYPE);
            headers.insert("ce-cloudid", SITE);
            headers.insert("ce-source", format!("ari:cloud:jira::site/{SITE}").as_str());
            let subject = format!("sw.in.{SITE}.{EVENT_TYPE}.-");
            self.client.publish_with_headers(subject, headers, body.clone()).await?;
        }
        self.client.flush().await?;
        self.published += events;
        let context = async_nats::jetstream::new(self.client.clone());
        let started = clock::tick();
        while context.get_stream(STREAM).await?.cached_info().state.last_sequence < self.published {
            ensure!(clock::since(started) < ROUND_MAX, "the broker does not have the events");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Waits until the router has acknowledged all events.
    async fn until_acknowledged(&self) -> anyhow::Result<()> {
        let context = async_nats::jetstream::new(self.client.clone());
        let stream = context.get_stream(STREAM).await?;
        let started = clock::tick();
        loop {
            let router: PullConsumer = stream
                .get_consumer(ROUTER_CONSUMER)
                .await
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            let info = router.cached_info();
            if info.num_pending == 0 && info.num_ack_pending == 0 {
                return Ok(());
            }
            ensure!(clock::since(started) < ROUND_MAX, "events are still in flight");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// `tail` and `top`, which end when this is dropped.
struct Observers {
    address: String,
    tail: Child,
    top: Child,
    /// Reads what `top` draws until it ends.
    screen: std::thread::JoinHandle<()>,
}

impl Observers {
    fn start(address: &str) -> anyhow::Result<Self> {
        let command = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
            command
                .args(arguments)
                .env("SWITCHYARD_SERVER", format!("http://{address}"))
                .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
                .env("TERM", "xterm")
                .kill_on_drop(true);
            command
        };
        let tail = command(&["tail"]).stdout(Stdio::null()).spawn()?;
        let (ours, theirs) = terminal()?;
        let top = command(&["top"])
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()?;
        let screen = std::thread::spawn(move || {
            // Fails when the last program at the terminal has ended.
            let _ = std::io::copy(&mut std::fs::File::from(ours), &mut std::io::sink());
        });
        Ok(Self { address: address.to_owned(), tail, top, screen })
    }

    /// Scrapes until the future is dropped.
    async fn scrape(mut self) -> anyhow::Result<()> {
        loop {
            let mut connection = TcpStream::connect(&self.address).await?;
            let request = format!(
                "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                self.address
            );
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "the router is not scraped: {answer:.200}");
            for (name, program) in [("tail", &mut self.tail), ("top", &mut self.top)] {
                ensure!(program.try_wait()?.is_none(), "{name} ended");
            }
            ensure!(!self.screen.is_finished(), "top has no terminal");
            tokio::time::sleep(SCRAPES).await;
        }
    }
}

/// Returns both sides of a terminal of 100 columns and 30 lines.
fn terminal() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&ours, size)?;
    let path = rustix::pty::ptsname(&ours, Vec::new())?;
    let theirs = std::fs::OpenOptions::new().read(true).write(true).open(path.to_str()?)?;
    Ok((ours, theirs.into()))
}
