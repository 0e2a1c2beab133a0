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
#[derive(Debug)]
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
            let binary = binary.clone();
            let (child, stopped) = (None, false);
            return Ok(Self {
                url,
                binary,
                pid,
                child,
                stopped,
                folder,
                file_bytes_max,
                _lock: lock,
            });
        }
        let (pid, url, child) = folder.launch(binary, ANY_PORT, file_bytes_max).await?;
        let (binary, child, stopped) = (binary.clone(), Some(child), false);
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
        let launched = self.folder.launch(&self.binary, port, self.file_bytes_max).await?;
        let (pid, _url, child) = launched;
        (self.pid, self.child, self.stopped) = (pid, Some(child), false);
        Ok(())
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
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.send_sigterm();
        let stopped = async {
            if let Some(child) = self.child.as_mut() {
                return child.wait().await.map(drop);
            }
            while server_name(&self.url).await.as_deref() == Some(&*self.folder.name) {
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

    /// Starts a server and waits until it answers; returns process id, URL and process.
    async fn launch(
        &self,
        binary: &Path,
        port: i32,
        file_bytes_max: u64,
    ) -> Result<(u32, String, Child), ManagedError> {
        self.write_config(port, file_bytes_max).map_err(|source| self.folder_error(source))?;
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(self.file("nats-server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // In its own process group, so that an interrupt in the terminal does not stop it
            // before the router.
            .process_group(0)
            .spawn()
            .map_err(|error| self.not_started(binary, error.to_string()))?;
        let started = clock::tick();
        loop {
            if let Some((pid, url)) = self.running_server().await
                && Some(pid) == child.id()
            {
                tracing::info!(pid, %url, "started nats-server");
                return Ok((pid, url, child));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.not_started(binary, format!("it ended with {status}")));
            }
            if clock::since(started) >= TIMEOUT {
                let reason = format!("no answer within {} s", TIMEOUT.as_secs());
                // Otherwise a later run would adopt this server.
                let _killed = child.start_kill();
                return Err(self.not_started(binary, reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn write_config(&self, port: i32, file_bytes_max: u64) -> io::Result<()> {
        let text = format!(
            "server_name: {name:?}\nhost: \"127.0.0.1\"\nport: {port}\nmax_payload: {MAX_PAYLOAD}\n\
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

/// Returns whether connections to `address` are refused.
async fn is_refused(address: &str) -> bool {
    let connecting = tokio::time::timeout(GREETING_TIMEOUT, TcpStream::connect(address)).await;
    matches!(connecting, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
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
