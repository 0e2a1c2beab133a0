//! Quotas of an installation: modules, webhooks and entity-property paths.
//!
//! Each check gets a record as it would be stored, so it is exact under concurrent registrations. A
//! budget that is charged to an owner belongs here.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::program_cache::ProgramCache;
use super::trigger::Trigger;
use super::trigger_rules::ValidatedTrigger;
use crate::clock;
use crate::config::LimitsConfig;
use crate::domain::ModuleKey;
use crate::registry::model::{
    AppRecord, ClientUser, DynamicWebhook, InstallationRecord, Problem, QuotaUsage,
    RegistrationApi, TRIGGER, code,
};

/// Requires a quota for one more Forge module.
///
/// # Errors
/// The quota is used up.
pub(crate) fn check_modules(record: &InstallationRecord, max: usize) -> Result<(), Vec<Problem>> {
    let used = record.modules.len();
    if used < max {
        return Ok(());
    }
    let message = format!("limit {max} dynamic modules per installation, {used} used");
    let problem = Problem::new(code::MODULES_MAX, "", message);
    Err(vec![problem.with_help("delete one to make room")])
}

/// Requires a quota for `more` Connect modules; dynamic webhooks are not counted.
///
/// # Errors
/// The quota is too small.
pub(crate) fn check_connect_modules(
    record: &InstallationRecord,
    more: usize,
    max: usize,
) -> Result<QuotaUsage, Vec<Problem>> {
    let used = record.modules.iter().filter(|m| m.api != RegistrationApi::Webhook).count();
    if used + more <= max {
        return Ok(QuotaUsage { before: used, after: used + more, max });
    }
    let message =
        format!("Up to {max} modules can be registered dynamically in a tenancy, {used} are");
    Err(vec![Problem::new(code::MODULES_MAX, "", message)])
}

/// Limits the distinct entity-property paths of an installation. Includes the paths of its other
/// modules and of the static ones.
///
/// # Errors
/// More than `max` paths would be read.
pub(crate) fn check_property_paths(
    app: Option<&AppRecord>,
    record: &InstallationRecord,
    key: &ModuleKey,
    validated: &ValidatedTrigger,
    programs: &ProgramCache,
    max: usize,
) -> Result<(), Vec<Problem>> {
    if validated.property_paths.is_empty() {
        return Ok(());
    }
    let statics = app.iter().flat_map(|app| app.static_modules.get(TRIGGER)).flatten();
    let others = record.modules.iter().filter(|m| m.key != *key && m.module_type == TRIGGER);
    let others = others.map(|module| Cow::Owned(module.data.read()));
    let mut paths: BTreeSet<String> = validated.property_paths.clone();
    for data in statics.map(Cow::Borrowed).chain(others) {
        // An unreadable one is inactive and reads nothing.
        if let Ok(trigger) = Trigger::parse(&data, "data") {
            paths.extend(programs.property_paths(&trigger));
        }
    }
    path_problem(paths.len(), "data", max).map_or(Ok(()), |problem| Err(vec![problem]))
}

/// Limits the distinct entity-property paths of the static triggers of an app, which each of its
/// installations reads; `path` is their path in the request.
pub(crate) fn static_path_problem(
    triggers: &[Map<String, Value>],
    path: &str,
    programs: &ProgramCache,
    max: usize,
) -> Option<Problem> {
    let triggers = triggers.iter().filter_map(|data| Trigger::parse(data, path).ok());
    let paths: BTreeSet<String> =
        triggers.flat_map(|trigger| programs.property_paths(&trigger)).collect();
    path_problem(paths.len(), path, max)
}

fn path_problem(used: usize, path: &str, max: usize) -> Option<Problem> {
    (used > max).then(|| {
        let message =
            format!("{used} different entity properties would be read, the limit is {max}");
        Problem::new(code::PROPERTY_PATHS_MAX, path, message)
    })
}

/// Shadows of an installation. Each costs one more read of the events of the site.
const SHADOWS_OF_INSTALLATION_MAX: usize = 20;
/// Shadows of all installations.
const SHADOWS_MAX: i64 = 500;

/// Limits the shadows of an installation; the record has the new one.
///
/// # Errors
/// There are too many.
pub(crate) fn check_shadows(record: &InstallationRecord) -> Result<(), Vec<Problem>> {
    let used = record.modules.iter().filter(|module| module.shadow.is_some()).count();
    if used <= SHADOWS_OF_INSTALLATION_MAX {
        return Ok(());
    }
    let message = format!("limit {SHADOWS_OF_INSTALLATION_MAX} shadows per installation");
    let problem = Problem::new(code::SHADOWS_MAX, "", message);
    Err(vec![problem.with_help("promote or remove one to make room")])
}

/// Requires a quota for one more shadow of any installation; `used` are those that this replica knows.
///
/// # Errors
/// There are too many.
pub(crate) fn check_all_shadows(used: i64) -> Result<(), Vec<Problem>> {
    if used < SHADOWS_MAX {
        return Ok(());
    }
    let message = format!("limit {SHADOWS_MAX} shadows of all installations");
    let problem = Problem::new(code::SHADOWS_MAX, "", message);
    Err(vec![problem.with_help("promote or remove one to make room")])
}

/// Remaining dynamic webhooks of an owner.
pub(crate) struct WebhookQuota {
    left: usize,
    max: usize,
}

impl WebhookQuota {
    /// Computes the quota of an OAuth client and its user, or of the Connect app if none; expired
    /// webhooks are not counted.
    pub(crate) fn of(
        record: &InstallationRecord,
        owner: Option<&ClientUser>,
        limits: &LimitsConfig,
    ) -> Self {
        let max = match owner {
            None => limits.webhooks_per_app,
            Some(_) => limits.webhooks_per_user,
        };
        let now_ms = clock::broker_now_ms();
        let webhooks = record.modules.iter().filter_map(DynamicWebhook::of_module);
        let is_used = |w: &DynamicWebhook| w.is_of(owner) && w.expiration_date > now_ms;
        Self { left: max.saturating_sub(webhooks.filter(is_used).count()), max }
    }

    /// Takes one.
    ///
    /// # Errors
    /// The quota is used up, as a sentence.
    pub(crate) fn take(&mut self) -> Result<(), Vec<String>> {
        let left = self.left.checked_sub(1);
        self.left =
            left.ok_or_else(|| vec![format!("Maximum number of webhooks ({}) reached", self.max)])?;
        Ok(())
    }
}
