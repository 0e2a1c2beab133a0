//! TLS of the listener: certificates from files, replaced while the router runs. The keys in `tests/data/tls` protect
//! nothing: they were made for this test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::raw::{RawConnection, exchange, status};
use crate::support::{NatsServer, WAIT_MAX, eventually};

/// Replaces the certificate and the key of a router by those of this name.
fn install(folder: &Path, name: &str) {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    for ending in ["crt", "key"] {
        let from = data.join(format!("{name}.{ending}"));
        std::fs::copy(from, folder.join(format!("router.{ending}"))).expect("copied");
    }
}

fn certificate(name: &str) -> CertificateDer<'static> {
    let file = format!("{}/tests/data/tls/{name}.crt", env!("CARGO_MANIFEST_DIR"));
    CertificateDer::from_pem_file(file).expect("a certificate")
}

async fn connect(address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for name in ["first", "second"] {
        roots.add(certificate(name)).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// Sends a request and returns the status of the response; the connection stays open.
async fn ask(connection: &mut TlsStream<TcpStream>) -> u16 {
    let request = b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.write_all(request).await.expect("sent");
    let mut response = [0; 4096];
    let bytes = connection.read(&mut response).await.expect("a response");
    status(&String::from_utf8_lossy(&response[..bytes]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_replaced_while_the_router_runs() {
    let nats = NatsServer::start().await;
    let folder = nats.folder();
    install(folder, "first");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let metrics = free.local_addr().expect("an address");
    drop(free);
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        // Beyond loopback, which TLS allows.
        .args(["serve", "--nats-url", &nats.url(), "--listen", "0.0.0.0:0"])
        .current_dir(folder)
        .env("SWITCHYARD_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef")
        .env("SWITCHYARD_SERVER__TLS_CERT_FILE", folder.join("router.crt"))
        .env("SWITCHYARD_SERVER__TLS_KEY_FILE", folder.join("router.key"))
        .env("SWITCHYARD_SERVER__HEADER_TIMEOUT_MS", "2000")
        .env("SWITCHYARD_METRICS__LISTEN", metrics.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the switchyard binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let first = lines.next_line().await.expect("stdout can be read").expect("a line");
    let address = first.strip_prefix("listening on https://0.0.0.0:").expect("its address");
    let port: u16 = address.parse().expect("a port");
    let address = SocketAddr::from(([127, 0, 0, 1], port));

    let mut old = connect(address).await.expect("a connection");
    assert_eq!(ask(&mut old).await, 200);
    let shown = |connection: &TlsStream<TcpStream>| {
        connection.get_ref().1.peer_certificates().expect("a certificate")[0].clone()
    };
    assert_eq!(shown(&old), certificate("first"));
    // Neither plain text nor an unfinished handshake is served.
    let mut silent = RawConnection::open(port).await;
    assert!(!exchange(port, "GET /healthz/live HTTP/1.1", "").await.contains("200 OK"));
    assert_eq!(silent.until_closed().await, "");

    std::fs::write(folder.join("router.crt"), "not a certificate").expect("written");
    let loads = async |result: &str| {
        let text = exchange(metrics.port(), "GET /metrics HTTP/1.1", "").await;
        text.contains(&format!(
            "switchyard_listener_certificate_loads_total{{result=\"{result}\"}}"
        ))
    };
    eventually(WAIT_MAX, "the useless file is reported", || async {
        loads("failed").await.then_some(())
    })
    .await;
    assert_eq!(shown(&connect(address).await.expect("a connection")), certificate("first"));

    install(folder, "second");
    eventually(WAIT_MAX, "new connections get the new certificate", || async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let connection = connect(address).await.ok()?;
        (shown(&connection) == certificate("second")).then_some(())
    })
    .await;
    assert!(loads("ok").await);
    assert_eq!(ask(&mut old).await, 200, "the old connection is still served");
    child.kill().await.expect("it still runs");
}
