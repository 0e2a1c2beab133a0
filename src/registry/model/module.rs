//! Module records, module types and the status of a module.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::module_fields::ModuleFields;
use super::shadow::{Promotion, ShadowFilter, filter_digest};
use crate::domain::{ModuleKey, UnknownMembers};

/// The Forge module type that is routed.
pub const TRIGGER: &str = "trigger";
/// Module type of Connect webhooks, static or dynamic; routed.
pub const WEBHOOKS: &str = "webhooks";
/// Module type under which those webhooks of a Connect app are stored that are never delivered. Releases
/// that do not know it store such a type without routing it.
pub(crate) const UNDELIVERED_WEBHOOKS: &str = "undeliveredWebhooks";
/// Module type under which dynamic webhooks are stored; routed.
pub const DYNAMIC_WEBHOOK: &str = "dynamicWebhook";

/// API that registered a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationApi {
    /// Forge dynamic modules, version 1.
    ForgeV1,
    /// Forge dynamic modules, version 2.
    ForgeV2,
    /// Connect dynamic modules.
    Connect,
    /// Jira dynamic webhooks.
    Webhook,
    /// Response to a discovery request.
    Discovery,
}

/// Status of a module, set by its app or an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleStatus {
    /// It receives events.
    #[default]
    On,
    /// Its events are parked until it is on.
    Paused,
    /// It receives no events.
    Off,
    /// Its endpoint returned HTTP 410 repeatedly; it receives no events until it is switched on.
    #[serde(rename = "gone")]
    EndpointGone,
}

impl ModuleStatus {
    fn is_on(&self) -> bool {
        *self == Self::On
    }
}

/// One registered module.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleRecord {
    /// Key, unique in its installation.
    pub key: ModuleKey,
    /// Module type, such as `trigger`.
    #[serde(rename = "type")]
    pub module_type: String,
    /// Submitted data, including `key`.
    pub data: ModuleFields,
    /// API that registered it.
    #[serde(rename = "door")]
    pub api: RegistrationApi,
    /// Status set by its app or an operator.
    #[serde(rename = "switch", default, skip_serializing_if = "ModuleStatus::is_on")]
    pub status: ModuleStatus,
    /// Registration time, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last change, milliseconds since the epoch.
    pub updated_ms: i64,
    /// Number of the last change, from 1; its `ETag`.
    pub revision: u64,
    /// Position in the order of registration.
    pub order: u64,
    /// A filter that is compared with its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<ShadowFilter>>,
    /// The last promotion of a shadow of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Box<Promotion>>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl ModuleRecord {
    /// Gives it other data. A promotion ends with the filter that it made: one that is registered later is no
    /// promoted one, even if it is the same.
    pub(crate) fn set_data(&mut self, data: ModuleFields) {
        self.data = data;
        let made = |one: &Promotion| one.made == filter_digest(&self.data);
        if !self.promotion.as_deref().is_some_and(made) {
            self.promotion = None;
        }
    }

    /// Whether its filter or its events changed since its shadow was set.
    #[must_use]
    pub fn is_shadow_outdated(&self) -> bool {
        let shadow = self.shadow.as_ref();
        shadow.is_some_and(|shadow| shadow.against != filter_digest(&self.data))
    }
}

/// Effective status of a module: whether its triggers receive events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum EffectiveStatus {
    /// They receive events.
    Active,
    /// They receive no events, for the given reason.
    Inactive,
    /// A static module of the app has the same key and shadows it.
    Shadowed,
    /// A dynamic webhook that expired without a refresh.
    Expired,
    /// Their events are parked.
    Paused,
    /// A webhook of the app itself that is never delivered: who may receive its events cannot be
    /// decided here.
    Undelivered,
}

impl EffectiveStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Active,
        Self::Inactive,
        Self::Shadowed,
        Self::Expired,
        Self::Paused,
        Self::Undelivered,
    ];

    /// Name of the status in API responses and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Shadowed => "shadowed",
            Self::Expired => "expired",
            Self::Paused => "paused",
            Self::Undelivered => "undelivered",
        }
    }
}
