//! The settings by section of the configuration file, with units in their names.
//!
//! A setting is one line here and one in `deploy/switchyard.default.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use crate::domain::Secret;

/// All settings; every key has a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The one HTTP listener.
    pub server: ServerConfig,
    /// Operator access.
    pub admin: AdminConfig,
    /// The log of changes.
    pub audit: AuditConfig,
    /// Single sign-on of the console.
    pub oidc: OidcConfig,
    /// Secrets in the registry.
    pub secrets: SecretsConfig,
    /// The broker.
    pub nats: NatsConfig,
    /// The event stream and its bounds.
    pub events: EventsConfig,
    /// Webhook sources.
    pub ingest: IngestConfig,
    /// What may be registered.
    pub registry: RegistryConfig,
    /// Attempts, retries, parking and outbound rules.
    pub delivery: DeliveryConfig,
    /// Bounds on input and registration.
    pub limits: LimitsConfig,
    /// Optional metric families.
    pub metrics: MetricsConfig,
    /// Export of traces.
    pub traces: TracesConfig,
    /// Log output.
    pub log: LogConfig,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port of all APIs, metrics, probes and console; port 0 = any free port.
    pub listen: String,
    /// URL by which apps reach it, such as `https://switchyard.example.com`; empty = `listen`.
    pub public_url: String,
    /// Names under which browsers may open the console, in addition to addresses, `localhost` and the
    /// host of `public_url`.
    pub hosts: Vec<String>,
    /// File of the certificates of the listener in PEM, its own first; empty = no TLS.
    pub tls_cert_file: String,
    /// File of the key of the certificate in PEM.
    pub tls_key_file: String,
    /// Accepts connections of other machines without TLS, behind a proxy that has it.
    pub plaintext: bool,
    /// Proxies whose `X-Forwarded-For` is believed, and that have no limits by address.
    pub trusted_proxies: Vec<IpNet>,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_address_max: usize,
    /// Deadline of the head of a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// Deadline of a body in memory, of each part of a streamed one, and of a client that does not
    /// read, in milliseconds.
    pub body_timeout_ms: u64,
    /// Time between two requests after which a connection is closed, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Bytes of request bodies in memory.
    pub body_bytes_max: usize,
    /// Bytes of request bodies of one address in memory.
    pub body_bytes_per_address_max: usize,
    /// Bytes of webhooks of one site in memory.
    pub body_bytes_per_site_max: usize,
    /// Failed authentications of one address in a minute, beyond which it is answered 429.
    pub auth_failures_per_minute: u32,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Bearer token of the operator API; empty = none. `dev` generates one if there is no other.
    pub token: Secret,
    /// File with further tokens, one a line, which is read again when it changes; empty = none.
    pub token_file: String,
}

/// `[audit]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Age at which records are deleted, in days.
    pub max_age_days: u64,
    /// Size of the log in bytes; beyond it, the oldest records are deleted.
    pub max_bytes: u64,
}

/// `[oidc]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// URL of the provider; empty = no single sign-on.
    pub issuer: String,
    /// Id of this router at the provider.
    pub client_id: String,
    /// Secret of this router at the provider; empty = none, if it is a public client.
    pub client_secret: Secret,
    /// File with the secret; empty = none.
    pub client_secret_file: String,
    /// What the button on the login page says.
    pub name: String,
    /// Scopes to ask the provider for, in addition to `openid`.
    pub request_scopes: Vec<String>,
    /// Claim of the ID token whose values the lists below have: a text, or a list of texts.
    pub scope_claim: String,
    /// Values whose people may look at everything.
    pub read: Vec<String>,
    /// Values whose people may act on deliveries, too.
    pub operate: Vec<String>,
    /// Values whose people may do everything.
    pub admin: Vec<String>,
}

/// `[secrets]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsConfig {
    /// Keys that encrypt stored secrets, 32 bytes in base64 each, the newest first; empty = none.
    pub key: Secret,
    /// File with these keys, one a line; empty = none.
    pub key_file: String,
}

/// `[nats]`. Its `Debug` form has no URL, since they may have passwords.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// Server URLs; empty = a managed `nats-server` child with a data folder.
    pub url: Vec<String>,
    /// Credentials for `url`: a `.creds` file, or a file with the seed of an nkey; empty = none.
    pub credentials_file: String,
    /// Certificates of the authorities that sign the certificate of the broker, as PEM; empty =
    /// those of the system.
    pub ca_file: String,
    /// First token of every subject, and of stream names in upper case.
    pub prefix: String,
    /// Replicas of each stream in a cluster.
    pub replicas: usize,
    /// Timeout of a publish, after which it is sent again with the same id.
    pub publish_timeout_ms: u64,
    /// Folder of the managed server's data and of local state.
    pub data_dir: PathBuf,
}

/// `[events]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsConfig {
    /// Age at which acknowledged events are deleted, in hours; 0 = only when space is needed.
    pub max_age_h: u64,
    /// Size of the event stream in bytes; beyond it, new events are refused.
    pub max_bytes: i64,
    /// Time after which the broker redelivers an unacknowledged event, in seconds.
    pub ack_wait_s: u64,
    /// Window in which a repeated event id is dropped by the broker, in seconds.
    pub dedup_window_s: u64,
    /// Time for which the ids that sources send are remembered, so that repetitions are not stored
    /// again, in hours; 0 = only for `dedup_window_s`.
    pub repeat_memory_h: u64,
    /// Most ids that are remembered; beyond it, the site with the most forgets its oldest.
    pub repeat_ids_max: usize,
    /// Recorded crashes while an event was decoded or matched, after which it is dead-lettered.
    pub deliver_max: i64,
    /// Events processed concurrently by one replica.
    pub in_flight_max: usize,
    /// Bytes of events processed concurrently by one replica.
    pub in_flight_bytes_max: usize,
    /// Accepts triggers on event types that are not in the catalogue, with a warning.
    pub allow_unknown: bool,
    /// Trusts `selfGenerated` in the published body (for a bus of a single app).
    pub trust_body_self: bool,
}

/// `[ingest]`: sites by product, then by cloud id. The products are those of the default file.
pub type IngestConfig = BTreeMap<String, BTreeMap<String, IngestSiteConfig>>;

/// `[ingest.<product>.<cloudId>]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSiteConfig {
    /// Secret of the webhook: `X-Hub-Signature` must verify.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Token in the path, `/ingest/<product>/<cloudId>/<token>`, for webhooks without a signature.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A further secret that is accepted, while the sender changes from one to the other.
    #[serde(default)]
    pub previous_secret: Option<Secret>,
    /// A further token that is accepted, likewise.
    #[serde(default)]
    pub previous_token: Option<Secret>,
    /// Accepts every webhook to `/ingest/<product>/<cloudId>`.
    #[serde(default)]
    pub unsigned: bool,
}

/// `[registry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Stores Forge module types other than `trigger` without routing them.
    pub accept_inert_types: bool,
    /// Ids of the custom fields that dynamic webhooks may filter by: the epic label, which each site numbers
    /// otherwise.
    pub epic_fields: Vec<String>,
    /// Interval of discovery, in seconds.
    pub discovery_life_s: u32,
    /// Rotation interval of signing keys, in hours.
    pub signing_key_life_h: u32,
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Allows endpoints with plain `http`.
    pub allow_http: bool,
    /// Private address ranges that are allowed.
    pub allow_cidrs: Vec<IpNet>,
    /// Ports allowed in addition to 443, 8443 (and 80 with `allow_http`); `["any"]` allows all.
    pub allow_ports: Vec<String>,
    /// Deadline of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Concurrent attempts to one endpoint.
    pub endpoint_concurrency: usize,
    /// Maximum number of deliveries queued in memory for one endpoint. Further ones, and those that
    /// are not expected to start within `park_after_ms`, are parked at once.
    pub endpoint_queue_max: usize,
    /// Concurrent attempts to all endpoints.
    pub concurrency: usize,
    /// Part of `concurrency` that one app may use, 0.0 to 1.0.
    pub app_share: f64,
    /// Part of `concurrency` that one installation may use, 0.0 to 1.0.
    pub installation_share: f64,
    /// Part of `concurrency` that attempts at one host may use, 0.0 to 1.0.
    pub host_share: f64,
    /// Part of the share of a host that one app may use, 0.0 to 1.0.
    pub app_host_share: f64,
    /// Part of `concurrency` that the deliveries of one event may use, 0.0 to 1.0.
    pub event_share: f64,
    /// Part of `concurrency`, and of the shares of each app, host and event, that slow attempts may
    /// use: those that run for longer than a quarter of a second, and those to endpoints that were
    /// not quick yet.
    pub slow_share: f64,
    /// Maximum number of deliveries of one app that wait in memory unless their turn is expected
    /// within half of `park_after_ms`. Further ones are parked at once.
    pub app_queue_max: usize,
    /// Maximum number of open sockets to handlers; 0 derives it from the limit of descriptors.
    pub sockets_max: usize,
    /// Maximum number of idle connections to handlers that are kept open.
    pub idle_sockets_max: usize,
    /// Time in the queue after which a delivery is parked, in milliseconds.
    pub park_after_ms: u64,
    /// Delay before attempt 2, 3, ... in seconds; its length plus one is the number of attempts.
    pub retry_schedule_s: Vec<u64>,
    /// Jitter: random fraction added to or subtracted from each delay, 0.0 to 1.0.
    pub retry_jitter: f64,
    /// Capacity of the parking stream in deliveries; beyond it, deliveries are dead-lettered.
    pub parked_max: u64,
    /// Capacity of the parking stream in bytes.
    pub parked_bytes_max: u64,
    /// Capacity of the dead-letter stream in letters; beyond it, letters are dropped and counted.
    pub dead_letters_max: u64,
    /// Capacity of the dead-letter stream in bytes.
    pub dead_letter_bytes_max: u64,
    /// Fraction of either capacity that one app may use, 0.0 to 1.0.
    pub share_app: f64,
    /// Fraction of either capacity that one installation may use, 0.0 to 1.0.
    pub share_installation: f64,
    /// Fraction of either capacity that is kept for guaranteed deliveries, 0.0 to 1.0.
    pub share_reserve: f64,
    /// Deliveries that every installation may have in either stream, whatever others use.
    pub share_guaranteed: u64,
    /// Parked deliveries of one endpoint.
    pub backlog_endpoint_max: u64,
    /// Time after which a delivery that only waits is dead-lettered as `expired`, in hours.
    pub backlog_max_h: u64,
    /// Days for which bodies are kept once their delivery ended, unless an installation says otherwise.
    pub bodies_days: u32,
    /// Maximum body sent to a handler, in bytes.
    pub payload_max: usize,
    /// Maximum number of bytes read of a handler's response.
    pub response_max: usize,
    /// Whether the delivery log is stored.
    pub log: bool,
    /// Capacity of the delivery log in bytes; beyond it, the oldest records are deleted.
    pub log_bytes_max: u64,
    /// Age at which records of the delivery log are deleted, in hours.
    pub log_max_age_h: u64,
    /// Seconds between two background checks of the account of deliveries; 0 for none.
    pub account_interval_s: u64,
    /// Of which attempts the log has an excerpt of the response.
    pub log_responses: LogResponses,
}

/// Of which attempts the delivery log has an excerpt of the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogResponses {
    /// Of none.
    None,
    /// Of those that failed.
    Failures,
    /// Of all.
    All,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Maximum request body, in bytes.
    pub body: usize,
    /// Maximum event body, in bytes.
    pub event: usize,
    /// Maximum number of dynamic modules of one installation.
    pub modules_per_installation: usize,
    /// Maximum number of dynamic modules of a Connect installation in Jira.
    pub connect_modules_jira: usize,
    /// Maximum number of dynamic modules of a Connect installation in Confluence.
    pub connect_modules_confluence: usize,
    /// Maximum number of dynamic webhooks of one app in one site.
    pub webhooks_per_app: usize,
    /// Maximum number of dynamic webhooks of one OAuth app in one site for one user.
    pub webhooks_per_user: usize,
    /// Lifetime of a dynamic webhook unless it is refreshed, in hours.
    pub webhook_life_h: u64,
    /// Maximum number of distinct entity-property paths of one installation.
    pub property_paths_per_installation: usize,
    /// Registrations per second of one installation; 0 = unlimited.
    pub registration_rate: u32,
    /// Burst of registrations of one installation.
    pub registration_burst: u32,
    /// Step budget of one filter evaluation.
    pub steps: u32,
    /// Part of one processor that the filter evaluations of one installation may use while others
    /// wait, 0.0 to 1.0; 1.0 = no limit. Its further events are evaluated later.
    pub evaluation_share: f64,
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Which subscriptions have series of their own: `off` or `top:N`.
    pub subscriptions: String,
    /// Subscriptions with series whatever their rank, `<installation>/<key>`.
    pub pinned: Vec<String>,
    /// Bearer token of `/metrics`; empty = it is shown to this machine only.
    pub token: Secret,
    /// Address and port of a listener of its own for `/metrics` and probes; empty = none.
    pub listen: String,
}

/// `[traces]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// URL of a collector that receives OTLP over HTTP, without the path of traces; empty = no traces.
    pub endpoint: String,
    /// Headers of each request to the collector, `name=value,name=value`; empty = none.
    pub headers: Secret,
    /// Part of the events whose publisher sent no trace context that are traced, 0.0 to 1.0.
    pub sample: f64,
    /// Spans recorded per second by one replica.
    pub spans_per_second: u32,
    /// Part of `spans_per_second` that the events of one site may use, 0.0 to 1.0.
    pub site_share: f64,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: String,
    /// Filter in the syntax of the `tracing` crate, such as `info` or `switchyard=debug`.
    pub filter: String,
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("prefix", &self.prefix)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

impl RegistryConfig {
    /// Interval of discovery, in milliseconds.
    #[must_use]
    pub fn discovery_life_ms(&self) -> i64 {
        i64::from(self.discovery_life_s).saturating_mul(1000)
    }

    /// Rotation interval of signing keys, in milliseconds.
    #[must_use]
    pub fn signing_key_life_ms(&self) -> i64 {
        i64::from(self.signing_key_life_h).saturating_mul(3600 * 1000)
    }
}

impl LimitsConfig {
    /// Lifetime of a dynamic webhook unless it is refreshed, in milliseconds.
    #[must_use]
    pub fn webhook_life_ms(&self) -> i64 {
        i64::try_from(self.webhook_life_h).unwrap_or(i64::MAX).saturating_mul(3600 * 1000)
    }
}
