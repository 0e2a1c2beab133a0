//! The discovery status of an installation as JSON.

use serde_json::{Value, json};

use super::json::{insert_some, rfc3339, rfc3339_unless_zero};
use crate::registry::{DiscoveryStatus, InstallationRecord, RegistrationApi};

/// Renders the discovery status and the discovered modules.
pub(super) fn discovery_view(record: &InstallationRecord, known: &DiscoveryStatus) -> Value {
    let discovered =
        record.modules.iter().filter(|module| module.api == RegistrationApi::Discovery);
    let mut view = json!({
        "installation": record.id,
        "modules": discovered.map(|module| &module.key).collect::<Vec<_>>(),
        "ignored": known.ignored,
        "failures": known.failures,
        "dueAt": rfc3339(known.due_ms),
    });
    insert_some(&mut view, "fetchedAt", rfc3339_unless_zero(known.fetched_ms));
    insert_some(&mut view, "askingUntil", rfc3339_unless_zero(known.claimed_until_ms));
    insert_some(&mut view, "error", known.error.as_ref());
    view
}
