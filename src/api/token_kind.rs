//! Recognises a token that is sent to an API of another kind, so that operators read what is wrong with it.

use crate::clock;
use crate::jwt::system::{self, SystemTokenError};
use crate::registry::{Registry, digest};

use super::admin_tokens::AdminTokens;

/// What a bearer token is, as far as this router knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// An admin token.
    Admin,
    /// The token of an installation of a Forge app.
    Installation(String),
    /// The token of an OAuth client.
    Client(String),
    /// An access token of the operator API.
    Access(String),
    /// A token that a Forge remote received with an event.
    System,
    /// None of these.
    Unknown,
}

impl TokenKind {
    /// Recognises a token.
    pub(super) fn of(token: &str, registry: &Registry, admins: &AdminTokens) -> Self {
        let hash = digest(token);
        if let Some(found) = registry.installation_by_token(&hash) {
            return Self::Installation(found.record.id.to_string());
        }
        if let Some(found) = registry.client_by_token(&hash) {
            return Self::Client(found.id.clone());
        }
        if let Some(found) = registry.access_token_by_digest(&hash) {
            return Self::Access(found.id.clone());
        }
        let now_s = clock::now_ms().div_euclid(1000);
        match system::verify(registry.keys(), token, now_s) {
            Ok(_) | Err(SystemTokenError::Expired { .. }) => return Self::System,
            Err(SystemTokenError::Foreign) => {}
        }
        if admins.accepts(token) { Self::Admin } else { Self::Unknown }
    }

    /// Returns the label of a failed authentication in metrics and log.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Admin => "admin_token",
            Self::Installation(_) => "installation_token",
            Self::Client(_) => "client_token",
            Self::Access(_) => "access_token",
            Self::System => "system_token",
            Self::Unknown => "unknown_token",
        }
    }

    /// Says whose it is; none if it is unknown.
    pub(super) fn description(&self) -> Option<String> {
        match self {
            Self::Admin => Some("an admin token".into()),
            Self::Installation(id) => Some(format!("the token of installation `{id}`")),
            Self::Client(id) => Some(format!("the token of OAuth client `{id}`")),
            Self::Access(id) => Some(format!("the access token `{id}`")),
            Self::System => Some("a token that a Forge remote received with an event".into()),
            Self::Unknown => None,
        }
    }
}

/// Why the operator API refuses credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperatorFault {
    /// There is no header `Authorization`.
    Missing,
    /// The header is not `Bearer <token>`.
    Scheme,
    /// The access token has expired.
    Expired {
        /// Seconds since then.
        ago_s: i64,
    },
    /// The access token ended: it was deleted or rotated, or its installation is deleted.
    Ended,
    /// The token is another one.
    Wrong(TokenKind),
}
