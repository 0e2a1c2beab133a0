//! A `nats-server` for one test, on a free port with an empty folder; stopped with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use tempfile::TempDir;
use tokio::time::sleep;

use super::WAIT_MAX;

const POLL: Duration = Duration::from_millis(10);

/// A running server. Dropping it kills it and deletes its data.
pub(crate) struct NatsServer {
    child: Child,
    port: u16,
    folder: TempDir,
    /// Maximum message size, as the configuration of the server spells it.
    max_payload: &'static str,
}

impl NatsServer {
    /// Starts a server and waits until JetStream answers.
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder")).await
    }

    /// Starts a server with its data in `folder`.
    pub(crate) async fn start_in(folder: TempDir) -> Self {
        Self::launch(folder, "2MB").await
    }

    /// Starts a server that accepts messages of up to `max_payload`.
    pub(crate) async fn accepting(max_payload: &'static str) -> Self {
        Self::launch(tempfile::tempdir().expect("a temporary folder"), max_payload).await
    }

    async fn launch(folder: TempDir, max_payload: &'static str) -> Self {
        let child = spawn(folder.path(), -1, max_payload);
        let port = read_port(folder.path(), child.id()).await;
        let mut server = Self { child, port, folder, max_payload };
        server.until_answering().await;
        server
    }

    /// Address of the server.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The folder of this server; tests store their files there, too.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new connection that reconnects by itself.
    pub(crate) async fn client(&self) -> async_nats::Client {
        async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(5))
            .connect(self.url())
            .await
            .expect("a connection")
    }

    /// A JetStream context on a new connection, which waits for a busy broker.
    pub(crate) async fn context(&self) -> jetstream::Context {
        super::jetstream(self.client().await)
    }

    /// A JetStream context with the timeout that routers have.
    pub(crate) async fn router_context(&self) -> jetstream::Context {
        let timeout = Duration::from_secs(2);
        jetstream::context::ContextBuilder::new().timeout(timeout).build(self.client().await)
    }

    /// Kills the server as a power cut does, and starts it on the same data and port.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path(), i32::from(self.port), self.max_payload);
        self.until_answering().await;
    }

    /// As [`NatsServer::kill_and_restart`], but the index of each stream is lost, too: the server
    /// reads all files again, as it does when the index is older than they are.
    pub(crate) async fn kill_and_lose_index(&mut self) {
        self.kill();
        remove_indexes(&self.folder.path().join("js"));
        self.child = spawn(self.folder.path(), i32::from(self.port), self.max_payload);
        self.until_answering().await;
    }

    /// Copies the data as they are now, which is what a power cut may leave.
    pub(crate) fn copy_of_data(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        self.freeze();
        copy_all(&self.folder.path().join("js"), copy.path());
        self.thaw();
        copy
    }

    /// Kills the server and starts it on other data, on the same port.
    pub(crate) async fn restart_on(&mut self, data: &TempDir) {
        self.kill();
        let own = self.folder.path().join("js");
        std::fs::remove_dir_all(&own).expect("the data can be removed");
        copy_all(data.path(), &own);
        self.child = spawn(self.folder.path(), i32::from(self.port), self.max_payload);
        self.until_answering().await;
    }

    /// Sends SIGKILL and waits for the exit.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Suspends the server (SIGSTOP): connections stay open, and no request is answered.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Resumes a frozen server (SIGCONT).
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Waits until JetStream answers. A server that ended is started again: a connection of another test
    /// may use its port for a moment.
    async fn until_answering(&mut self) {
        let deadline = now() + WAIT_MAX;
        let context = loop {
            if self.child.try_wait().is_ok_and(|end| end.is_some()) {
                self.child = spawn(self.folder.path(), i32::from(self.port), self.max_payload);
            }
            let connected = async_nats::connect(self.url()).await;
            match connected {
                Ok(client) => break jetstream::new(client),
                Err(error) => assert!(now() < deadline, "nats-server does not answer: {error}"),
            }
            sleep(POLL).await;
        };
        while let Err(error) = context.query_account().await {
            assert!(now() < deadline, "JetStream does not answer: {error}");
            sleep(POLL).await;
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Removes every `index.db` below a folder.
fn remove_indexes(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"))
    {
        let path = entry.path();
        if path.is_dir() {
            remove_indexes(&path);
        } else if path.ends_with("index.db") {
            std::fs::remove_file(&path).expect("a file can be removed");
        }
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_all(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("a file can be copied");
        }
    }
}

/// The server of `NATS_SERVER`, or the pinned one that `make tools` installs.
pub(crate) fn binary() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let named = std::env::var("NATS_SERVER").ok().map(PathBuf::from);
    let pinned = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats/bin/nats-server");
    let path = named.unwrap_or_else(pinned);
    assert!(path.exists(), "no nats-server at {}: run `make tools`", path.display());
    path
}

fn spawn(folder: &Path, port: i32, max_payload: &str) -> Child {
    let config = folder.join("nats.conf");
    let text = format!(
        "server_name: solo\nmax_payload: {max_payload}\n\
         jetstream {{ store_dir: \"{}\", max_mem: 1G, max_file: 16G }}\n",
        folder.join("js").display()
    );
    std::fs::write(&config, text).expect("a configuration file");
    Command::new(binary())
        .arg("-c")
        .arg(&config)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--ports_file_dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts")
}

/// Reads the port of the server, which writes `{"nats": ["nats://127.0.0.1:<port>"]}`.
pub(crate) async fn read_port(folder: &Path, pid: u32) -> u16 {
    let path = folder.join(format!("nats-server_{pid}.ports"));
    let deadline = now() + WAIT_MAX;
    loop {
        if let Some(port) = std::fs::read_to_string(&path).ok().and_then(|text| port_in(&text)) {
            return port;
        }
        assert!(now() < deadline, "nats-server wrote no ports file at {}", path.display());
        sleep(POLL).await;
    }
}

fn port_in(text: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(text).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn now() -> Instant {
    switchyard::clock::tick()
}
