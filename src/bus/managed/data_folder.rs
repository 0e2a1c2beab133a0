//! The folder of a managed server: its configuration, its process id and ports, its data.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::{Child, Command};

use super::client_key::ClientKey;
use super::error::ManagedError;
use super::greeting::{ServerInfo, server_info};
use super::private_files::{close_file, private_folder, write_private};
use crate::clock;
use crate::config;
use crate::domain::token;

/// How long the server may take to start or stop.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between two checks while the server starts or stops.
const PAUSE: Duration = Duration::from_millis(20);
/// Maximum message size; an event of 1 MiB with its headers fits.
const MAX_PAYLOAD: &str = "2MB";
/// What a data folder has.
const DATA_FILES: &[&str] = &["nats", "secrets.key", "secrets.key.new"];
/// The configuration of the server, which names the public key of its clients.
const CONFIG: &str = "nats-server.conf";
/// The process id of the server.
const PID: &str = "nats-server.pid";
/// The log of the server.
const LOG: &str = "nats-server.log";

/// The files of a server in the data folder. Only the user of the process can read them.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    /// Name of the server, by which it is recognised.
    name: String,
    pub(super) key: ClientKey,
}

/// A server that runs in the folder.
#[derive(Debug)]
pub(super) struct RunningServer {
    pub(super) pid: u32,
    pub(super) url: String,
    /// Whether it was started with the key of this folder. A server of an earlier release asks for
    /// none.
    pub(super) asks_for_key: bool,
}

impl DataFolder {
    /// Creates the folder of the server below `data_dir`, or makes both private; returns it with the
    /// lock that excludes other routers.
    pub(super) fn open(data_dir: &Path) -> Result<(Self, File), ManagedError> {
        let inner = data_dir.join("nats");
        for (folder, own) in [(data_dir, Some(DATA_FILES)), (&inner, None)] {
            private_folder(folder, own)
                .map_err(|cause| ManagedError::Folder { path: folder.to_owned(), cause })?;
        }
        let failed = |cause| ManagedError::Folder { path: inner.clone(), cause };
        let path = inner.canonicalize().map_err(failed)?;
        let lock = lock(&path)?;
        // After the lock: two routers that start at once must not both generate a key.
        let key = ClientKey::of_folder(&path).map_err(failed)?;
        let name = format!("switchyard-{}", token(&path.to_string_lossy()));
        Ok((Self { path, name, key }, lock))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn ports_file(&self, pid: u32) -> PathBuf {
        self.file(&format!("nats-server_{pid}.ports"))
    }

    fn folder_error(&self, cause: io::Error) -> ManagedError {
        ManagedError::Folder { path: self.path.clone(), cause }
    }

    pub(super) fn not_started(&self, binary: &Path, reason: String) -> ManagedError {
        let log = self.file(LOG);
        ManagedError::NotStarted { binary: binary.to_owned(), reason, log }
    }

    /// Starts a server and waits until it answers.
    pub(super) async fn launch(
        &self,
        binary: &Path,
        port: i32,
        file_bytes_max: u64,
    ) -> Result<(RunningServer, Child), ManagedError> {
        self.write_config(port, file_bytes_max).map_err(|source| self.folder_error(source))?;
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(self.file(CONFIG))
            // Without the secrets of the router, such as its admin token.
            .env_clear()
            .envs(config::broker_environment())
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
            if let Some(server) = self.running_server().await
                && Some(server.pid) == child.id()
            {
                self.close_files(server.pid).map_err(|source| self.folder_error(source))?;
                tracing::info!(pid = server.pid, url = %server.url, "started nats-server");
                return Ok((server, child));
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

    /// Writes the configuration. It has no `http` port, so monitoring is off.
    fn write_config(&self, port: i32, file_bytes_max: u64) -> io::Result<()> {
        let text = format!(
            "server_name: {name:?}\nhost: \"127.0.0.1\"\nport: {port}\nmax_payload: {MAX_PAYLOAD}\n\
             pid_file: {pid:?}\nports_file_dir: {path:?}\nlog_file: {log:?}\nlog_size_limit: 10MB\n\
             jetstream {{ store_dir: {path:?}, max_file: {file_bytes_max} }}\n\
             authorization {{ users: [ {{ nkey: {public:?} }} ] }}\n",
            name = self.name,
            path = self.path,
            pid = self.file(PID),
            log = self.file(LOG),
            public = self.key.public,
        );
        write_private(&self.file(CONFIG), &text)
    }

    /// Makes the files private that the server creates with modes of its own.
    fn close_files(&self, pid: u32) -> io::Result<()> {
        [self.file(PID), self.ports_file(pid), self.file(LOG)]
            .iter()
            .try_for_each(|file| close_file(file))
    }

    /// Returns the server of this folder, if it runs and reports this folder's name.
    pub(super) async fn running_server(&self) -> Option<RunningServer> {
        let pid = std::fs::read_to_string(self.file(PID)).ok()?;
        let pid: u32 = pid.trim().parse().ok()?;
        let ports = std::fs::read(self.ports_file(pid)).ok()?;
        let ports: Ports = serde_json::from_slice(&ports).ok()?;
        let url = ports.nats.into_iter().next()?;
        let ServerInfo { server_name, auth_required } = server_info(&url).await?;
        let asks_for_key = auth_required && self.is_configured_with_key();
        (server_name == self.name).then_some(RunningServer { pid, url, asks_for_key })
    }

    /// Whether the configuration, which was written before the server started, has the key.
    fn is_configured_with_key(&self) -> bool {
        let text = std::fs::read_to_string(self.file(CONFIG));
        text.is_ok_and(|text| text.contains(&self.key.public))
    }

    /// Waits until the server at `url` has ended; `false` if it did not within the time.
    pub(super) async fn until_stopped(&self, url: &str, time: Duration) -> bool {
        let ended = async {
            while server_info(url).await.is_some_and(|info| info.server_name == self.name) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(time, ended).await.is_ok()
    }
}

fn lock(folder: &Path) -> Result<File, ManagedError> {
    let failed = |cause| ManagedError::Folder { path: folder.to_owned(), cause };
    let file = File::create(folder.join("owner.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ManagedError::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The ports file of the server.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}
