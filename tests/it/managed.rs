//! The nats-server that the router manages when no broker is configured.

use std::fs::{Permissions, metadata, read_to_string, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use async_nats::ConnectErrorKind;
use switchyard::bus::{Connections, ManagedError, ManagedServer};
use switchyard::config::Config;

use crate::support::nats::binary;
use crate::support::{ADMIN_TOKEN, Setup, WAIT_MAX, eventually};

const FILE_BYTES: u64 = 1 << 30;

async fn start(folder: &Path) -> Result<ManagedServer, ManagedError> {
    ManagedServer::start(folder, &[binary()], FILE_BYTES).await
}

async fn connect(server: &ManagedServer) -> Connections {
    let config = server.client_config(&Config::defaults().unwrap().nats);
    Connections::open(&config, &config.url).await.unwrap()
}

#[tokio::test]
async fn server_starts_serves_jetstream_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await.unwrap();
    let connections = connect(&server).await;
    assert!(connections.control.client.server_info().max_payload >= 2_000_000);
    let url = server.url().to_owned();
    server.stop().await;
    let address = url.trim_start_matches("nats://").to_owned();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is still open");
}

#[tokio::test]
async fn data_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await.unwrap();
    let bucket = async_nats::jetstream::kv::Config { bucket: "B".into(), ..Default::default() };
    let store = connect(&server).await.control.context.create_key_value(bucket).await.unwrap();
    store.put("k", "v".into()).await.unwrap();
    server.stop().await;
    let server = start(folder.path()).await.unwrap();
    let store = connect(&server).await.control.context.get_key_value("B").await.unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap(), "v");
    server.stop().await;
}

#[tokio::test]
async fn running_server_of_a_killed_router_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await.unwrap();
    let pid = server.pid();
    // What SIGKILL leaves: no destructor runs, and the system takes the lock back.
    server.abandon();
    let adopted = start(folder.path()).await.unwrap();
    assert_eq!(adopted.pid(), pid);
    connect(&adopted).await;
    assert_closed(&adopted).await;
    adopted.stop().await;
}

/// Asserts that the server accepts no client without its credentials.
async fn assert_closed(server: &ManagedServer) {
    let other = nkeys::KeyPair::new_user().seed().unwrap();
    for options in [async_nats::ConnectOptions::new(), async_nats::ConnectOptions::with_nkey(other)]
    {
        let error = options.connect(server.url()).await.expect_err("no credentials");
        assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation, "{error}");
    }
}

fn mode(path: &Path) -> u32 {
    metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o7777
}

#[tokio::test]
async fn only_the_user_of_the_process_reaches_server_and_files() {
    let folder = tempfile::tempdir().unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let server = start(folder.path()).await.unwrap();
    assert_closed(&server).await;
    let nats = folder.path().join("nats");
    assert_eq!((mode(folder.path()), mode(&nats)), (0o700, 0o700));
    let ports = nats.join(format!("nats-server_{}.ports", server.pid()));
    for file in ["client.nk", "nats-server.conf", "nats-server.pid", "nats-server.log"] {
        assert_eq!(mode(&nats.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&ports), 0o600);
    let ports: serde_json::Value = serde_json::from_str(&read_to_string(&ports).unwrap()).unwrap();
    assert!(ports.get("monitoring").is_none(), "the monitoring port is off: {ports}");
    let seed = read_to_string(server.credentials_file()).unwrap();
    assert!(!read_to_string(nats.join("nats-server.conf")).unwrap().contains(&seed));
    server.stop().await;
}

#[tokio::test]
async fn folder_that_others_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let error = start(folder.path()).await.unwrap_err().to_string();
    assert!(
        error.contains("other users may write to it") && error.contains("chmod 700"),
        "{error}"
    );
}

/// A server that an earlier release started on the folder asks for no credentials.
#[tokio::test]
async fn running_server_without_these_credentials_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path()).await.unwrap().stop().await;
    let config = folder.path().join("nats/nats-server.conf");
    let text = read_to_string(&config).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("authorization")).collect();
    assert_eq!(without.len() + 1, text.lines().count());
    std::fs::write(&config, without.join("\n")).unwrap();
    let pid_file = folder.path().join("nats/nats-server.pid");
    let _ = std::fs::remove_file(&pid_file);
    let mut old = Command::new(binary())
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ports = folder.path().join(format!("nats/nats-server_{}.ports", old.id()));
    eventually(WAIT_MAX, "the server of before runs", || async {
        (pid_file.exists() && ports.exists()).then_some(())
    })
    .await;
    let server = start(folder.path()).await.unwrap();
    assert_ne!(server.pid(), old.id());
    assert!(old.wait().unwrap().success(), "it was stopped in order");
    connect(&server).await;
    assert_closed(&server).await;
    // A key file that was deleted: the running server knows the old key only.
    let pid = server.pid();
    std::fs::remove_file(server.credentials_file()).unwrap();
    server.abandon();
    let server = start(folder.path()).await.unwrap();
    assert_ne!(server.pid(), pid);
    connect(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn router_names_the_credentials_and_its_server_gets_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut router = Setup::new("", folder.path().into()).start().await;
    let nats = router.stdout.next_line().await.unwrap().unwrap();
    let credentials = router.stdout.next_line().await.unwrap().unwrap();
    let url = nats.strip_prefix("nats ").expect("the second line");
    let file = credentials.strip_prefix("nats-credentials ").expect("the third line");
    let seed = read_to_string(file).unwrap();
    async_nats::ConnectOptions::with_nkey(seed).connect(url).await.expect("accepted");
    let pid = read_to_string(folder.path().join("nats/nats-server.pid")).unwrap();
    let environment = read_to_string(format!("/proc/{}/environ", pid.trim())).unwrap();
    assert!(environment.contains("PATH="), "{environment}");
    for secret in [ADMIN_TOKEN, "SWITCHYARD_"] {
        assert!(!environment.contains(secret), "{environment}");
    }
    assert!(router.terminate().await);
}

#[tokio::test]
async fn folder_belongs_to_one_router_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await.unwrap();
    assert!(matches!(start(folder.path()).await, Err(ManagedError::InUse(_))));
    server.stop().await;
}

#[tokio::test]
async fn missing_program_yields_an_error_with_three_ways_to_install_it() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = [PathBuf::from("/nowhere/nats-server")];
    let error = ManagedServer::start(folder.path(), &nowhere, FILE_BYTES).await.unwrap_err();
    let text = error.to_string();
    for way in ["--nats-url", "NATS_SERVER", "make tools"] {
        assert!(text.contains(way), "{text}");
    }
}

#[tokio::test]
async fn server_that_exits_at_once_is_reported_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let error = ManagedServer::start(folder.path(), &[PathBuf::from("/bin/false")], FILE_BYTES)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nats-server.log"), "{error}");
}
