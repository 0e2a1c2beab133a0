//! The `switchyard` program as a separate process that tests start, kill and restart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{WAIT_MAX, eventually};

/// Operator token of every router under test.
pub(crate) const ADMIN_TOKEN: &str = "test-admin-token-0123456789abcdef";

/// Settings of a router process.
pub(crate) struct Setup {
    /// URL of the broker; empty = the router manages its own.
    pub(crate) nats_url: String,
    pub(crate) data_dir: PathBuf,
    /// Port to listen on; 0 at first, then the one assigned, so that a restart keeps it.
    pub(crate) port: u16,
    /// `SWITCHYARD_*` variables in addition to those that allow handlers on loopback.
    pub(crate) variables: Vec<(String, String)>,
    /// Limit of descriptors, soft and hard.
    pub(crate) descriptors_max: Option<u32>,
    /// File for the log; without it the log goes to that of the test.
    pub(crate) log: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn new(nats_url: &str, data_dir: PathBuf) -> Self {
        Self {
            nats_url: nats_url.to_owned(),
            data_dir,
            port: 0,
            variables: Vec::new(),
            descriptors_max: None,
            log: None,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The program, under its limit of descriptors.
    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_switchyard");
        let Some(limit) = self.descriptors_max else { return Command::new(program) };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), program]);
        shell
    }

    fn log_output(&self) -> Stdio {
        let open = |path| std::fs::File::create(path).expect("a log file").into();
        self.log.as_ref().map_or_else(Stdio::inherit, open)
    }

    /// Starts the program and waits until it is ready.
    pub(crate) async fn start(&mut self) -> RouterProcess {
        // A restart uses the port of before, which a connection of another test may use for a moment.
        let (child, stdout, address) =
            eventually(WAIT_MAX, "the router prints its address", || async {
                let started = self.start_once().await;
                assert!(
                    started.is_some() || self.port != 0,
                    "the router ends before it prints its address"
                );
                started
            })
            .await;
        self.port = address.port();
        let api = ApiClient::at(&format!("http://{address}"), ADMIN_TOKEN).expect("a client");
        let router = RouterProcess { child, api, stdout };
        router.until_ready().await;
        router
    }

    /// Starts the program; none if it ends before it prints its address.
    async fn start_once(&self) -> Option<(Child, Lines<BufReader<ChildStdout>>, SocketAddr)> {
        let mut command = self.program();
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        if self.nats_url.is_empty() {
            command.env("NATS_SERVER", super::nats::binary());
        } else {
            command.args(["--nats-url", &self.nats_url]);
        }
        let mut child = command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env("SWITCHYARD_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("SWITCHYARD_DELIVERY__ALLOW_HTTP", "true")
            .env("SWITCHYARD_DELIVERY__ALLOW_CIDRS", "127.0.0.0/8,::1/128")
            .env("SWITCHYARD_DELIVERY__ALLOW_PORTS", "any")
            .env("SWITCHYARD_LOG__FILTER", "warn")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(self.log_output())
            .kill_on_drop(true)
            .spawn()
            .expect("the switchyard binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await.expect("stdout can be read")?;
        let address = first
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("first line was {first:?}"));
        Some((child, lines, address.parse().expect("an address")))
    }
}

/// A running router.
pub(crate) struct RouterProcess {
    child: Child,
    pub(crate) api: ApiClient,
    /// Its output after the first line. Open, since the program ends when it writes to a closed pipe.
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
}

impl RouterProcess {
    async fn until_ready(&self) {
        eventually(WAIT_MAX, "the router is ready", || async {
            self.get("/healthz/ready").await.is_ok().then_some(())
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.api.send(Method::GET, path, &[], &Value::Null).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        self.api.send(Method::PUT, path, &[], &body).await.expect("PUT is accepted")
    }

    /// What `/healthz/ready` names as failing; empty if the router is ready.
    pub(crate) async fn failing(&self) -> Vec<String> {
        let (status, text) = self.get_text("/healthz/ready").await;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let failing = answer["failing"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(status == 200, failing.is_empty(), "{status} {answer}");
        failing.iter().map(|one| one.as_str().expect("a text").to_owned()).collect()
    }

    async fn get_text(&self, path: &str) -> (u16, String) {
        let address = format!("{}{path}", self.api.base()).parse().expect("an address");
        let pool = Pool::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = pool.get(address).await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.expect("a text").to_bytes();
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    /// Value of one series of `/metrics`, named with its labels; 0 if it does not exist.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get_text("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Resident memory of the process, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let id = self.child.id().expect("the router runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).expect("a size");
        kib.parse::<u64>().expect("a number") * 1024
    }

    /// Sends SIGKILL and waits for the exit.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("the router can be killed");
    }

    /// Sends a signal, such as `STOP` or `CONT`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the router runs");
        let status = Command::new("kill").args(["-s", name, &id.to_string()]).status().await;
        assert!(status.expect("kill runs").success());
    }

    /// Sends SIGTERM and waits for the exit; returns whether it exited with success.
    pub(crate) async fn terminate(mut self) -> bool {
        let id = self.child.id().expect("the router runs");
        let status = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
        assert!(status.expect("kill runs").success());
        let ended = tokio::time::timeout(WAIT_MAX, self.child.wait()).await;
        ended.expect("the router ends after SIGTERM").expect("wait works").success()
    }

    /// Provisions a Forge app with one endpoint `hook` at `handler` and one enabled installation on
    /// `site`; returns a client with the installation's token.
    pub(crate) async fn provision(
        &self,
        app: &str,
        installation: &str,
        site: &str,
        handler: &str,
    ) -> ApiClient {
        self.put(
            &format!("/admin/v1/apps/{app}"),
            json!({ "kind": "forge", "functions": ["main"],
                "endpoints": [{ "key": "hook", "url": handler, "secret": super::SECRET }] }),
        )
        .await;
        let answer = self
            .put(
                &format!("/admin/v1/installations/{installation}"),
                json!({ "app": app, "cloudId": site, "product": "jira", "licensed": true,
                    "environment": "PRODUCTION", "state": "enabled" }),
            )
            .await;
        self.api.with_token(answer["token"].as_str().expect("a token on creation"))
    }
}

/// Registers a trigger through the Forge API; returns its key.
pub(crate) async fn register(app: &ApiClient, data: Value) -> String {
    let body = json!({ "type": "trigger", "data": data });
    let answer = app
        .send(Method::POST, "/forge/installation/v2/dynamic/module", &[], &body)
        .await
        .expect("the trigger is accepted");
    answer["key"].as_str().expect("a key").to_owned()
}
