//! The account of deliveries, and the check of the delivery log.

use utoipa::ToSchema;

use super::common::Time;

/// What became of every delivery of a window.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Account {
    from: Time,
    to: Time,
    /// Since when everything is known.
    since: Time,
    /// Whether everything is known since `from`.
    complete: bool,
    /// Deliveries that are unaccounted for.
    gap: u64,
    total: DeliveryCounts,
    sites: Vec<SiteCounts>,
    installations: Vec<InstallationCounts>,
    subscriptions: Vec<SubscriptionCounts>,
    /// The first deliveries that are unaccounted for.
    gaps: Vec<AccountGap>,
    /// Events that are not acknowledged yet: their deliveries are not counted.
    in_flight: u64,
    /// Records that were read.
    records: u64,
    omitted_subscriptions: Option<u64>,
    unreadable: Option<u64>,
    undetermined: Option<u64>,
    /// Present if it is not known which records are missing.
    missing_unknown: Option<bool>,
    /// Records that the log lost.
    missing_records: Option<u64>,
    missing: Option<Vec<MissingRecords>>,
    /// Which names of the query do not exist.
    hints: Option<Vec<String>>,
}

/// Numbers of deliveries.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct DeliveryCounts {
    matched: u64,
    replayed: u64,
    delivered: u64,
    dead: u64,
    dropped_by_policy: u64,
    removed: u64,
    pending: u64,
    gap: u64,
}

/// Deliveries of a site.
#[derive(ToSchema)]
struct SiteCounts {
    site: String,
    counts: DeliveryCounts,
}

/// Deliveries of an installation.
#[derive(ToSchema)]
struct InstallationCounts {
    installation: String,
    counts: DeliveryCounts,
}

/// Deliveries of a subscription.
#[derive(ToSchema)]
struct SubscriptionCounts {
    subscription: String,
    site: String,
    counts: DeliveryCounts,
}

/// A delivery that is unaccounted for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct AccountGap {
    delivery_id: String,
    event: AccountEvent,
    subscriptions: Vec<String>,
    /// Where it was last: `parked` or `dead`.
    last: String,
    /// Replay that made it once more.
    replay: Option<String>,
}

/// The event of a delivery.
#[derive(ToSchema)]
struct AccountEvent {
    site: String,
    id: String,
    sequence: u64,
}

/// Records that the log lost.
#[derive(ToSchema)]
struct MissingRecords {
    /// The process that wrote them.
    process: String,
    first: u64,
    last: u64,
}

/// What a check of the delivery log against the event stream found.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Ledger {
    from: Time,
    to: Time,
    /// Sites that were checked.
    sites: u64,
    events: u64,
    matched: u64,
    recorded: u64,
    not_verifiable: u64,
    unreadable: u64,
    expired: u64,
    /// Deliveries that the log does not know.
    gap: u64,
    gaps: Vec<LedgerGap>,
    /// Events before it are deleted.
    events_from: Option<Time>,
    /// Sites that are not checked to the end.
    open: Option<Vec<OpenSite>>,
}

/// A delivery that the log does not know.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct LedgerGap {
    delivery_id: String,
    event: LedgerEvent,
    subscription: String,
}

/// The event of a delivery.
#[derive(ToSchema)]
struct LedgerEvent {
    site: String,
    id: String,
    sequence: u64,
    stored: Time,
}

/// Where the check of a site ended.
#[derive(ToSchema)]
struct OpenSite {
    site: String,
    sequence: u64,
}
