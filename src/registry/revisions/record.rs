//! The record of one revision of a module, a stored format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::owner::RevisionOwner;
use crate::domain::{AppId, InstallationId, ModuleKey, UnknownMembers};
use crate::registry::model::{ModuleFields, RegistrationApi};

/// Format version of records.
const FORMAT: u32 = 1;
/// Ends the id of a revision that no change of the registry made: its webhook expired.
const EXPIRED: &str = "-expired";

/// State of a module, as far as its installation, its app and operators set it. What follows from the app, such
/// as a missing endpoint, is not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevisedState {
    /// It receives events.
    On,
    /// Its events are parked.
    Paused,
    /// It is switched off.
    Off,
    /// Its endpoint returned HTTP 410 repeatedly.
    #[serde(rename = "gone")]
    EndpointGone,
    /// A dynamic webhook that was not refreshed in time.
    Expired,
    /// Its installation is disabled.
    Disabled,
    /// Its installation is uninstalled.
    Uninstalled,
    /// A static webhook of which the registration decided that it is never delivered.
    Undelivered,
    /// It is not registered any more.
    Deleted,
}

impl RevisedState {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Paused => "paused",
            Self::Off => "off",
            Self::EndpointGone => "gone",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Uninstalled => "uninstalled",
            Self::Undelivered => "undelivered",
            Self::Deleted => "deleted",
        }
    }

    /// Returns why a module in this state receives no events; none if it does.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        Some(match self {
            Self::On => return None,
            Self::Paused => "it is paused: its events are parked",
            Self::Off => "it is switched off",
            Self::EndpointGone => "its endpoint returned HTTP 410 repeatedly",
            Self::Expired => "it was not refreshed in time",
            Self::Disabled => "the installation is disabled",
            Self::Uninstalled => "the installation is uninstalled",
            Self::Undelivered => {
                "it is never delivered: who may receive its events cannot be decided"
            }
            Self::Deleted => "it was removed",
        })
    }
}

/// One revision of a module: its filter, events and state from a time on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleRevision {
    /// Format version.
    #[serde(rename = "v")]
    pub format: u32,
    /// The installation; none for a static module, which all installations of the app have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationId>,
    /// The app.
    pub app: AppId,
    /// Key of the module.
    pub key: ModuleKey,
    /// Module type.
    #[serde(rename = "type")]
    pub module_type: String,
    /// API by which the module is registered; none for static modules.
    #[serde(rename = "door", default, skip_serializing_if = "Option::is_none")]
    pub api: Option<RegistrationApi>,
    /// Revision of the registry that made it. Of an expiry, the one before it.
    pub document: u64,
    /// Number of the last change of the module, its `ETag`; none for static and for deleted modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Time of the change, milliseconds since the epoch.
    pub at_ms: i64,
    /// State from then on.
    pub state: RevisedState,
    /// Whether the module was not registered before.
    #[serde(rename = "registered", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_registration: bool,
    /// Whether it was found missing and written later: the change is not later than said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repaired: bool,
    /// Submitted data; none of a deleted module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ModuleFields>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl ModuleRevision {
    /// Returns the record of a module that is not there (any more).
    pub(crate) fn deleted(&self, document: u64, at_ms: i64) -> Self {
        Self {
            document,
            revision: None,
            at_ms,
            state: RevisedState::Deleted,
            is_registration: false,
            repaired: false,
            data: None,
            unknown: UnknownMembers::default(),
            ..self.clone()
        }
    }

    /// Returns the current format version.
    pub(crate) const fn format() -> u32 {
        FORMAT
    }

    /// Parses a stored record.
    ///
    /// # Errors
    /// It is of a later format, or not a record; one sentence.
    pub fn read(stored: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
        match read.format {
            FORMAT => Ok(read),
            other => Err(format!("its format is {other}, known is {FORMAT}")),
        }
    }

    /// Whose document has the module.
    #[must_use]
    pub fn owner(&self) -> RevisionOwner {
        match &self.installation {
            Some(installation) => RevisionOwner::Installation(installation.token().into()),
            None => RevisionOwner::App(self.app.token().into()),
        }
    }

    /// Returns its id, unique among the revisions of its module.
    #[must_use]
    pub fn id(&self) -> RevisionId {
        RevisionId { document: self.document, is_expiry: self.state == RevisedState::Expired }
    }

    /// Returns its position in the order of the revisions of a module.
    pub(crate) fn order(&self) -> (u64, i64) {
        // An expiry has the revision of the change before it.
        (self.document, if self.id().is_expiry { self.at_ms } else { i64::MIN })
    }
}

/// Id of a revision: the revision of the registry, such as `1207`, or the expiry of what that one made, `1207-expired`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevisionId {
    /// Revision of the registry.
    pub document: u64,
    /// Whether it is an expiry.
    pub is_expiry: bool,
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.document, if self.is_expiry { EXPIRED } else { "" })
    }
}

impl FromStr for RevisionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let document = text.strip_suffix(EXPIRED);
        let is_expiry = document.is_some();
        Ok(Self { document: document.unwrap_or(text).parse()?, is_expiry })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is stored of each kind of change. Records stay readable: later releases add members and states only.
    #[test]
    fn stored_records_are_read_and_written_unchanged() {
        let module = |changes: Value| {
            let mut record = json!({"v": 1, "installation": "inst-a", "app": "ari:app/1", "key": "k",
                "type": "trigger", "door": "forge_v2", "document": 1207, "revision": 1,
                "atMs": 1_796_000_000_000_i64, "state": "on", "registered": true,
                "data": {"endpoint": "hook", "events": ["avi:jira:updated:issue"],
                    "filter": {"expression": "true"}}});
            let record_members = record.as_object_mut().unwrap();
            record_members.extend(changes.as_object().unwrap().clone());
            record_members.retain(|_, value| !value.is_null());
            record
        };
        let mut records = vec![
            module(json!({"installation": null, "door": null, "revision": null})),
            module(json!({"state": "deleted", "revision": null, "data": null, "registered": null})),
            module(json!({"repaired": true, "ofALaterRelease": {"a": 1}})),
        ];
        let states =
            ["on", "paused", "off", "gone", "expired", "disabled", "uninstalled", "undelivered"];
        records.extend(states.map(|state| module(json!({"state": state, "registered": null}))));
        for record in records {
            let read = ModuleRevision::read(record.to_string().as_bytes()).unwrap();
            assert_eq!(read.state.as_str(), record["state"]);
            assert_eq!(serde_json::to_value(&read).unwrap(), record);
        }
        let later = module(json!({"v": 2})).to_string();
        assert_eq!(
            ModuleRevision::read(later.as_bytes()).unwrap_err(),
            "its format is 2, known is 1"
        );
    }
}
