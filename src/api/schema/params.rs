//! Query parameters that several operations have.

use utoipa::{IntoParams, ToSchema};

use crate::registry::EffectiveStatus;

/// Parameters of a page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct PageParams {
    /// Cursor of an earlier page.
    cursor: Option<String>,
    /// Most items of the page; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Parameters of an answer that may continue.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct CursorParams {
    /// Cursor of an earlier answer.
    cursor: Option<String>,
}

/// Parameters of a window of events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct WindowParams {
    /// Events from then on: RFC 3339, or milliseconds since the epoch; an hour before `to` by default.
    from: Option<String>,
    /// Events before then; now by default.
    to: Option<String>,
}

/// Parameters that select dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct LetterParams {
    /// Id of a site.
    site: Option<String>,
    /// Id of an installation.
    installation: Option<String>,
    /// `<installation>/<key>`.
    subscription: Option<String>,
    /// Why it was dead-lettered: a label, or `rejected_<status>`.
    reason: Option<String>,
    /// Dead-lettered from then on: RFC 3339, or an age such as `30m`, `2h` or `7d`.
    since: Option<String>,
}

/// Parameters that select records of deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct DeliveryParams {
    /// Id of a site.
    site: Option<String>,
    /// Entity that the events are about.
    entity: Option<String>,
    /// Id of an installation.
    installation: Option<String>,
    /// `<installation>/<key>`.
    subscription: Option<String>,
    #[param(inline)]
    outcome: Option<DeliveryOutcome>,
    /// Class of the attempt, such as `2xx` or `timeout`.
    class: Option<String>,
    /// Recorded from then on: RFC 3339, or milliseconds since the epoch.
    since: Option<String>,
    /// Recorded before then.
    until: Option<String>,
}

/// What became of a delivery.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum DeliveryOutcome {
    Delivered,
    Parked,
    Dead,
    Dropped,
    Removed,
    /// Anything but delivered.
    Failed,
}

/// Parameters that select subscriptions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SubscriptionParams {
    /// Id of an installation.
    installation: Option<String>,
    /// Id of an app.
    app: Option<String>,
    /// Id of a site.
    site: Option<String>,
    /// An event type.
    event: Option<String>,
    #[param(inline)]
    state: Option<EffectiveStatus>,
    /// Only those that fail now.
    failing: Option<bool>,
    /// Text that the id or the data has.
    q: Option<String>,
    /// What they are ordered by, highest first; by their ids by default.
    #[param(inline)]
    sort: Option<SubscriptionSort>,
}

/// What subscriptions are ordered by.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum SubscriptionSort {
    Id,
    /// Failed evaluations and attempts, and dead letters.
    Failures,
    /// Matches.
    Volume,
    LastMatch,
}
