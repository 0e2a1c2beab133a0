//! A handler on loopback that reads every request and answers 204. It is a separate process, so that
//! its processor time is not counted as the router's.

use std::io::Write;
use std::process::Stdio;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::serve::ListenerExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use url::Url;

/// The argument that makes this program the handler.
pub(crate) const FLAG: &str = "--sink";

/// A running handler.
pub(crate) struct Process {
    child: Child,
    base: Url,
}

impl Process {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(FLAG)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("the sink has no output")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let base = first.context("the sink ended")?.parse()?;
        Ok(Self { child, base })
    }

    pub(crate) fn url(&self, path: &str) -> Result<Url, url::ParseError> {
        self.base.join(path)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Serves until the process is killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let app = Router::new().fallback(async |_body: Bytes| StatusCode::NO_CONTENT);
        Ok(axum::serve(listener, app).await?)
    })
}
