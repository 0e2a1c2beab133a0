//! Notices to apps: ignored modules, quotas that are nearly used up, webhooks that expire soon.
//!
//! A notice is posted to the address in the app record (`notices.url`) and signed like a delivery;
//! an app without one gets none.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::clock;
use crate::domain::{InstallationId, Secret};
use crate::registry::app_calls::{AppCall, CallAuth};
use crate::registry::commands::dynamic_webhooks::DynamicWebhook;
use crate::registry::compile::applied::AppliedApp;
use crate::registry::model::document::{AppRecord, InstallationRecord, InstallationState};
use crate::registry::model::problem::{Problem, code};
use crate::registry::registry::{Mutation, RegisterError, Registry};

/// Share of a quota above which the app is notified, in percent.
const NEAR_LIMIT_PERCENT: usize = 90;

/// Address for notices to an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeEndpoint {
    /// The address.
    pub url: String,
    /// Signs the notices.
    #[serde(with = "crate::registry::model::document::clear")]
    pub secret: Secret,
}

/// Usage of a quota before and after a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaUsage {
    pub(crate) before: usize,
    pub(crate) after: usize,
    pub(crate) max: usize,
}

impl QuotaUsage {
    /// Whether the change crossed the threshold.
    fn crossed_threshold(self) -> bool {
        let is_near =
            |used: usize| used.saturating_mul(100) >= self.max.saturating_mul(NEAR_LIMIT_PERCENT);
        self.max > 0 && is_near(self.after) && !is_near(self.before)
    }

    /// Warning for the caller whose change crossed the threshold.
    pub(crate) fn warning(self) -> Option<Problem> {
        let Self { after, max, .. } = self;
        let message = format!("{after} of {max} dynamic modules are used");
        self.crossed_threshold().then(|| Problem::new(code::NEAR_LIMIT, "", message))
    }
}

/// Time at which the app is warned of expiring webhooks, milliseconds since the epoch; none =
/// never. `life_ms` is the lifetime of a webhook; the warning is sent in its last tenth.
pub(crate) fn warning_due_ms(
    app: &AppliedApp,
    record: &InstallationRecord,
    life_ms: i64,
) -> Option<i64> {
    app.record.notices.as_ref()?;
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

impl Registry {
    /// Queues a notice about an installation, if the app has an address for notices.
    pub(crate) fn send_notice(
        &self,
        app: &AppRecord,
        of: &InstallationId,
        kind: &str,
        data: Value,
    ) {
        let Some(notices) = &app.notices else { return };
        let Ok(url) = Url::parse(&notices.url) else { return };
        let id = Uuid::new_v4().to_string();
        let at = clock::now().to_string();
        let body = json!({"type": kind, "timestamp": at, "installationId": of, "data": data});
        let proof = CallAuth::Signature(notices.secret.clone());
        self.calls.notify(AppCall {
            kind: "notice",
            id,
            url,
            proof,
            body: Bytes::from(body.to_string()),
        });
    }

    /// Notifies the app if a change crossed the quota threshold.
    pub(crate) fn notify_near_limit(&self, of: &InstallationId, usage: QuotaUsage) {
        let live = self.installation(of.as_str()).filter(|_| usage.crossed_threshold());
        let Some(app) = live.and_then(|live| self.app(live.record.app.as_str())) else { return };
        let data = json!({"used": usage.after, "max": usage.max});
        self.send_notice(&app.record, of, "switchyard.modules.near_limit", data);
    }

    /// Notifies the app that one of its modules receives no more events.
    pub(crate) fn notify_inactive(&self, of: &InstallationId, key: &str, reason: &str) {
        let live = self.installation(of.as_str());
        let Some(app) = live.and_then(|live| self.app(live.record.app.as_str())) else { return };
        let data = json!({"key": key, "reason": reason});
        self.send_notice(&app.record, of, "switchyard.module.inactive", data);
    }

    /// Warns the app of webhooks that expire soon; each expiry is announced once over all replicas.
    pub(crate) async fn warn_of_expiring_webhooks(
        &self,
        id: &InstallationId,
    ) -> Result<(), RegisterError> {
        let life_ms = self.webhook_life_ms();
        let Some(live) = self.installation(id.as_str()) else { return Ok(()) };
        let Some(app) = self.app(live.record.app.as_str()) else { return Ok(()) };
        let is_due = |record: &InstallationRecord| {
            warning_due_ms(&app, record, life_ms).is_some_and(|due| due <= clock::now_ms())
        };
        if !is_due(&live.record) {
            return Ok(());
        }
        let soon_ms = clock::now_ms().saturating_add(life_ms / 10);
        let expiring = self
            .update_document(id.as_str(), |current: Option<InstallationRecord>| {
                let Some(mut record) = current.filter(is_due) else {
                    return Ok(Mutation::Keep(Vec::new()));
                };
                let already_ms = record.warned_until_ms;
                let webhooks: Vec<Value> = record
                    .modules
                    .iter()
                    .filter_map(|module| {
                        let at_ms = DynamicWebhook::expires_ms(&module.module_type, &module.data)?;
                        let is_news = at_ms > already_ms && at_ms <= soon_ms;
                        let id = || module.data.read().remove("id");
                        let entry = |id| json!({"id": id, "expirationDate": at_ms});
                        is_news.then(id)?.map(entry)
                    })
                    .collect();
                record.warned_until_ms = soon_ms;
                Ok(Mutation::Put(Box::new(record), webhooks))
            })
            .await?;
        if !expiring.is_empty() {
            let data = json!({"webhooks": expiring});
            self.send_notice(&app.record, id, "switchyard.webhook.expiring", data);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_crossed_once() {
        let near = |before, after| QuotaUsage { before, after, max: 100 }.crossed_threshold();
        assert!(near(89, 90) && near(0, 100));
        assert!(!near(88, 89) && !near(90, 91) && !near(95, 94));
        assert!(!QuotaUsage { before: 0, after: 0, max: 0 }.crossed_threshold());
    }
}
