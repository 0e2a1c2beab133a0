//! A broker, a router process with healthy and other installations, and their handlers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::ConnectOptions;
use async_nats::jetstream;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use switchyard::bus::ManagedServer;
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::culprit::{self, Culprit};
use crate::handlers::{self, MARK};
use crate::load;

/// Size limit of the streams on disk.
const FILE_BYTES_MAX: u64 = 16 << 30;
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// Healthy apps; each has a host and an equal number of the installations.
const HEALTHY_APPS: usize = 10;
/// First host of the culprit's apps.
const CULPRIT_HOST: usize = 1_000;
/// Requests at once that provision installations.
const PROVISIONING: usize = 32;
/// Longest time until events that match nothing are acknowledged.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(300);
/// Longest time until the ids of all stored events are read.
const IDS_READ_MAX: Duration = Duration::from_secs(900);
/// Longest time until a router is ready.
const START_MAX: Duration = Duration::from_secs(60);

/// Everything that a scenario runs with.
pub(crate) struct Rig {
    server: ManagedServer,
    _folder: TempDir,
    router: Child,
    api: ApiClient,
    /// Separate processes: those of the culprit may be busy.
    healthy: handlers::Process,
    others: handlers::Process,
    http: Client<HttpConnector, Full<Bytes>>,
    context: jetstream::Context,
}

impl Rig {
    /// Starts all processes and provisions the installations.
    pub(crate) async fn start(culprit: &Culprit) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = folder.path().join("broker");
        let server = ManagedServer::start(&broker, &binaries(), FILE_BYTES_MAX).await?;
        let (router, base) = start_router(&server, folder.path(), culprit).await?;
        let seed = std::fs::read_to_string(server.credentials_file())?;
        let client = ConnectOptions::with_nkey(seed).connect(server.url()).await?;
        let context = jetstream::new(client);
        let rig = Self {
            server,
            router,
            api: ApiClient::at(&base, ADMIN_TOKEN)?,
            healthy: handlers::Process::start().await?,
            others: handlers::Process::start().await?,
            http: Client::builder(TokioExecutor::new()).build_http(),
            context,
            _folder: folder,
        };
        rig.until_ready().await?;
        rig.provision(culprit).await?;
        Ok(rig)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.router.kill().await?;
        self.healthy.stop().await?;
        self.others.stop().await?;
        self.server.stop().await;
        Ok(())
    }

    pub(crate) fn router_pid(&self) -> anyhow::Result<u32> {
        self.router.id().context("the router ended")
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let started = clock::tick();
        while self.api.send(Method::GET, "/healthz/ready", &[], &Value::Null).await.is_err() {
            ensure!(clock::since(started) < START_MAX, "the router is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn provision(&self, culprit: &Culprit) -> anyhow::Result<()> {
        for app in 0..HEALTHY_APPS {
            let filters = [culprit::ANY_ISSUE.to_owned()];
            let url = self.healthy.url(app, "/healthy");
            self.put_app(&format!("healthy-{app}"), &url, &filters).await?;
        }
        self.put_culprit_apps(culprit, &culprit.filters()).await?;
        let healthy = (0..load::INSTALLATIONS)
            .map(|one| (format!("healthy-{}", one % HEALTHY_APPS), one, load::site(one)));
        let culprits = (0..culprit.apps * culprit.installations_per_app)
            .map(|one| (format!("culprit-{}", one % culprit.apps), one, culprit::SITE.to_owned()));
        stream::iter(healthy.chain(culprits).map(Ok))
            .try_for_each_concurrent(PROVISIONING, async |(app, one, site): (String, _, _)| {
                let spec = json!({"app": app, "cloudId": site, "product": "jira"});
                let path = format!("/admin/v1/installations/{app}-{one}");
                self.api.send(Method::PUT, &path, &[], &spec).await.map(drop)
            })
            .await
    }

    /// Puts the apps of the culprit with these filters.
    pub(crate) async fn put_culprit_apps(
        &self,
        culprit: &Culprit,
        filters: &[String],
    ) -> anyhow::Result<()> {
        for app in 0..culprit.apps {
            let url = self.others.url(CULPRIT_HOST + app, culprit.path);
            self.put_app(&format!("culprit-{app}"), &url, filters).await?;
        }
        Ok(())
    }

    /// Waits until no event is in flight.
    pub(crate) async fn until_acknowledged(&self) -> anyhow::Result<()> {
        let started = clock::tick();
        let in_flight = async || {
            let account =
                self.api.send(Method::GET, "/admin/v1/account", &[], &Value::Null).await?;
            anyhow::Ok(account.get("inFlight").and_then(Value::as_u64).unwrap_or(u64::MAX))
        };
        while in_flight().await? > 0 {
            ensure!(clock::since(started) < ACKNOWLEDGED_MAX, "events are still in flight");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Waits until the router has read the ids of `events` events: it does so for what is published on the bus, at
    /// its leisure, and that is no part of what a culprit does.
    pub(crate) async fn until_ids_are_read(&self, events: u32) -> anyhow::Result<()> {
        let started = clock::tick();
        while self.metrics().await?.value("switchyard_repeat_events_read_total") < f64::from(events)
        {
            ensure!(
                clock::since(started) < IDS_READ_MAX,
                "ids of stored events are still being read"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Starts a replay of what an installation misses.
    pub(crate) async fn replay_missing(&self, installation: &str, rate: u64) -> anyhow::Result<()> {
        let body =
            json!({"installation": installation, "mode": "missing", "from": "1h", "rate": rate});
        self.api.send(Method::POST, "/admin/v1/replays", &[], &body).await.map(drop)
    }

    /// Tries a filter on all stored events of a site.
    pub(crate) async fn backtest(&self, site: &str, filter: &str) -> anyhow::Result<()> {
        let body = json!({"expression": filter, "site": site, "since": "1d",
            "maxEvents": 10_000_000, "maxSeconds": 600});
        let mut events = None;
        let path = "/admin/v1/filters:backtest";
        let each = |line: Value| {
            events = line.pointer("/backtest/read/events").and_then(Value::as_u64).or(events);
        };
        self.api.lines(path, Some(&body), each).await?;
        ensure!(events.is_some_and(|events| events > 0), "a backtest read no event");
        Ok(())
    }

    /// An app with triggers on the events of each site where it is installed.
    async fn put_app(&self, app: &str, url: &str, filters: &[String]) -> anyhow::Result<()> {
        let triggers = culprit::triggers(filters, EVENT_TYPE);
        let spec = json!({"kind": "forge", "endpoints": [{"key": "hook", "url": url}],
            "staticModules": {"trigger": triggers}});
        self.api.send(Method::PUT, &format!("/admin/v1/apps/{app}"), &[], &spec).await.map(drop)
    }

    /// Publishes an event of a site; completes once the broker has stored it.
    pub(crate) fn publish(
        &self,
        site: &str,
        id: &str,
        number: u64,
    ) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{site}/{id}").as_str());
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id);
        headers.insert("ce-type", EVENT_TYPE);
        headers.insert("ce-cloudid", site);
        headers.insert("ce-source", format!("ari:cloud:jira::site/{site}").as_str());
        let subject = format!("sw.in.{site}.{EVENT_TYPE}.-");
        let context = self.context.clone();
        async move {
            let sent_us = clock::now().as_microsecond();
            let body = format!(
                "{{\"eventType\":\"{EVENT_TYPE}\",{MARK}{number} {sent_us}\",\"issue\":{ISSUE}}}"
            );
            context.publish_with_headers(subject, headers, body.into()).await?.await?;
            Ok(())
        }
    }

    /// Sends a request to the process of the healthy handlers without a broker or a router; returns
    /// the time until its answer in microseconds. This is what the machine alone delays.
    pub(crate) fn direct(&self) -> impl Future<Output = anyhow::Result<u64>> + use<> {
        let (http, url) = (self.http.clone(), self.healthy.url(0, "/quick"));
        async move {
            let started = clock::tick();
            let request =
                Request::post(url).body(Full::new(Bytes::from_static(ISSUE.as_bytes())))?;
            http.request(request).await?.into_body().collect().await?;
            Ok(u64::try_from(clock::since(started).as_micros())?)
        }
    }

    /// The healthy events that arrived since the last call.
    pub(crate) async fn take_receipts(&self) -> anyhow::Result<String> {
        self.get(&self.healthy.url(0, "/receipts")).await
    }

    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics(self.get(&format!("{}/metrics", self.api.base())).await?))
    }

    /// What became of all deliveries of the scenario.
    pub(crate) async fn outcomes(&self) -> anyhow::Result<String> {
        let metrics = self.metrics().await?;
        let sum = |family: &str, label: &str| metrics.sum(family, label);
        Ok(format!(
            "{} attempts, {} timeouts, {} parkings, {} events postponed, {} dead letters, {} drops",
            sum("switchyard_delivery_attempts_total", ""),
            sum("switchyard_delivery_attempts_total", "class=\"timeout\""),
            sum("switchyard_parkings_total", ""),
            sum("switchyard_evaluations_postponed_total", ""),
            sum("switchyard_dlq_total", ""),
            sum("switchyard_policy_drops_total", ""),
        ))
    }

    async fn get(&self, url: &str) -> anyhow::Result<String> {
        let answer = self.http.get(url.parse()?).await?;
        ensure!(answer.status().is_success(), "{url}: {}", answer.status());
        Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?)
    }
}

/// What `/metrics` returns.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Value of one series, named with its labels; 0 if it does not exist.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// Sum of the series of a family that have a label.
    fn sum(&self, family: &str, label: &str) -> f64 {
        let series = self.0.lines().filter(|line| {
            line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        });
        series
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .fold(0.0, |sum, value| sum + value)
    }
}

/// The issue of every event.
const ISSUE: &str = r#"{"id":"10001","key":"OPS-1","fields":{"summary":"Printer on the third floor does not print","project":{"key":"OPS"},"issuetype":{"name":"Bug"},"priority":{"name":"High"}}}"#;

/// Starts the router; returns it with its base URL.
async fn start_router(
    server: &ManagedServer,
    folder: &Path,
    culprit: &Culprit,
) -> anyhow::Result<(Child, String)> {
    let mut router = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["serve", "--listen", "127.0.0.1:0", "--nats-url", server.url(), "--data-dir"])
        .arg(folder.join("router"))
        .env("SWITCHYARD_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("SWITCHYARD_NATS__CREDENTIALS_FILE", server.credentials_file())
        .env("SWITCHYARD_DELIVERY__ALLOW_HTTP", "true")
        .env("SWITCHYARD_DELIVERY__ALLOW_CIDRS", "127.0.0.0/8")
        .env("SWITCHYARD_DELIVERY__ALLOW_PORTS", "any")
        .env("SWITCHYARD_LOG__FILTER", "error")
        .envs(culprit.settings.iter().map(|(name, value)| (name, value)))
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
