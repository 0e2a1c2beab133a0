//! Products whose events are routed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Product of a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Jira, Jira Software, Jira Service Management.
    Jira,
    /// Confluence.
    Confluence,
}

impl Product {
    /// Every product.
    pub const ALL: [Self; 2] = [Self::Jira, Self::Confluence];
}
