//! What a server says of itself before a client authenticates.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// Time limit for reading the server's INFO line.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// The INFO message of a server.
#[derive(Debug, Deserialize)]
pub(super) struct ServerInfo {
    /// Its name.
    pub(super) server_name: String,
    /// Whether clients have to authenticate.
    #[serde(default)]
    pub(super) auth_required: bool,
}

/// Returns the INFO message of the server at `url`; `None` without an answer.
pub(super) async fn server_info(url: &str) -> Option<ServerInfo> {
    let address = url.strip_prefix("nats://")?;
    let hello = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        serde_json::from_str(line.strip_prefix("INFO ")?).ok()
    };
    tokio::time::timeout(GREETING_TIMEOUT, hello).await.ok()?
}

/// Returns whether connections to `address` are refused.
pub(super) async fn is_refused(address: &str) -> bool {
    let connecting = tokio::time::timeout(GREETING_TIMEOUT, TcpStream::connect(address)).await;
    matches!(connecting, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}
