//! A broker, a router process with an installation at each site, and stored events.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::{TryStreamExt, stream};
use hyper::Method;
use serde_json::{Value, json};
use switchyard::bus::{Connections, ManagedServer};
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use switchyard::config::Config;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Prefix of the streams.
pub(crate) const PREFIX: &str = "sw";
/// Size limit of the streams on disk.
const FILE_BYTES_MAX: u64 = 16 << 30;
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// Requests at once that provision installations.
const PROVISIONING: usize = 32;
/// Publishes between two looks at what is stored.
const CHUNK: u64 = 50_000;
/// Longest time until a router is ready.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest time until published events are stored, or stored ones acknowledged.
const SETTLED_MAX: Duration = Duration::from_secs(900);

/// Everything that is measured.
pub(crate) struct Rig {
    server: ManagedServer,
    _folder: TempDir,
    router: Child,
    pub(crate) api: ApiClient,
    client: async_nats::Client,
}

impl Rig {
    /// Starts all processes and provisions an installation `inst-site-N` at each site.
    pub(crate) async fn start(sites: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = folder.path().join("broker");
        let server = ManagedServer::start(&broker, &binaries(), FILE_BYTES_MAX).await?;
        let (router, base) = start_router(&server, folder.path()).await?;
        let seed = std::fs::read_to_string(server.credentials_file())?;
        let client = ConnectOptions::with_nkey(seed).connect(server.url()).await?;
        let api = ApiClient::at(&base, ADMIN_TOKEN)?;
        let rig = Self { server, router, api, client, _folder: folder };
        rig.until_ready().await?;
        rig.provision(sites).await?;
        Ok(rig)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.router.kill().await?;
        self.server.stop().await;
        Ok(())
    }

    /// Connections to the broker, as the router has them.
    pub(crate) async fn connections(&self) -> anyhow::Result<Connections> {
        let config = self.server.client_config(&Config::defaults()?.nats);
        Ok(Connections::open(&config, &config.url).await?)
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let started = clock::tick();
        while self.api.send(Method::GET, "/healthz/ready", &[], &Value::Null).await.is_err() {
            ensure!(clock::since(started) < START_MAX, "the router is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The filter is false for every event.
    async fn provision(&self, sites: u64) -> anyhow::Result<()> {
        let filter = "event.issue.fields.project.key == 'XXX'";
        let trigger = json!({ "key": "none", "events": [EVENT_TYPE], "endpoint": "hook",
            "filter": { "expression": filter } });
        let app = json!({ "kind": "forge", "staticModules": { "trigger": [trigger] },
            "endpoints": [{ "key": "hook", "url": "http://127.0.0.1:9/" }] });
        self.api.send(Method::PUT, "/admin/v1/apps/app", &[], &app).await?;
        stream::iter((0..sites).map(anyhow::Ok))
            .try_for_each_concurrent(PROVISIONING, async |site| {
                let site = format!("site-{site}");
                let spec = json!({ "app": "app", "cloudId": site, "product": "jira" });
                let path = format!("/admin/v1/installations/inst-{site}");
                self.api.send(Method::PUT, &path, &[], &spec).await.map(drop)
            })
            .await
    }

    /// Stores events; `place` returns site and entity of each.
    pub(crate) async fn fill(
        &self,
        events: u64,
        place: impl Fn(u64) -> (String, String),
    ) -> anyhow::Result<()> {
        for number in 0..events {
            let (site, entity) = place(number);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{site}/event-{number}").as_str());
            headers.insert("ce-specversion", "1.0");
            headers.insert("ce-id", format!("event-{number}").as_str());
            headers.insert("ce-type", EVENT_TYPE);
            headers.insert("ce-cloudid", site.as_str());
            headers.insert("ce-source", format!("ari:cloud:jira::site/{site}").as_str());
            headers.insert("ce-subject", entity.as_str());
            let body = json!({ "eventType": EVENT_TYPE, "issue": { "id": number, "key": entity,
                "fields": { "summary": "Printer on the third floor does not print",
                    "project": { "key": "OPS" }, "issuetype": { "name": "Bug" },
                    "priority": { "name": "High" } } } });
            let subject = format!("{PREFIX}.in.{site}.{EVENT_TYPE}.{entity}");
            let body = body.to_string();
            self.client.publish_with_headers(subject, headers, body.into()).await?;
            if (number + 1).is_multiple_of(CHUNK) || number + 1 == events {
                self.client.flush().await?;
                self.until_stored(number + 1).await?;
            }
        }
        Ok(())
    }

    /// Waits until the stream has `count` events: publishes are not confirmed one by one.
    async fn until_stored(&self, count: u64) -> anyhow::Result<()> {
        let context = async_nats::jetstream::new(self.client.clone());
        let started = clock::tick();
        while context.get_stream("SW_EVENTS").await?.cached_info().state.last_sequence < count {
            ensure!(clock::since(started) < SETTLED_MAX, "the broker does not have {count} events");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until the router has acknowledged all events.
    pub(crate) async fn until_acknowledged(&self) -> anyhow::Result<()> {
        let context = async_nats::jetstream::new(self.client.clone());
        let stream = context.get_stream("SW_EVENTS").await?;
        let started = clock::tick();
        loop {
            let router: async_nats::jetstream::consumer::PullConsumer =
                stream.get_consumer("router").await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let info = router.cached_info();
            if info.num_pending == 0 && info.num_ack_pending == 0 {
                return Ok(());
            }
            ensure!(clock::since(started) < SETTLED_MAX, "events are still in flight");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Starts the router; returns it with its base URL. It keeps all events.
async fn start_router(server: &ManagedServer, folder: &Path) -> anyhow::Result<(Child, String)> {
    let mut router = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["serve", "--listen", "127.0.0.1:0", "--nats-url", server.url(), "--data-dir"])
        .arg(folder.join("router"))
        .env("SWITCHYARD_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("SWITCHYARD_NATS__CREDENTIALS_FILE", server.credentials_file())
        .env("SWITCHYARD_EVENTS__MAX_BYTES", (8_u64 << 30).to_string())
        .env("SWITCHYARD_DELIVERY__ALLOW_HTTP", "true")
        .env("SWITCHYARD_DELIVERY__ALLOW_CIDRS", "127.0.0.0/8")
        .env("SWITCHYARD_DELIVERY__ALLOW_PORTS", "any")
        .env("SWITCHYARD_LOG__FILTER", "error")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = router.stdout.take().context("the router has no output")?;
    let first = BufReader::new(stdout).lines().next_line().await?;
    let first = first.context("the router ended")?;
    let base = first.strip_prefix("listening on ").context("no address")?;
    Ok((router, base.to_owned()))
}

/// Paths where a `nats-server` may be. The bench runs in the folder of the package.
fn binaries() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats/bin/nats-server");
    switchyard::config::nats_server_candidates().into_iter().chain([own]).collect()
}
