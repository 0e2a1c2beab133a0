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

/// Logs in to the console with a token; returns the cookie of the session.
pub(crate) async fn log_in(port: u16, token: &str) -> String {
    let page = exchange(port, "GET /login HTTP/1.1\r\nHost: localhost", "").await;
    let form_cookie = set_cookie(&page, "switchyard_login").expect("a cookie of the form");
    let (_, csrf) = page.split_once("name=\"csrf\" value=\"").expect("a form");
    let csrf = csrf.split('"').next().expect("a value");
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nCookie: switchyard_login={form_cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    let answer = exchange(port, &head, &format!("csrf={csrf}&token={token}")).await;
    let session = set_cookie(&answer, "switchyard_session");
    format!("switchyard_session={}", session.unwrap_or_else(|| panic!("no session: {answer}")))
}

/// Returns the value of a cookie that a response sets.
pub(crate) fn set_cookie(response: &str, name: &str) -> Option<String> {
    let values = response.lines().filter_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.eq_ignore_ascii_case("set-cookie").then(|| value.trim())
    });
    let mut values = values.filter_map(|value| value.strip_prefix(name)?.strip_prefix('='));
    values.next().map(|value| value.split(';').next().unwrap_or_default().to_owned())
}

/// Returns the status of a response; 0 if there is none.
pub(crate) fn status(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
