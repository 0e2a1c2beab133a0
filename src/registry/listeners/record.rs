//! A listener as it is asked for, and as its replica announces it to the others.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{CloudId, InstallationId};

/// A listener, as its replica announces it to the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerRecord {
    /// Its id: that of the installation which its deliveries name.
    pub id: InstallationId,
    /// The site whose events it receives.
    pub site: CloudId,
    /// The installation whose app conditions and filters see; none = no app.
    pub installation: Option<InstallationId>,
    /// Data of its trigger.
    pub data: Map<String, Value>,
    /// When it began, milliseconds since the epoch.
    pub since_ms: i64,
}

/// What a listener receives, as a client asks for it; a member may be left out if another one says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerSpec {
    /// The site; that of the installation if there is one.
    pub site: Option<CloudId>,
    /// The installation whose app conditions and filters see.
    pub installation: Option<InstallationId>,
    /// A trigger whose events and filter it takes.
    pub subscription: Option<String>,
    /// Event types; those of the trigger, else all that the filter can be meant for.
    #[serde(default)]
    pub events: Vec<String>,
    /// The filter; that of the trigger, else every event passes.
    pub filter: Option<String>,
}
