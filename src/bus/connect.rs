//! Connections to the broker, which live as long as the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use thiserror::Error;
use tokio::net::TcpStream;

use super::acks::AckQueue;
use super::credentials::with_credentials_file;
use super::metrics;
use crate::clock;
use crate::config;

/// Ping interval; a half-open connection is detected after two missed pings.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Commands that can queue while disconnected.
const COMMANDS_MAX: usize = 8192;
/// Publishes that can wait for their confirmation at once.
const ACKS_IN_FLIGHT_MAX: usize = 2000;
/// How long a start waits for the broker before it fails.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit for diagnosing a failed start.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two attempts while the broker is not ready.
const START_PAUSE: Duration = Duration::from_millis(50);
/// How long shutdown waits for the last acknowledgements.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest pause between two reconnect attempts.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Port of a server whose address has none.
const DEFAULT_PORT: u16 = 4222;
/// Oldest server version with message schedules.
const SERVER_MIN: (u32, u32) = (2, 12);

/// The connections of one router; separate, so that a slow flow cannot delay the others.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Receives events and due parked records.
    pub intake: JetStreamClient,
    /// Sends publishes and acknowledgements.
    pub outbound: JetStreamClient,
    /// Registry and control traffic.
    pub control: JetStreamClient,
    /// Acknowledgements, sent over `outbound`.
    pub acks: AckQueue,
}

/// A connection with its JetStream context.
#[derive(Clone, Debug)]
pub struct JetStreamClient {
    /// The core NATS connection.
    pub client: Client,
    /// JetStream over it; its request timeout is `nats.publish_timeout_ms`.
    pub context: jetstream::Context,
}

/// Why the broker cannot be used.
#[derive(Debug, Error)]
pub enum BrokerConnectError {
    /// The URL list is empty or malformed, or a file cannot be used.
    #[error("nats: {0}")]
    Settings(String),
    /// The broker does not answer.
    #[error(
        "cannot use NATS at {urls}, tried for {} s: {reason}; start it, correct --nats-url or nats.url, or leave both out: \
         `switchyard` then runs a server of its own",
        START_TIMEOUT.as_secs()
    )]
    Unreachable {
        /// The addresses that were tried, without passwords.
        urls: String,
        /// The last error.
        reason: String,
    },
    /// The broker lacks message schedules, which retries need.
    #[error(
        "nats-server {version} is too old: retries need message schedules, which came with 2.12; update it, or let \
         `switchyard dev` run a server of its own"
    )]
    TooOld {
        /// Its version.
        version: String,
    },
}

impl Connections {
    /// Connects to one of `urls` and waits until JetStream answers.
    ///
    /// # Errors
    /// See [`BrokerConnectError`].
    pub async fn open(
        config: &config::NatsConfig,
        urls: &[String],
    ) -> Result<Self, BrokerConnectError> {
        let outbound = connect(config, urls, "outbound").await?;
        let connections = Self {
            intake: connect(config, urls, "intake").await?,
            acks: AckQueue::over(outbound.client.clone()),
            outbound,
            control: connect(config, urls, "control").await?,
        };
        for jetstream_client in [&connections.intake, &connections.outbound, &connections.control] {
            jetstream_client.until_ready(config, urls).await?;
        }
        Ok(connections)
    }
}

impl Connections {
    /// Waits until all queued messages and acknowledgements are sent. The last step of a shutdown.
    pub async fn flush(&self) {
        if tokio::time::timeout(FLUSH_TIMEOUT, self.acks.flush()).await.is_err() {
            tracing::warn!("last acknowledgements not sent in time");
        }
        for jetstream_client in [&self.intake, &self.outbound, &self.control] {
            if tokio::time::timeout(FLUSH_TIMEOUT, jetstream_client.client.flush()).await.is_err() {
                tracing::warn!("last messages not sent in time");
            }
        }
    }
}

impl JetStreamClient {
    async fn until_ready(
        &self,
        config: &config::NatsConfig,
        urls: &[String],
    ) -> Result<(), BrokerConnectError> {
        let start = clock::tick();
        loop {
            let answer = self.context.query_account().await;
            let version = self.client.server_info().version;
            match answer {
                _ if !version.is_empty() && !is_supported(&version) => {
                    return Err(BrokerConnectError::TooOld { version });
                }
                Ok(_) => return Ok(()),
                Err(error) if clock::since(start) >= START_TIMEOUT => {
                    let reason = diagnose(config, urls).await.unwrap_or_else(|| error.to_string());
                    return Err(BrokerConnectError::Unreachable { urls: shown_urls(urls), reason });
                }
                Err(_) => tokio::time::sleep(START_PAUSE).await,
            }
        }
    }
}

/// Returns addresses for messages, without the user and the password that they may have.
#[must_use]
pub fn shown_urls(urls: &[String]) -> String {
    let hidden = |url: &String| {
        let (scheme, rest) = url.rsplit_once("://").unwrap_or(("", url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    };
    urls.iter().map(hidden).collect::<Vec<_>>().join(",")
}

/// Returns why a server does not answer: in the words of the operating system, or what it refuses.
async fn diagnose(config: &config::NatsConfig, urls: &[String]) -> Option<String> {
    let url = urls.first()?;
    let host = url.rsplit_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    let host = if host.rsplit_once(']').map_or(host, |(_, port)| port).contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{DEFAULT_PORT}")
    };
    let reached = tokio::time::timeout(DIAGNOSIS_TIMEOUT, TcpStream::connect(&host)).await;
    match reached {
        Ok(Ok(_)) => Some(refusal(config, urls).await.unwrap_or_else(|| {
            "it answers, but JetStream is off or refuses this account; start it with `-js`".into()
        })),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer to a connection".into()),
    }
}

/// Returns why a server that accepts TCP connections refuses a connection; none if it does not, or for other
/// reasons than TLS and credentials.
async fn refusal(config: &config::NatsConfig, urls: &[String]) -> Option<String> {
    let options = options(config).await.ok()?;
    let connecting = tokio::time::timeout(DIAGNOSIS_TIMEOUT, options.connect(urls)).await;
    let error = connecting.ok()?.err()?;
    let text = error.to_string();
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Some(
            "it refuses the credentials; set nats.credentials_file, or user and password in nats.url"
                .into(),
        ),
        // A certificate that is not accepted is an error of reading.
        kind if kind == ConnectErrorKind::Tls || text.contains("certificate") => Some(format!(
            "{text}; set nats.ca_file if its certificate is not signed by a public authority"
        )),
        _ => None,
    }
}

/// Returns the options that say who connects, and whom it trusts.
async fn options(config: &config::NatsConfig) -> Result<ConnectOptions, BrokerConnectError> {
    let mut options = ConnectOptions::new();
    if !config.credentials_file.is_empty() {
        let file = &config.credentials_file;
        options = with_credentials_file(options, file).await.map_err(|error| {
            BrokerConnectError::Settings(format!("credentials file {file}: {error}"))
        })?;
    }
    if !config.ca_file.is_empty() {
        let file = &config.ca_file;
        // The client would report a missing file only as a failure of each connection.
        if let Err(error) = tokio::fs::metadata(file).await {
            return Err(BrokerConnectError::Settings(format!("nats.ca_file {file}: {error}")));
        }
        options = options.add_root_certificates(file.into());
    }
    Ok(options)
}

async fn connect(
    config: &config::NatsConfig,
    urls: &[String],
    flow: &'static str,
) -> Result<JetStreamClient, BrokerConnectError> {
    let timeout = Duration::from_millis(config.publish_timeout_ms);
    let settings = |error: &dyn std::fmt::Display| BrokerConnectError::Settings(error.to_string());
    let state = Arc::new(ConnectionState::default());
    let client = options(config)
        .await?
        .name(format!("switchyard-{flow}"))
        .ping_interval(PING_INTERVAL)
        .request_timeout(Some(timeout))
        .client_capacity(COMMANDS_MAX)
        .retry_on_initial_connect()
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            log_event(flow, &state, &event);
            std::future::ready(())
        })
        .connect(urls)
        .await
        .map_err(|error| settings(&error))?;
    let context = ContextBuilder::new()
        .timeout(timeout)
        .max_ack_inflight(ACKS_IN_FLIGHT_MAX)
        .build(client.clone());
    Ok(JetStreamClient { client, context })
}

/// Connection state, for logging changes.
#[derive(Default)]
struct ConnectionState {
    up: AtomicBool,
    /// Whether it was connected before.
    was_connected: AtomicBool,
}

/// Logs each change of state once.
fn log_event(flow: &'static str, state: &ConnectionState, event: &Event) {
    match event {
        Event::Connected if !state.up.swap(true, Relaxed) => {
            if state.was_connected.swap(true, Relaxed) {
                metrics::reconnected();
            }
            tracing::info!(flow, "connected to the broker");
        }
        Event::Disconnected if state.up.swap(false, Relaxed) => {
            tracing::warn!(flow, "connection to the broker lost; reconnecting");
        }
        Event::SlowConsumer(_) => tracing::warn!(flow, "messages dropped: slow consumer"),
        Event::ServerError(error) => tracing::warn!(flow, %error, "the broker reports an error"),
        Event::ClientError(error) => tracing::debug!(flow, %error, "connection error"),
        _ => {}
    }
}

/// Exponential backoff with jitter from the clock, so that replicas do not reconnect at the same
/// time.
fn reconnect_pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(7);
    let pause = Duration::from_millis(100) * 2_u32.pow(doublings);
    let jitter = Duration::from_millis(clock::now_ms().unsigned_abs() % 100);
    if attempts <= 1 { jitter / 10 } else { (pause + jitter).min(RECONNECT_PAUSE_MAX) }
}

fn is_supported(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= SERVER_MIN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_without_schedules_are_rejected() {
        for version in ["2.12.0", "2.15.1", "3.0.0", "2.12.0-RC.1"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["2.11.9", "1.99.0", "", "dev"] {
            assert!(!is_supported(version), "{version}");
        }
    }

    #[tokio::test]
    async fn an_unusable_broker_is_distinguished_from_an_unreachable_one() {
        let config = config::Config::defaults().unwrap().nats;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let urls = [format!("nats://{}", listener.local_addr().unwrap())];
        let there = diagnose(&config, &urls).await.unwrap();
        assert!(there.contains("JetStream is off") && there.contains("`-js`"), "{there}");
        drop(listener);
        let reason = diagnose(&config, &urls).await.unwrap();
        assert!(reason.to_lowercase().contains("refused"), "{reason}");
        let error = BrokerConnectError::Unreachable { urls: urls.join(","), reason }.to_string();
        assert!(error.starts_with("cannot use NATS at nats://127.0.0.1:"), "{error}");
        assert!(error.ends_with("`switchyard` then runs a server of its own"), "{error}");
    }

    #[test]
    fn messages_show_addresses_without_user_and_password() {
        let urls =
            ["tls://router:p@ss@broker:4222", "nats://token@[::1]", "u:p@host", "nats://a:1"];
        let shown = shown_urls(&urls.map(String::from));
        assert_eq!(shown, "tls://broker:4222,nats://[::1],host,nats://a:1");
    }

    #[test]
    fn reconnect_pause_grows_to_its_bound() {
        assert!(reconnect_pause(1) < Duration::from_millis(20));
        assert!(reconnect_pause(3) >= Duration::from_millis(400));
        assert_eq!(reconnect_pause(1000), RECONNECT_PAUSE_MAX);
    }
}
