//! The nats-server that the router manages when no broker is configured.

use std::path::PathBuf;

use switchyard::bus::{Connections, ManagedError, ManagedServer};
use switchyard::config::Config;

use crate::support::nats::binary;

const FILE_BYTES: u64 = 1 << 30;

async fn start(folder: &std::path::Path) -> Result<ManagedServer, ManagedError> {
    ManagedServer::start(folder, &[binary()], FILE_BYTES).await
}

async fn connect(server: &ManagedServer) -> Connections {
    let config = Config::defaults().unwrap().nats;
    Connections::open(&config, &[server.url().to_owned()]).await.unwrap()
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
    adopted.stop().await;
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
