//! Times at which an installation needs background work, derived from its record.

use super::app::AppRecord;
use super::dynamic_webhook::DynamicWebhook;
use super::installation::{InstallationRecord, InstallationState};

/// Time of the next request to the app, milliseconds since the epoch; none = never.
pub(crate) fn discovery_due_ms(app: &AppRecord, record: &InstallationRecord) -> Option<i64> {
    app.discovery.as_ref()?;
    if record.state != InstallationState::Enabled {
        return None;
    }
    let Some(known) = &record.discovery else { return Some(0) };
    let due_ms = if known.app_updated_ms == app.updated_ms { known.due_ms } else { 0 };
    Some(due_ms.max(known.claimed_until_ms))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::UnknownMembers;
    use crate::registry::model::{
        DYNAMIC_WEBHOOK, DiscoveryStatus, ModuleRecord, ModuleStatus, RegistrationApi,
    };
    use crate::registry::testing::{connect_installation, forge_app};

    fn app(members: serde_json::Value) -> AppRecord {
        let mut app = serde_json::to_value(forge_app()).unwrap();
        app.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        serde_json::from_value(app).unwrap()
    }

    #[test]
    fn discovery_is_due_at_once_then_as_stored_and_again_after_a_new_version() {
        let mut record = connect_installation();
        assert_eq!(discovery_due_ms(&forge_app(), &record), None, "without discovery");
        let mut app = app(json!({"discovery": {"use": ["trigger"], "url": "u", "secret": "s"}}));
        assert_eq!(discovery_due_ms(&app, &record), Some(0));
        record.discovery = Some(DiscoveryStatus { due_ms: 9, ..DiscoveryStatus::default() });
        assert_eq!(discovery_due_ms(&app, &record), Some(9));
        app.updated_ms += 1;
        assert_eq!(discovery_due_ms(&app, &record), Some(0));
        record.state = InstallationState::Disabled;
        assert_eq!(discovery_due_ms(&app, &record), None);
    }

    #[test]
    fn warning_is_due_in_the_last_tenth_of_the_earliest_unannounced_webhook() {
        let app = app(json!({"notices": {"url": "u", "secret": "s"}}));
        let mut record = connect_installation();
        assert_eq!(expiry_warning_due_ms(&app, &record, 100), None);
        for expires_ms in [500, 900] {
            let data = json!({"expirationDate": expires_ms}).as_object().unwrap().clone();
            record.modules.push(ModuleRecord {
                key: format!("webhook-{expires_ms}").into(),
                module_type: DYNAMIC_WEBHOOK.into(),
                data: data.into(),
                api: RegistrationApi::Webhook,
                status: ModuleStatus::On,
                created_ms: 0,
                updated_ms: 0,
                revision: 1,
                order: 1,
                shadow: None,
                promotion: None,
                unknown: UnknownMembers::default(),
            });
        }
        assert_eq!(expiry_warning_due_ms(&app, &record, 100), Some(490));
        record.warned_until_ms = 500;
        assert_eq!(expiry_warning_due_ms(&app, &record, 100), Some(890));
    }
}
