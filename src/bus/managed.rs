//! The managed broker: starts a `nats-server` as a child process with its data in a folder.
//!
//! One router at a time owns the folder. If a router is killed, its server keeps running and the
//! next owner of the folder adopts it, so that messages in flight are not lost.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::clock;
use crate::domain::token;

/// Maximum message size; an event of 1 MiB with its headers fits.
const MAX_PAYLOAD: &str = "2MB";
/// How long the server may take to start or stop.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between two checks while the server starts or stops.
const PAUSE: Duration = Duration::from_millis(20);
/// Time limit for reading the server's INFO line.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// A running server. [`ManagedServer::stop`] stops it and waits; dropping it sends SIGTERM.
#[derive(Debug)]
pub struct ManagedServer {
    url: String,
    binary: PathBuf,
    pid: u32,
    /// `None` for an adopted server.
    child: Option<Child>,
    stopped: bool,
    name: String,
    /// Locks the folder against other routers.
    _lock: File,
}

/// Why the server cannot be started.
#[derive(Debug, Error)]
pub enum ManagedError {
    /// No `nats-server` executable was found.
    #[error(
        "no nats-server found. Either start one with JetStream and pass --nats-url, or install it on PATH or name it in NATS_SERVER, or run `make tools`, which puts one into .tools/nats"
    )]
    NotFound,
    /// The data folder cannot be used.
    #[error("data folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another router uses the folder.
    #[error("data folder {0} is in use by another switchyard")]
    InUse(PathBuf),
    /// The server did not start.
    #[error("{binary} does not start: {reason}; see {log}")]
    NotStarted {
        /// The executable.
        binary: PathBuf,
        /// The cause.
        reason: String,
        /// Its log file.
        log: PathBuf,
    },
}

/// The files of a server in the data folder.
struct DataFolder {
    path: PathBuf,
    name: String,
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
        let folder = DataFolder::open(data_dir)?;
        let lock = folder.lock()?;
        if let Some((pid, url)) = folder.running_server().await {
            tracing::info!(pid, %url, "adopted the nats-server of an earlier run");
            return Ok(Self::new(binary, pid, url, None, folder.name, lock));
        }
        folder.write_config(file_bytes_max).map_err(|source| folder.folder_error(source))?;
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(folder.file("nats-server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // In its own process group, so that an interrupt in the terminal does not stop it
            // before the router.
            .process_group(0)
            .spawn()
            .map_err(|error| folder.not_started(binary, error.to_string()))?;
        let started = clock::tick();
        loop {
            if let Some((pid, url)) = folder.running_server().await
                && Some(pid) == child.id()
            {
                tracing::info!(pid, %url, "started nats-server");
                return Ok(Self::new(binary, pid, url, Some(child), folder.name, lock));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(folder.not_started(binary, format!("it ended with {status}")));
            }
            if clock::since(started) >= TIMEOUT {
                let reason = format!("no answer within {} s", TIMEOUT.as_secs());
                // Otherwise a later run would adopt this server.
                let _killed = child.start_kill();
                return Err(folder.not_started(binary, reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn new(
        binary: &Path,
        pid: u32,
        url: String,
        child: Option<Child>,
        name: String,
        lock: File,
    ) -> Self {
        let binary = binary.to_owned();
        Self { url, binary, pid, child, stopped: false, name, _lock: lock }
    }

    /// Returns its address, `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
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
        self.stopped = true;
        self.send_sigterm();
        let stopped = async {
            if let Some(child) = self.child.as_mut() {
                return child.wait().await.map(drop);
            }
            while server_name(&self.url).await.as_deref() == Some(&*self.name) {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        if tokio::time::timeout(TIMEOUT, stopped).await.is_err() {
            tracing::warn!(
                pid = self.pid,
                "nats-server does not stop in time; its data stays usable"
            );
        }
    }

    /// Sends SIGTERM through the executable's `--signal`.
    fn send_sigterm(&self) {
        let result = std::process::Command::new(&self.binary)
            .arg("--signal")
            .arg(format!("term={}", self.pid))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Err(error) = result {
            tracing::warn!(pid = self.pid, %error, "cannot ask nats-server to stop");
        }
    }
}

impl Drop for ManagedServer {
    fn drop(&mut self) {
        if !self.stopped {
            self.send_sigterm();
        }
    }
}

impl DataFolder {
    fn open(data_dir: &Path) -> Result<Self, ManagedError> {
        let path = data_dir.join("nats");
        let open = || {
            std::fs::create_dir_all(&path)?;
            path.canonicalize()
        };
        match open() {
            Ok(path) => {
                let name = format!("switchyard-{}", token(&path.to_string_lossy()));
                Ok(Self { path, name })
            }
            Err(source) => Err(ManagedError::Folder { path, source }),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn folder_error(&self, source: io::Error) -> ManagedError {
        ManagedError::Folder { path: self.path.clone(), source }
    }

    fn not_started(&self, binary: &Path, reason: String) -> ManagedError {
        let log = self.file("nats-server.log");
        ManagedError::NotStarted { binary: binary.to_owned(), reason, log }
    }

    fn lock(&self) -> Result<File, ManagedError> {
        let file =
            File::create(self.file("owner.lock")).map_err(|source| self.folder_error(source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(ManagedError::InUse(self.path.clone())),
            Err(std::fs::TryLockError::Error(source)) => Err(self.folder_error(source)),
        }
    }

    fn write_config(&self, file_bytes_max: u64) -> io::Result<()> {
        let text = format!(
            "server_name: {name:?}\nhost: \"127.0.0.1\"\nport: -1\nmax_payload: {MAX_PAYLOAD}\n\
             pid_file: {pid:?}\nports_file_dir: {path:?}\nlog_file: {log:?}\nlog_size_limit: 10MB\n\
             jetstream {{ store_dir: {path:?}, max_file: {file_bytes_max} }}\n",
            name = self.name,
            path = self.path,
            pid = self.file("nats-server.pid"),
            log = self.file("nats-server.log"),
        );
        std::fs::write(self.file("nats-server.conf"), text)
    }

    /// Returns process id and URL of the server of this folder, if it runs and reports this
    /// folder's name.
    async fn running_server(&self) -> Option<(u32, String)> {
        let pid = std::fs::read_to_string(self.file("nats-server.pid")).ok()?;
        let pid: u32 = pid.trim().parse().ok()?;
        let ports = std::fs::read(self.file(&format!("nats-server_{pid}.ports"))).ok()?;
        let ports: Ports = serde_json::from_slice(&ports).ok()?;
        let url = ports.nats.into_iter().next()?;
        (server_name(&url).await? == self.name).then_some((pid, url))
    }
}

/// The ports file of the server.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// The INFO message of the server.
#[derive(Deserialize)]
struct ServerInfo {
    server_name: String,
}

/// Returns the name of the server at `url`; `None` without an answer.
async fn server_name(url: &str) -> Option<String> {
    let address = url.strip_prefix("nats://")?;
    let hello = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        serde_json::from_str(line.strip_prefix("INFO ")?).ok()
    };
    let greeting: ServerInfo = tokio::time::timeout(GREETING_TIMEOUT, hello).await.ok()??;
    Some(greeting.server_name)
}
