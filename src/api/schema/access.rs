//! Access tokens and their callers.

use utoipa::ToSchema;

use super::common::Time;

/// An access token of the operator API.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct AccessToken {
    id: String,
    scope: AccessScope,
    /// The only installation that its caller sees.
    installation: Option<String>,
    /// Requests per second at one replica.
    requests_per_second: u32,
    /// Whether it is refused: it has expired, or its installation is deleted.
    ended: bool,
    expires_at: Option<Time>,
    description: Option<String>,
    created_at: Time,
    /// When it was changed or rotated last.
    updated_at: Time,
    /// When this replica received the last request with it, since its start.
    last_used_at: Option<Time>,
}

/// What a caller may do. A higher scope includes the lower ones.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum AccessScope {
    /// Look at everything, change nothing.
    Read,
    /// Act on deliveries and subscriptions.
    Operate,
    /// Change what is registered and who has access.
    Admin,
}

/// An access token that was stored.
#[derive(ToSchema)]
pub(in crate::api) struct AccessTokenStored {
    id: String,
    /// The token, if it is new.
    token: Option<String>,
}

/// The token that replaces another one.
#[derive(ToSchema)]
pub(in crate::api) struct NewAccessToken {
    id: String,
    token: String,
}

/// Who calls.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Whoami {
    /// Id of the access token; `admin` with an admin token.
    name: String,
    scope: AccessScope,
    /// The only installation that the caller sees.
    installation: Option<String>,
    expires_at: Option<Time>,
    requests_per_second: Option<u32>,
    description: Option<String>,
}
