//! Webhooks of an OAuth client that change their owner when its record changes.

use crate::registry::error::{RegisterError, document_error};
use crate::registry::model::{ClientUser, Document, DynamicWebhook, InstallationRecord};

/// Names the client in the webhooks of its user that were registered before clients were stored;
/// returns whether there were any.
pub(super) fn adopt(
    record: &mut InstallationRecord,
    owner: &ClientUser,
) -> Result<bool, RegisterError> {
    let key = InstallationRecord::key(record.id.as_str());
    let mut is_changed = false;
    for (module, webhook) in record.webhooks_of(Some(owner)) {
        if webhook.client.is_none() {
            let named = DynamicWebhook { client: Some(owner.client.clone()), ..webhook };
            module.set_webhook(&named).map_err(|error| document_error(&key, &error))?;
            is_changed = true;
        }
    }
    Ok(is_changed)
}

/// Assigns all webhooks of the client to its user, so that each can be listed and deleted by it;
/// returns whether any belonged to a former one.
pub(super) fn take_over(
    record: &mut InstallationRecord,
    owner: &ClientUser,
) -> Result<bool, RegisterError> {
    let key = InstallationRecord::key(record.id.as_str());
    let mut is_changed = false;
    for module in &mut record.modules {
        let webhook = DynamicWebhook::of_module(module);
        let Some(webhook) = webhook.filter(|known| known.is_of_client(&owner.client)) else {
            continue;
        };
        if webhook.user.as_ref() != Some(&owner.user) {
            let moved = DynamicWebhook { user: Some(owner.user.clone()), ..webhook };
            module.set_webhook(&moved).map_err(|error| document_error(&key, &error))?;
            is_changed = true;
        }
    }
    Ok(is_changed)
}
