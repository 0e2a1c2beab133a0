//! Sites.

use std::collections::BTreeMap;

use utoipa::{IntoParams, ToSchema};

use super::common::Time;
use super::inspection::ReplicaName;
use crate::domain::{AppId, InstallationId, Product};
use crate::registry::InstallationState;

/// A page of sites.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct SitePage {
    items: Vec<Site>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
    /// Number of sites that the query selects.
    total: u64,
    /// Sites whose events are counted one by one.
    sites_counted_max: u64,
    /// What all further sites sent together; absent if there are none.
    others: Option<SiteActivity>,
    replica: ReplicaName,
}

/// What sites sent, as counted by this replica since its start.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SiteActivity {
    events: u64,
    matched: u64,
    last_event: Option<Time>,
}

/// A site with an installation. `events`, `matched` and what is refused are counts of this replica.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Site {
    id: String,
    products: Vec<Product>,
    /// Number of installations, in any state.
    installations: u64,
    /// Those among them that are enabled.
    enabled: u64,
    /// Number of live subscriptions.
    subscriptions: u64,
    /// Subscriptions that fail now.
    failing: u64,
    /// Events since the start of the replica.
    events: u64,
    /// Matches of them.
    matched: u64,
    /// When the last event was routed.
    last_event: Option<Time>,
    /// When a subscription last matched.
    last_match: Option<Time>,
    /// Parked deliveries, over all replicas.
    parked: u64,
    /// Deliveries that were dead-lettered since the start of the replica.
    dead: u64,
    /// Stored dead letters, over all replicas.
    dead_letters: u64,
    modules: SiteModules,
    /// Webhooks by reason that were refused since the site last had none refused for 15 minutes.
    refused: Option<BTreeMap<String, u64>>,
    refused_since: Option<Time>,
    last_refused: Option<Time>,
    /// The same of events of the event API, by code.
    refused_events: Option<BTreeMap<String, u64>>,
    /// Of one site: its installations, at most 100.
    installation_list: Option<Vec<SiteInstallation>>,
    /// Of one site: stored webhooks that map to no event; absent if the broker did not count them in time.
    unmapped: Option<SiteUnmapped>,
    replica: Option<ReplicaName>,
}

/// Dynamic modules of all installations of a site, and how many there may be.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SiteModules {
    dynamic: u64,
    dynamic_max: u64,
}

/// An installation of a site.
#[derive(ToSchema)]
struct SiteInstallation {
    #[schema(value_type = String)]
    id: InstallationId,
    #[schema(value_type = String)]
    app: AppId,
    product: Product,
    state: InstallationState,
}

/// Webhooks that map to no event.
#[derive(ToSchema)]
struct SiteUnmapped {
    /// Number of names, at most 1,000.
    names: u64,
    events: u64,
    /// Whether there are more names.
    truncated: bool,
}

/// Parameters that select sites.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SiteParams {
    /// Text that the id has.
    q: Option<String>,
}
