//! The managed broker: starts a `nats-server` as a child process with its data in a folder.
//!
//! One router at a time owns the folder. If a router is killed, its server keeps running and the
//! next owner of the folder adopts it, so that messages in flight are not lost.
//!
//! Clients authenticate with a key pair that is generated in the folder ([`ManagedServer::client_config`]).
//! The server listens on loopback only, has no monitoring port and none of the environment of the
//! router.

mod client_key;
mod data_folder;
mod error;
mod greeting;
mod private_files;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;

use crate::config::{self, NatsConfig};
use data_folder::{DataFolder, RunningServer, TIMEOUT};
use greeting::is_refused;

pub use client_key::new_client_key;
pub use error::ManagedError;
pub use private_files::write_private;

/// Interval of the checks whether an adopted server still runs.
const ADOPTED_INTERVAL: Duration = Duration::from_millis(500);
/// The port that makes the server take any free one.
const ANY_PORT: i32 = -1;

/// A running server. [`ManagedServer::stop`] stops it and waits; dropping it sends SIGTERM.
#[derive(Debug)]
pub struct ManagedServer {
    url: String,
    binary: PathBuf,
    pid: u32,
    /// `None` for an adopted server.
    child: Option<Child>,
    stopped: bool,
    folder: DataFolder,
    file_bytes_max: u64,
    /// Locks the folder against other routers.
    _lock: File,
}

impl ManagedServer {
    /// Starts a server with its data in `data_dir`, or adopts the one that a killed router left.
    /// `candidates` are the possible paths of the executable, best first; `file_bytes_max` limits
    /// its streams on disk.
    ///
    /// # Errors
    /// See [`ManagedError`].
    pub async fn start(
        data_dir: &Path,
        candidates: &[PathBuf],
        file_bytes_max: u64,
    ) -> Result<Self, ManagedError> {
        let binary = candidates.iter().find(|path| path.is_file()).ok_or(ManagedError::NotFound)?;
        let (folder, lock) = DataFolder::open(data_dir)?;
        let (RunningServer { pid, url, .. }, child) = match folder.running_server().await {
            Some(server) if server.asks_for_key => {
                let (pid, url) = (server.pid, &server.url);
                tracing::info!(pid, %url, "adopted the nats-server of an earlier run");
                (server, None)
            }
            other => {
                if let Some(server) = other {
                    replace(&folder, binary, &server).await?;
                }
                let (server, child) = folder.launch(binary, ANY_PORT, file_bytes_max).await?;
                (server, Some(child))
            }
        };
        let (binary, stopped) = (binary.clone(), false);
        Ok(Self { url, binary, pid, child, stopped, folder, file_bytes_max, _lock: lock })
    }

    /// Waits until the server has ended, which only its death causes.
    pub async fn until_ended(&mut self) {
        if self.stopped {
            return;
        }
        if let Some(child) = self.child.as_mut() {
            let _status = child.wait().await;
        } else {
            // The system notifies only parents. A frozen server still accepts connections.
            let address = self.url.trim_start_matches("nats://").to_owned();
            while !is_refused(&address).await {
                tokio::time::sleep(ADOPTED_INTERVAL).await;
            }
        }
        self.stopped = true;
    }

    /// Starts the server again, with the same data and address.
    ///
    /// # Errors
    /// See [`ManagedError`]; the server counts as ended then.
    pub async fn restart(&mut self) -> Result<(), ManagedError> {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or(ANY_PORT);
        let (server, child) = self.folder.launch(&self.binary, port, self.file_bytes_max).await?;
        (self.pid, self.child, self.stopped) = (server.pid, Some(child), false);
        Ok(())
    }

    /// Returns its address, `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the file with the seed of the key pair of its clients (`nats --nkey FILE`), mode
    /// 0600.
    #[must_use]
    pub fn credentials_file(&self) -> &Path {
        &self.folder.key.file
    }

    /// Returns `base` with the address and the credentials of this server.
    #[must_use]
    pub fn client_config(&self, base: &NatsConfig) -> NatsConfig {
        NatsConfig {
            url: vec![self.url.clone()],
            credentials_file: self.credentials_file().display().to_string(),
            ca_file: String::new(),
            ..base.clone()
        }
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Keeps it running for the next owner of the folder.
    pub fn abandon(mut self) {
        self.stopped = true;
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(mut self) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        send_sigterm(&self.binary, self.pid);
        let has_stopped = match self.child.as_mut() {
            Some(child) => tokio::time::timeout(TIMEOUT, child.wait()).await.is_ok(),
            None => self.folder.until_stopped(&self.url, TIMEOUT).await,
        };
        if !has_stopped {
            tracing::warn!(
                pid = self.pid,
                "nats-server does not stop in time; its data stays usable"
            );
        }
    }
}

impl Drop for ManagedServer {
    fn drop(&mut self) {
        if !self.stopped {
            send_sigterm(&self.binary, self.pid);
        }
    }
}

/// Stops a server that accepts clients without the key of the folder: one of an earlier release, or
/// one whose key file was deleted.
async fn replace(
    folder: &DataFolder,
    binary: &Path,
    server: &RunningServer,
) -> Result<(), ManagedError> {
    tracing::warn!(
        pid = server.pid,
        "the nats-server of an earlier run has other credentials; replacing it"
    );
    send_sigterm(binary, server.pid);
    if folder.until_stopped(&server.url, TIMEOUT).await {
        return Ok(());
    }
    let reason = format!("the server with process id {} does not stop; end it first", server.pid);
    Err(folder.not_started(binary, reason))
}

/// Sends SIGTERM through the executable's `--signal`.
fn send_sigterm(binary: &Path, pid: u32) {
    let result = std::process::Command::new(binary)
        .arg("--signal")
        .arg(format!("term={pid}"))
        .env_clear()
        .envs(config::broker_environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = result {
        tracing::warn!(pid, %error, "cannot ask nats-server to stop");
    }
}
