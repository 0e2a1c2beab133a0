//! Signed webhooks over HTTP to two router processes on one broker: one remembers the ids of stored
//! events, the other does not.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use data_encoding::HEXLOWER;
use futures_util::future::try_join_all;
use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use switchyard::bus::ManagedServer;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::corpus;
use crate::report::{Contest, Report, Stopwatch};
use crate::rig::binaries;
use crate::router_process::RouterProcess;

/// Size limit of the streams of both routers on disk.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Signs the webhooks.
const SECRET: &str = "bench-webhook-secret-0123456789abcdef";
const SITE: &str = "bench";
/// Requests at once.
const CONNECTIONS: usize = 32;
/// Webhooks before the first round.
const WARM_UP: usize = 500;
/// After the last answer, for which processor time still counts: ids are recorded every 5 s.
const RECORDING: Duration = Duration::from_secs(6);

/// Measures the memory of ids on the whole path of a webhook, in alternate rounds.
pub(crate) async fn measure(
    rounds: usize,
    webhooks: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = folder.path().join("broker");
    let server = ManagedServer::start(&broker, &binaries(), FILE_BYTES_MAX).await?;
    let measured = async {
        let forgetting = RouterUnderTest::start(&server, folder.path(), "forgetting", 0).await?;
        let remembering = RouterUnderTest::start(&server, folder.path(), "remembering", 24).await?;
        let mut contest =
            Contest::new("webhook", "webhooks/s", "router, no memory", "router, ids remembered");
        for router in [&forgetting, &remembering] {
            router.round(0, WARM_UP).await?;
        }
        for round in 1..=rounds {
            // Neither side is always the first.
            let (bare, ours) = if round % 2 == 0 {
                let ours = remembering.round(round, webhooks).await?;
                (forgetting.round(round, webhooks).await?, ours)
            } else {
                let bare = forgetting.round(round, webhooks).await?;
                (bare, remembering.round(round, webhooks).await?)
            };
            contest.round(webhooks, bare, ours);
        }
        report.add(contest);
        forgetting.stop().await?;
        remembering.stop().await
    };
    let measured = tokio::select! {
        measured = measured => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    server.stop().await;
    measured
}

/// A router process with one site.
struct RouterUnderTest {
    process: Child,
    address: String,
}

impl RouterUnderTest {
    /// Starts a router with streams of its own, whose names begin with `name`, and provisions the site.
    async fn start(
        server: &ManagedServer,
        folder: &Path,
        name: &str,
        memory_h: u64,
    ) -> anyhow::Result<Self> {
        let memory_h = memory_h.to_string();
        let settings = [
            ("SWITCHYARD_NATS__PREFIX", name),
            ("SWITCHYARD_EVENTS__REPEAT_MEMORY_H", &memory_h),
            ("SWITCHYARD_INGEST__JIRA__BENCH__SECRET", SECRET),
        ];
        let RouterProcess { process, address, api } =
            RouterProcess::start(server, &folder.join(name), &settings).await?;
        let app = json!({ "kind": "forge",
            "endpoints": [{ "key": "hook", "url": "https://handler.example/hook" }] });
        api.send(Method::PUT, "/admin/v1/apps/app-1", &[], &app).await?;
        let installation = json!({ "app": "app-1", "cloudId": SITE, "product": "jira" });
        api.send(Method::PUT, "/admin/v1/installations/inst-1", &[], &installation).await?;
        Ok(Self { process, address })
    }

    /// Sends webhooks that were not sent before; returns the time until all are answered, and the
    /// processor time of the router until their ids are recorded.
    async fn round(&self, round: usize, webhooks: usize) -> anyhow::Result<Stopwatch> {
        let requests = requests(&self.address, round, webhooks)?;
        let pid = self.process.id().context("the router ended")?;
        let watch = Stopwatch::start_of(pid);
        let share = webhooks.div_ceil(CONNECTIONS).max(1);
        try_join_all(requests.chunks(share).map(|requests| send(&self.address, requests))).await?;
        let watch = watch.stop();
        tokio::time::sleep(RECORDING).await;
        Ok(watch.with_processor_time_until_now())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }
}

/// Returns signed requests, ready to be sent.
fn requests(address: &str, round: usize, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let bodies = corpus::bodies();
    let numbered = bodies.iter().cycle().take(count).enumerate();
    numbered
        .map(|(number, body)| {
            let mut webhook: Value = serde_json::from_slice(body)?;
            let members = webhook.as_object_mut().context("no object")?;
            members.remove("eventType");
            members.insert("webhookEvent".into(), "jira:issue_updated".into());
            members.insert("timestamp".into(), (1_767_225_600_000 + number).into());
            let body = webhook.to_string();
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
            mac.update(body.as_bytes());
            let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
            let request = format!(
                "POST /ingest/jira/{SITE} HTTP/1.1\r\nHost: {address}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\
                 X-Hub-Signature: sha256={signature}\r\n\
                 X-Atlassian-Webhook-Identifier: 2f6b5c1e-{round:04}-4c1e-9d0f-{number:012}\r\n\r\n{body}",
                body.len()
            );
            Ok(request.into_bytes())
        })
        .collect()
}

/// Sends requests over one connection, each after the answer to the one before.
async fn send(address: &str, requests: &[Vec<u8>]) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    for request in requests {
        stream.write_all(request).await?;
        let mut length = 0;
        line.clear();
        stream.read_line(&mut line).await?;
        ensure!(line.starts_with("HTTP/1.1 202"), "a webhook was refused: {line}");
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                bail!("the router closed the connection");
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
    }
    Ok(())
}
