//! Times at which an installation needs background work, derived from its record.

use super::app::AppRecord;
use super::dynamic_webhook::DynamicWebhook;
use super::installation::{InstallationRecord, InstallationState};

/// Time at which the app is asked next, milliseconds since the epoch; none = never.
pub(crate) fn discovery_due_ms(app: &AppRecord, record: &InstallationRecord) -> Option<i64> {
    app.discovery.as_ref()?;
    if record.state != InstallationState::Enabled {
        return None;
    }
    let Some(known) = &record.discovery else { return Some(0) };
    let due_ms = if known.app_updated_ms == app.updated_ms { known.due_ms } else { 0 };
    Some(due_ms.max(known.asking_until_ms))
}

/// Time at which the app is warned of expiring webhooks, milliseconds since the epoch; none =
/// never. `life_ms` is the lifetime of a webhook; the warning is sent in its last tenth.
pub(crate) fn expiry_warning_due_ms(
    app: &AppRecord,
    record: &InstallationRecord,
    life_ms: i64,
) -> Option<i64> {
    app.notices.as_ref()?;
    if record.state != InstallationState::Enabled {
        return None;
    }
    let expiries = record
        .modules
        .iter()
        .filter_map(|module| DynamicWebhook::expires_ms(&module.module_type, &module.data));
    let next_ms = expiries.filter(|at_ms| *at_ms > record.warned_until_ms).min()?;
    Some(next_ms.saturating_sub(life_ms / 10))
}
