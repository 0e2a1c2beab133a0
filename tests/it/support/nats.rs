//! A real nats-server of the test's own: fresh folder, free port, killed by pid at the end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::eventually;

/// One server, gone with the value.
pub struct Nats {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Nats {
    /// Starts a server with JetStream and waits until it answers.
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (child, port) = launch(folder.path(), None).await;
        Self { child, folder, port }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The folder of this server, for files of the test beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client of its own for the test; it reconnects by itself.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(5))
            .connect(self.url())
            .await
            .expect("the server accepts clients")
    }

    /// SIGKILL, then the same server again: same port, same store.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().await.expect("the server can be killed");
        let (child, _) = launch(self.folder.path(), Some(self.port)).await;
        self.child = child;
    }
}

/// The pinned server, found as the router finds it.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return path.into();
    }
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats/bin/nats-server");
    assert!(pinned.exists(), "no nats-server at {}: run `make tools`", pinned.display());
    pinned
}

async fn launch(folder: &Path, port: Option<u16>) -> (Child, u16) {
    let config = folder.join("nats.conf");
    let store = folder.join("js");
    let port_line = port.map_or(-1, i32::from);
    let text = format!(
        "listen: \"127.0.0.1:{port_line}\"\nmax_payload: 2MB\n\
         jetstream {{ store_dir: \"{}\", max_mem: 256M, max_file: 16G }}\n",
        store.display()
    );
    std::fs::write(&config, text).expect("the config can be written");
    let child = Command::new(binary())
        .arg("-c")
        .arg(&config)
        .arg("--ports_file_dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nats-server starts; run `make tools`");
    let ports = folder.join(format!("nats-server_{}.ports", child.id().expect("it runs")));
    let port = eventually(Duration::from_secs(20), "nats-server listens", || async {
        let ports: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&ports).ok()?).ok()?;
        let url = ports["nats"][0].as_str()?.to_owned();
        let port: u16 = url.rsplit(':').next()?.parse().ok()?;
        let client = async_nats::connect(&url).await.ok()?;
        async_nats::jetstream::new(client).query_account().await.ok()?;
        Some(port)
    })
    .await;
    (child, port)
}
