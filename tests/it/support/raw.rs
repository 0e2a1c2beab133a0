//! Connections that do what no HTTP client does: stop in the middle, come from other addresses, stay.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::WAIT_MAX;

/// A connection to a router.
pub(crate) struct RawConnection(TcpStream);

impl RawConnection {
    /// Connects from 127.0.0.1.
    pub(crate) async fn open(port: u16) -> Self {
        Self::open_from(port, 1).await
    }

    /// Connects from 127.0.0.`last`, to the system another machine.
    pub(crate) async fn open_from(port: u16, last: u8) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("an address of this machine");
        let router = SocketAddr::from(([127, 0, 0, 1], port));
        Self(socket.connect(router).await.expect("the router accepts"))
    }

    /// Sends bytes; returns whether the router still takes them.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Reads until the router closes the connection, which it must do; returns what it sent.
    pub(crate) async fn until_closed(&mut self) -> String {
        let mut received = Vec::new();
        let read = self.0.read_to_end(&mut received);
        // A connection that is reset is closed, too.
        let _ = tokio::time::timeout(WAIT_MAX, read).await.expect("the router closes it");
        String::from_utf8_lossy(&received).into_owned()
    }

    /// Reads until the response contains `text`; returns whether it did within `limit`.
    pub(crate) async fn until_received(&mut self, text: &str, limit: Duration) -> bool {
        let mut received = Vec::new();
        let read = async {
            loop {
                let mut part = [0; 4096];
                match self.0.read(&mut part).await {
                    Ok(bytes) if bytes > 0 => received.extend_from_slice(&part[..bytes]),
                    _ => return false,
                }
                if String::from_utf8_lossy(&received).contains(text) {
                    return true;
                }
            }
        };
        tokio::time::timeout(limit, read).await.unwrap_or(false)
    }
}

/// Sends one request, given as its first line and headers, and returns the whole response.
pub(crate) async fn exchange(port: u16, head: &str, body: &str) -> String {
    exchange_from(port, 1, head, body).await
}

/// As [`exchange`], from 127.0.0.`last`.
pub(crate) async fn exchange_from(port: u16, last: u8, head: &str, body: &str) -> String {
    let mut connection = RawConnection::open_from(port, last).await;
    let host = if head.contains("\r\nHost:") { "" } else { "Host: 127.0.0.1\r\n" };
    let length = body.len();
    let request =
        format!("{head}\r\n{host}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.send(request).await;
    connection.until_closed().await
}

/// Returns the status of a response; 0 if there is none.
pub(crate) fn status(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
