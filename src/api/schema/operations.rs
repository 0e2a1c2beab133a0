//! Keys, encryption, remembered ids, sites and probes.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::common::Time;

/// A key that signs tokens.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct SigningKey {
    kid: String,
    signs_from: Time,
}

/// The encryption of stored secrets.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Encryption {
    /// Ids of the keys.
    keys: Vec<String>,
    /// The key that secrets are encrypted with; null if they are not.
    #[schema(required)]
    writes_with: Option<String>,
    documents: EncryptedDocuments,
    rewriting: Rewriting,
}

/// Documents by how their secrets are stored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct EncryptedDocuments {
    in_clear: u64,
    /// By the id of the key.
    with_key: BTreeMap<String, u64>,
    outdated: u64,
    unreadable: u64,
}

/// Progress of rewriting.
#[derive(ToSchema)]
struct Rewriting {
    running: bool,
    total: u64,
    done: u64,
    failed: u64,
    error: Option<String>,
}

/// The remembered ids of stored events; `memoryHours` alone if none are remembered.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Repeats {
    memory_hours: i64,
    ids: Option<u64>,
    ids_max: Option<u64>,
    forgotten: Option<u64>,
    behind_ms: Option<i64>,
    is_behind: Option<bool>,
    /// Sequence up to which events are remembered; null before the first one.
    covered_to: Option<Nullable>,
    sites: Option<Vec<RememberedSite>>,
}

/// A sequence, or null.
#[derive(ToSchema)]
#[schema(value_type = Option<u64>)]
struct Nullable(Option<u64>);

/// Remembered ids of a site.
#[derive(ToSchema)]
struct RememberedSite {
    site: String,
    ids: u64,
}

/// Webhooks of a site that map to no event.
#[derive(ToSchema)]
pub(in crate::api) struct UnmappedNames {
    /// The names, the most frequent first.
    items: Vec<UnmappedName>,
    /// Events of names beyond those that a site may have.
    other: u64,
    /// Whether there are more names.
    truncated: bool,
}

/// A name of webhooks that map to no event.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct UnmappedName {
    name: String,
    count: u64,
    /// Event type that triggers may name.
    event_type: String,
}

/// Answer of a probe.
#[derive(ToSchema)]
pub(in crate::api) struct ProbeAnswer {
    status: ProbeStatus,
    /// What fails.
    failing: Option<Vec<String>>,
    /// What an operator should look at although the router is ready.
    degraded: Option<Vec<String>>,
}

/// Status of a probe.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum ProbeStatus {
    Ok,
    Failing,
}

/// Every check with its state.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct DeepHealth {
    status: ProbeStatus,
    failing: Vec<String>,
    degraded: Vec<String>,
    checks: Vec<HealthCheck>,
    /// How far the clock of this machine is from that of the broker; null before it is known.
    #[schema(required)]
    clock_skew_seconds: Option<f64>,
}

/// A check of the broker.
#[derive(ToSchema)]
struct HealthCheck {
    check: String,
    /// `passed`, `failing` or `not_checked`.
    state: String,
    since: Time,
    /// What fails; null if nothing does.
    #[schema(required)]
    failure: Option<String>,
}

/// A set of public keys, RFC 7517.
#[derive(ToSchema)]
pub(in crate::api) struct JsonWebKeySet {
    keys: Vec<BTreeMap<String, String>>,
}
