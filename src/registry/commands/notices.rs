//! Notices to apps: ignored modules, quotas that are nearly used up, webhooks that expire soon, filters
//! that cost more than the installation may use. Lifecycle callbacks of Connect apps are sent as
//! notices, too.
//!
//! A notice is posted to the address in the app record (`notices.url`) and signed like a delivery; an
//! app without one gets none. It waits in the record of the installation until the app has it.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{error, info, warn};
use url::Url;

use super::connect_lifecycle::ConnectLifecycle;
use super::context::Context;
use crate::clock;
use crate::domain::InstallationId;
use crate::matcher::ExceededShare;
use crate::registry::app_calls::{AppCall, CallAuth};
use crate::registry::error::RegisterError;
use crate::registry::metrics;
use crate::registry::model::{
    AppRecord, DynamicWebhook, InstallationRecord, NoticeOutcome, PendingNotice, QuotaUsage,
    expiry_warning_due_ms,
};
use crate::registry::transaction::Mutation;

/// Type of the notice of modules that discovery ignored; its data are those of the record.
const DISCOVERY_IGNORED: &str = "switchyard.discovery.ignored";

/// Type of the notice that the module quota is nearly used up.
const NEAR_LIMIT: &str = "switchyard.modules.near_limit";

/// Type of the notice that a module receives no more events.
const INACTIVE: &str = "switchyard.module.inactive";

/// Type of the notice of webhooks that expire soon.
const EXPIRING: &str = "switchyard.webhook.expiring";

/// Type of the notice that events are postponed.
const SHARE_EXCEEDED: &str = "switchyard.evaluation.share_exceeded";

/// Time after which no further notice of a claim is sent; a claim ends after a minute.
const SENDING_MAX: Duration = Duration::from_secs(30);

/// Notices to apps.
#[derive(Clone, Copy)]
pub(crate) struct Notices<'a> {
    context: &'a Context,
}

impl<'a> Notices<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Adds a notice to the record that is about to be stored, if the app has an address for notices.
    /// Returns whether it was added.
    fn add(self, record: &mut InstallationRecord, kind: &str, data: Value) -> bool {
        self.merge(record, kind, data, |_| false)
    }

    /// As [`Notices::add`], in place of the waiting notices of this kind for whose data `is_merged`.
    fn merge(
        self,
        record: &mut InstallationRecord,
        kind: &str,
        data: Value,
        is_merged: impl Fn(&Value) -> bool,
    ) -> bool {
        let app = self.context.state().app(record.app.as_str());
        if app.is_none_or(|app| app.record.notices.is_none()) {
            return false;
        }
        if let Some(replaced) = record.merge_notice(kind, data, is_merged) {
            metrics::app_called("notice", false);
            warn!(installation = %record.id, kind = replaced, "notice dropped: too many wait");
        }
        true
    }

    /// As [`Notices::add`], unless a notice of this kind waits already: one is enough.
    fn add_once(self, record: &mut InstallationRecord, kind: &str, data: Value) -> bool {
        let waits = record.notices.iter().any(|notice| notice.kind == kind);
        !waits && self.add(record, kind, data)
    }

    /// Adds a notice if a change crosses the quota threshold, in place of a waiting one, whose numbers are
    /// out of date.
    pub(super) fn near_limit(self, record: &mut InstallationRecord, usage: QuotaUsage) {
        if usage.crossed_threshold() {
            let data = json!({"used": usage.after, "max": usage.max});
            self.merge(record, NEAR_LIMIT, data, |_| true);
        }
    }

    /// Adds the notice that a module receives no more events, in place of a waiting one about the module.
    pub(super) fn inactive(self, record: &mut InstallationRecord, key: &str, reason: &str) {
        let data = json!({"key": key, "reason": reason});
        self.merge(record, INACTIVE, data, |waiting| waiting.get("key") == Some(&key.into()));
    }

    /// Adds the notice that discovery ignored modules; one that waits already is enough.
    pub(super) fn discovery_ignored(self, record: &mut InstallationRecord) {
        self.add_once(record, DISCOVERY_IGNORED, Value::Null);
    }

    /// Notifies the app that events of an installation are postponed, because its filters cost more
    /// than its share of evaluation.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(crate) async fn share_exceeded(
        self,
        exceeded: &ExceededShare,
    ) -> Result<(), RegisterError> {
        let data = json!({
            "stepsPerEvent": exceeded.steps_per_event,
            "stepsPerSecondMax": exceeded.steps_per_second,
        });
        let noted = self.context.update_if_enabled(&exceeded.installation, |mut record| {
            let added = self.add_once(&mut record, SHARE_EXCEEDED, data.clone());
            Ok(if added { Mutation::Put(record, ()) } else { Mutation::Keep(()) })
        });
        noted.await.map(drop)
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
        self.context
            .transactions
            .update_document(id.as_str(), |current: Option<InstallationRecord>| {
                let Some(mut record) = current.filter(is_due) else {
                    return Ok(Mutation::Keep(()));
                };
                let webhooks = expiring_webhooks(&record, soon_ms);
                record.warned_until_ms = soon_ms;
                if !webhooks.is_empty() {
                    let data = json!({"webhooks": with_waiting(&record, webhooks)});
                    self.merge(&mut record, EXPIRING, data, |_| true);
                }
                Ok(Mutation::Put(Box::new(record), ()))
            })
            .await
    }

    /// Sends the notices of an installation that are due; one replica at a time sends a notice.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(crate) async fn send_due(self, id: &InstallationId) -> Result<(), RegisterError> {
        let Ok(target) = self.context.target(id) else { return Ok(()) };
        let is_due = |record: &InstallationRecord| {
            record.notice_due_ms().is_some_and(|due_ms| due_ms <= clock::broker_now_ms())
        };
        if !is_due(&target.installation.record) {
            return Ok(());
        }
        let claim = |current: Option<InstallationRecord>| {
            let Some(mut record) = current.filter(is_due) else { return Ok(Mutation::Keep(None)) };
            let claimed = record.claim_notices(clock::broker_now_ms());
            let answer = Some((record.clone(), claimed));
            Ok(Mutation::Put(Box::new(record), answer))
        };
        let claimed = self.context.transactions.update_document(id.as_str(), claim).await?;
        let Some((record, claimed)) = claimed else { return Ok(()) };
        let mut outcomes = Vec::with_capacity(claimed.len());
        let start = clock::tick();
        let mut is_stopped = false;
        for notice in &claimed {
            let outcome = match is_stopped {
                true => NoticeOutcome::NotTried,
                false => self.send(&target.app.record, &record, notice).await,
            };
            // All installations share few places, and a claim ends: an app that does not answer holds
            // them for one notice.
            is_stopped |= outcome == NoticeOutcome::Failed || clock::since(start) > SENDING_MAX;
            outcomes.push((&notice.id, outcome));
        }
        let settle = |current: Option<InstallationRecord>| {
            let Some(mut record) = current else { return Ok(Mutation::Keep(0)) };
            let now_ms = clock::broker_now_ms();
            let mut dropped = 0_usize;
            for (notice, outcome) in &outcomes {
                dropped += usize::from(record.settle_notice(notice, *outcome, now_ms));
            }
            Ok(Mutation::Put(Box::new(record), dropped))
        };
        let dropped = self.context.transactions.update_document(id.as_str(), settle).await?;
        if dropped > 0 {
            info!(installation = %id, dropped, "notices dropped after their last attempt");
        }
        Ok(())
    }

    async fn send(
        self,
        app: &AppRecord,
        record: &InstallationRecord,
        notice: &PendingNotice,
    ) -> NoticeOutcome {
        let call = match ConnectLifecycle::new(self.context).pending_callback(app, record, notice) {
            Some(call) => call,
            None => notice_call(app, record, notice),
        };
        // An app that no longer has an address gets none.
        let Some(call) = call else { return NoticeOutcome::Sent };
        match self.context.calls.call(call).await {
            Ok(_) => NoticeOutcome::Sent,
            Err(error) => {
                let (id, kind) = (&notice.id, &notice.kind);
                info!(installation = %record.id, id, kind, %error, "notice not sent");
                NoticeOutcome::Failed
            }
        }
    }
}

/// Builds the request of a notice; none if the app has no address for notices.
fn notice_call(
    app: &AppRecord,
    record: &InstallationRecord,
    notice: &PendingNotice,
) -> Option<AppCall> {
    let notices = app.notices.as_ref()?;
    let url = match Url::parse(&notices.url) {
        Ok(url) => url,
        Err(error) => {
            error!(app = %app.id, %error, "stored address for notices is invalid");
            return None;
        }
    };
    let data = match (&*notice.kind, &record.discovery) {
        (DISCOVERY_IGNORED, Some(known)) => json!({"ignored": known.ignored, "error": known.error}),
        _ => notice.data.clone(),
    };
    let at = Timestamp::from_millisecond(notice.at_ms).ok().map(|at| at.to_string());
    let body = json!({
        "type": notice.kind, "timestamp": at, "installationId": record.id, "data": data,
    });
    Some(AppCall {
        kind: "notice",
        id: notice.id.clone(),
        url,
        auth: CallAuth::Signature(notices.secret.clone()),
        body: Bytes::from(body.to_string()),
    })
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

/// Returns webhooks together with those that waiting notices name and that are still registered, which
/// bounds their number.
fn with_waiting(record: &InstallationRecord, webhooks: Vec<Value>) -> Vec<Value> {
    let registered = record.modules.iter().filter_map(DynamicWebhook::of_module);
    let registered: HashSet<u64> = registered.map(|webhook| webhook.id).collect();
    let waiting = record.notices.iter().filter(|notice| notice.kind == EXPIRING);
    let named = waiting.filter_map(|notice| notice.data.get("webhooks")?.as_array()).flatten();
    let id = |webhook: &Value| webhook.get("id").and_then(Value::as_u64);
    let is_new =
        |id: u64, all: &[Value]| !all.iter().any(|known| known.get("id") == Some(&id.into()));
    let mut all = webhooks;
    for webhook in named {
        if id(webhook).is_some_and(|id| registered.contains(&id) && is_new(id, &all)) {
            all.push(webhook.clone());
        }
    }
    all
}
