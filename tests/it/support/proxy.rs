//! A TCP proxy to the broker on loopback that can be cut, made a black hole, and that can shift the broker's clock.

use std::io;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Precedes the broker's time in answers of the JetStream API.
const TIME_MEMBER: &[u8] = b"\"ts\":\"";
/// `2026-11-29T08:00:00`: the part of a time that is shifted, of constant length.
const TIME_BYTES: usize = 19;

/// What the proxy does with connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Forward,
    /// Closes them.
    Cut,
    /// Accepts them and all bytes, and forwards nothing.
    BlackHole,
}

/// Forwards bytes in both directions, depending on its mode. Stopped on drop.
pub(crate) struct Proxy {
    address: String,
    mode: Arc<watch::Sender<Mode>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to the server at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        Self::shifting(url, SignedDuration::ZERO).await
    }

    /// Starts a proxy that makes the clock of the server at `url` appear to be ahead.
    pub(crate) async fn shifting(url: &str, shift: SignedDuration) -> Self {
        let target = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let mode = Arc::new(watch::Sender::new(Mode::Forward));
        let modes = Arc::clone(&mode);
        let accepting = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() != Mode::Cut {
                    passing.spawn(pass(client, target.clone(), modes.subscribe(), shift));
                }
            }
        });
        Self { address, mode, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Closes all connections and every new one.
    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Keeps all connections open and accepts new ones, but forwards nothing.
    pub(crate) fn swallow(&self) {
        self.mode.send_replace(Mode::BlackHole);
    }

    /// Forwards new connections again. Those from which bytes were swallowed stay black holes.
    pub(crate) fn restore(&self) {
        self.mode.send_replace(Mode::Forward);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(
    client: TcpStream,
    target: String,
    mut mode: watch::Receiver<Mode>,
    shift: SignedDuration,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((mut client_in, mut client_out), (mut server_in, mut server_out)) =
        (client.into_split(), server.into_split());
    let (to_server, to_client) = (mode.clone(), mode.clone());
    tokio::select! {
        _ = copy(&mut client_in, &mut server_out, to_server, SignedDuration::ZERO) => {}
        _ = copy(&mut server_in, &mut client_out, to_client, shift) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mode: watch::Receiver<Mode>,
    shift: SignedDuration,
) -> io::Result<()> {
    let (mut buffer, mut pending, mut is_lost) = (vec![0; 64 << 10], Vec::new(), false);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        is_lost |= *mode.borrow() == Mode::BlackHole;
        if is_lost {
            continue;
        }
        pending.extend_from_slice(&buffer[..read]);
        let ready = if shift.is_zero() { pending.len() } else { shift_times(&mut pending, shift) };
        to.write_all(&pending[..ready]).await?;
        pending.drain(..ready);
    }
}

/// Shifts all complete times; returns how many bytes can be forwarded.
fn shift_times(bytes: &mut [u8], shift: SignedDuration) -> usize {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(TIME_MEMBER.len()).position(|w| w == TIME_MEMBER) {
        let start = at + found + TIME_MEMBER.len();
        let Some(text) = bytes.get_mut(start..start + TIME_BYTES) else { return at + found };
        let time = format!("{}Z", String::from_utf8_lossy(text)).parse::<Timestamp>();
        let shifted = (time.expect("a time") + shift).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        text.copy_from_slice(shifted.as_bytes());
        at = start + TIME_BYTES;
    }
    bytes.len()
}
