//! Notices to apps: ignored modules, quotas that are nearly used up, webhooks that expire soon, filters
//! that cost more than the installation may use.
//!
//! A notice is posted to the address in the app record (`notices.url`) and signed like a delivery; an
//! app without one gets none.

use bytes::Bytes;
use serde_json::{Value, json};
use tracing::error;
use url::Url;
use uuid::Uuid;

use super::context::Context;
use crate::clock;
use crate::domain::InstallationId;
use crate::matcher::ExceededShare;
use crate::registry::app_calls::{AppCall, CallAuth};
use crate::registry::error::RegisterError;
use crate::registry::model::{
    AppRecord, DynamicWebhook, InstallationRecord, QuotaUsage, expiry_warning_due_ms,
};
use crate::registry::transaction::Mutation;

/// Notices to apps.
#[derive(Clone, Copy)]
pub(crate) struct Notices<'a> {
    context: &'a Context,
}

impl<'a> Notices<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Queues a notice about an installation, if the app has an address for notices.
    pub(super) fn send(self, app: &AppRecord, id: &InstallationId, kind: &str, data: Value) {
        let Some(notices) = &app.notices else { return };
        let url = match Url::parse(&notices.url) {
            Ok(url) => url,
            Err(error) => {
                error!(app = %app.id, kind, %error, "stored address for notices is invalid");
                return;
            }
        };
        let at = clock::now().to_string();
        let body = json!({"type": kind, "timestamp": at, "installationId": id, "data": data});
        self.context.calls.notify(AppCall {
            kind: "notice",
            id: Uuid::new_v4().to_string(),
            url,
            auth: CallAuth::Signature(notices.secret.clone()),
            body: Bytes::from(body.to_string()),
        });
    }

    /// Notifies the app if a change crossed the quota threshold.
    pub(super) fn near_limit(self, id: &InstallationId, usage: QuotaUsage) {
        if !usage.crossed_threshold() {
            return;
        }
        let Ok(target) = self.context.target(id) else { return };
        let data = json!({"used": usage.after, "max": usage.max});
        self.send(&target.app.record, id, "switchyard.modules.near_limit", data);
    }

    /// Notifies the app that one of its modules receives no more events.
    pub(super) fn inactive(self, id: &InstallationId, key: &str, reason: &str) {
        let Ok(target) = self.context.target(id) else { return };
        let data = json!({"key": key, "reason": reason});
        self.send(&target.app.record, id, "switchyard.module.inactive", data);
    }

    /// Notifies the app that events of an installation are postponed, because its filters cost more
    /// than its share of evaluation.
    pub(crate) fn share_exceeded(self, exceeded: &ExceededShare) {
        let id = &exceeded.installation;
        let Ok(target) = self.context.target(id) else { return };
        let data = json!({
            "stepsPerEvent": exceeded.steps_per_event,
            "stepsPerSecondMax": exceeded.steps_per_second,
        });
        self.send(&target.app.record, id, "switchyard.evaluation.share_exceeded", data);
    }

    /// Warns the app of webhooks that expire soon; each expiry is announced once over all replicas.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(crate) async fn warn_of_expiring_webhooks(
        self,
        id: &InstallationId,
    ) -> Result<(), RegisterError> {
        let life_ms = self.context.settings.limits.webhook_life_ms();
        let Ok(target) = self.context.target(id) else { return Ok(()) };
        let app = &target.app.record;
        let is_due = |record: &InstallationRecord| {
            let due_ms = expiry_warning_due_ms(app, record, life_ms);
            due_ms.is_some_and(|due_ms| due_ms <= clock::broker_now_ms())
        };
        if !is_due(&target.installation.record) {
            return Ok(());
        }
        let soon_ms = clock::broker_now_ms().saturating_add(life_ms / 10);
        let expiring = self
            .context
            .transactions
            .update_document(id.as_str(), |current: Option<InstallationRecord>| {
                let Some(mut record) = current.filter(is_due) else {
                    return Ok(Mutation::Keep(Vec::new()));
                };
                let webhooks = expiring_webhooks(&record, soon_ms);
                record.warned_until_ms = soon_ms;
                Ok(Mutation::Put(Box::new(record), webhooks))
            })
            .await?;
        if !expiring.is_empty() {
            let data = json!({"webhooks": expiring});
            self.send(app, id, "switchyard.webhook.expiring", data);
        }
        Ok(())
    }
}

/// The webhooks that expire until `soon_ms` and were not announced.
fn expiring_webhooks(record: &InstallationRecord, soon_ms: i64) -> Vec<Value> {
    let announced_ms = record.warned_until_ms;
    let expiring = record.modules.iter().filter_map(|module| {
        let at_ms = DynamicWebhook::expires_ms(&module.module_type, &module.data)?;
        let is_new = at_ms > announced_ms && at_ms <= soon_ms;
        let id = || module.data.read().remove("id");
        is_new.then(id)?.map(|id| json!({"id": id, "expirationDate": at_ms}))
    });
    expiring.collect()
}
