//! Reads request bodies into memory, within a deadline and a share of the memory for bodies.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::client::Client;
use super::metrics;
use super::shares::{Bounds, Owner, Part, ShareLevel, Shares};
use crate::config::ServerConfig;

/// Longest time for which the rest of a refused body is read, so that its sender reads the response.
const DISCARD_MAX: Duration = Duration::from_secs(1);
/// Most bytes of a refused body that are read.
const DISCARDED_BYTES_MAX: usize = 1 << 20;

/// Reads bodies of all APIs.
#[derive(Debug)]
pub struct BodyIntake {
    shares: Arc<Shares>,
    deadline: Duration,
}

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// It has more than the allowed bytes.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// The connection failed.
    Broken(String),
    /// The memory for bodies is used up, or the part of it for its sender.
    NoCapacity(ShareLevel),
}

/// A body in memory; it counts until it is dropped.
#[derive(Debug)]
pub struct ReceivedBody {
    /// The body.
    pub bytes: Bytes,
    _held: Held,
}

/// A part of the memory, whose gauge is set when it is given back.
#[derive(Debug)]
struct Held {
    part: Option<Part>,
    shares: Arc<Shares>,
}

impl BodyIntake {
    /// Returns an intake with the bounds of the configuration.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let bounds = Bounds {
            all: config.body_bytes_max,
            address: config.body_bytes_per_address_max,
            site: config.body_bytes_per_site_max,
        };
        metrics::body_bytes(0);
        Self {
            shares: Shares::new(bounds),
            deadline: Duration::from_millis(config.body_timeout_ms),
        }
    }

    /// Reads a body of at most `bytes_max` bytes; `site` is the site that it is for, if that has a share.
    ///
    /// # Errors
    /// As [`BodyError`].
    pub async fn read(
        &self,
        body: Body,
        bytes_max: usize,
        client: Client,
        site: Option<&str>,
    ) -> Result<ReceivedBody, BodyError> {
        let address = client.limited_address().map(Owner::Address);
        let site = site.map(|site| Owner::Site(site.into()));
        let part = self.shares.part(address.into_iter().chain(site).collect());
        let held = Held { part: Some(part), shares: Arc::clone(&self.shares) };
        let read = timeout(self.deadline, read_within(body, bytes_max, held)).await;
        let read = read.unwrap_or(Err(BodyError::TooSlow));
        match &read {
            Err(BodyError::NoCapacity(level)) => metrics::body_refused(*level),
            Err(BodyError::TooSlow) => metrics::body_too_slow(),
            _ => {}
        }
        read
    }

    /// Reads the body of a refused request without keeping it, for a short time: a client that is still
    /// sending when the connection closes may not read the response.
    pub async fn discard(mut body: Body) {
        let discarded = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > DISCARDED_BYTES_MAX {
                    break;
                }
            }
        };
        // The response is sent all the same.
        let _ = timeout(DISCARD_MAX, discarded).await;
    }
}

async fn read_within(
    mut body: Body,
    bytes_max: usize,
    mut held: Held,
) -> Result<ReceivedBody, BodyError> {
    let mut buffered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if buffered.len() + data.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        held.raise_to(buffered.len() + data.len())?;
        buffered.extend_from_slice(&data);
        held.raise_to(buffered.capacity())?;
    }
    Ok(ReceivedBody { bytes: buffered.freeze(), _held: held })
}

impl Held {
    fn raise_to(&mut self, bytes: usize) -> Result<(), BodyError> {
        let Some(part) = &mut self.part else { return Ok(()) };
        part.raise_to(bytes, 0).map_err(BodyError::NoCapacity)?;
        metrics::body_bytes(self.shares.used());
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.part = None;
        metrics::body_bytes(self.shares.used());
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::config::Config;
    use crate::listener::TrustedProxies;

    fn intake(all: usize, address: usize, site: usize) -> BodyIntake {
        let mut config = Config::defaults().unwrap().server;
        config.body_bytes_max = all;
        config.body_bytes_per_address_max = address;
        config.body_bytes_per_site_max = site;
        BodyIntake::new(&config)
    }

    fn client(peer: &str) -> Client {
        Client::of(peer.parse().unwrap(), &HeaderMap::new(), &TrustedProxies::default())
    }

    fn body(bytes: usize) -> Body {
        Body::from(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn bodies_in_memory_are_bounded_by_address_by_site_and_in_all() {
        const KIB: usize = 1024;
        let intake = intake(100 * KIB, 40 * KIB, 60 * KIB);
        let read = async |peer: &str, site: Option<&str>, bytes| {
            let read = intake.read(body(bytes), 50 * KIB, client(peer), site).await;
            read.map_err(|error| match error {
                BodyError::NoCapacity(level) => level.as_str(),
                BodyError::TooLarge => "too large",
                _ => "another error",
            })
        };
        let one = read("9.9.9.9", None, 30 * KIB).await.unwrap();
        assert_eq!(one.bytes.len(), 30 * KIB);
        assert_eq!(read("9.9.9.9", None, 30 * KIB).await.unwrap_err(), "address");
        assert_eq!(read("9.9.9.8", None, 51 * KIB).await.unwrap_err(), "too large");
        let two = read("9.9.9.8", Some("s"), 40 * KIB).await.unwrap();
        assert_eq!(read("9.9.9.7", Some("s"), 25 * KIB).await.unwrap_err(), "site");
        assert_eq!(read("9.9.9.7", None, 40 * KIB).await.unwrap_err(), "all");
        drop((one, two));
        assert!(read("9.9.9.9", Some("s"), 40 * KIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_does_not_end_is_refused_and_forgotten() {
        let intake = intake(1 << 20, 1 << 20, 1 << 20);
        let drip = stream::once(async { Ok::<_, axum::Error>(Bytes::from_static(b"x")) });
        let drip = Body::from_stream(drip.chain(stream::pending()));
        let read = intake.read(drip, 1024, client("9.9.9.9"), None).await;
        assert!(matches!(read, Err(BodyError::TooSlow)), "{read:?}");
        assert_eq!(intake.shares.used(), 0);
        let endless = Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>());
        BodyIntake::discard(endless).await;
    }
}
