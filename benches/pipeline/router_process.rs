//! A router process on a broker of the bench, ready and with a client of its API.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::Method;
use serde_json::Value;
use switchyard::bus::ManagedServer;
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Its admin token.
pub(crate) const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
/// Longest time until it is ready.
const START_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A router process, which ends with it.
pub(crate) struct RouterProcess {
    pub(crate) process: Child,
    /// Host and port.
    pub(crate) address: String,
    pub(crate) api: ApiClient,
}

impl RouterProcess {
    /// Starts a router with its data in `folder` and `settings` from the environment; returns when it is ready.
    pub(crate) async fn start(
        server: &ManagedServer,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["serve", "--listen", "127.0.0.1:0", "--nats-url", server.url(), "--data-dir"])
            .arg(folder)
            .env("SWITCHYARD_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("SWITCHYARD_NATS__CREDENTIALS_FILE", server.credentials_file())
            .env("SWITCHYARD_LOG__FILTER", "error")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("the router has no output")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let first = first.context("the router ended")?;
        let base = first.strip_prefix("listening on ").context("no address")?;
        let address = base.strip_prefix("http://").context("no address")?.to_owned();
        let api = ApiClient::at(base, ADMIN_TOKEN)?;
        let started = clock::tick();
        while api.send(Method::GET, "/healthz/ready", &[], &Value::Null).await.is_err() {
            ensure!(clock::since(started) < START_MAX, "the router is not ready");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Self { process, address, api })
    }
}
