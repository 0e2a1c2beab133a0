//! The revisions that a change of a document makes: pure, from the document before and after it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::content::has_same_filters;
use super::record::{ModuleRevision, RevisedState};
use crate::domain::{ModuleKey, UnknownMembers};
use crate::registry::model::{
    AppRecord, DynamicWebhook, InstallationRecord, InstallationState, ModuleFields, ModuleRecord,
    ModuleStatus,
};

/// When a document changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Revision of the changed document.
    pub(crate) document: u64,
    /// Milliseconds since the epoch, by the broker's clock.
    pub(crate) now_ms: i64,
}

/// Returns the state of a registered module at a time.
pub(crate) fn state_of(
    installation: InstallationState,
    module: &ModuleRecord,
    now_ms: i64,
) -> RevisedState {
    match (installation, module.status) {
        (InstallationState::Uninstalled, _) => RevisedState::Uninstalled,
        (InstallationState::Disabled, _) => RevisedState::Disabled,
        (_, ModuleStatus::Off) => RevisedState::Off,
        (_, ModuleStatus::EndpointGone) => RevisedState::EndpointGone,
        _ if expires_ms(module).is_some_and(|at_ms| at_ms <= now_ms) => RevisedState::Expired,
        (_, ModuleStatus::Paused) => RevisedState::Paused,
        (_, ModuleStatus::On) => RevisedState::On,
    }
}

/// Returns when a dynamic webhook expires.
pub(super) fn expires_ms(module: &ModuleRecord) -> Option<i64> {
    DynamicWebhook::expires_ms(&module.module_type, &module.data)
}

/// Returns the revision of a registered module as it is now.
pub(super) fn of_module(
    record: &InstallationRecord,
    module: &ModuleRecord,
    change: Change,
) -> ModuleRevision {
    let state = state_of(record.state, module, change.now_ms);
    let expired_ms = expires_ms(module).filter(|_| state == RevisedState::Expired);
    ModuleRevision {
        format: ModuleRevision::format(),
        installation: Some(record.id.clone()),
        app: record.app.clone(),
        key: module.key.clone(),
        module_type: module.module_type.clone(),
        api: Some(module.api),
        document: change.document,
        revision: Some(module.revision),
        at_ms: expired_ms.unwrap_or(change.now_ms),
        state,
        is_registration: false,
        repaired: false,
        data: Some(module.data.clone()),
        unknown: UnknownMembers::default(),
    }
}

/// Returns a revision for each registered module whose filter, events or state differ in the document after
/// a change; none for a document that is not there. Both are looked at as of the time of the change, so that
/// what became due in between, such as an expiry, is not a change.
pub(crate) fn changes_of_installation(
    before: Option<&InstallationRecord>,
    after: Option<&InstallationRecord>,
    change: Change,
) -> Vec<ModuleRevision> {
    let modules = before.iter().flat_map(|record| &record.modules);
    let mut known: HashMap<&ModuleKey, &ModuleRecord> =
        modules.map(|module| (&module.key, module)).collect();
    let mut found = Vec::new();
    if let Some(record) = after {
        for module in &record.modules {
            let old = known.remove(&module.key).zip(before);
            let is_same = old.is_some_and(|(old, before)| {
                is_unchanged((before.state, old), (record.state, module), change.now_ms)
            });
            if !is_same {
                let is_registration = old.is_none();
                let revision = of_module(record, module, change);
                found.push(ModuleRevision { is_registration, ..revision });
            }
        }
    }
    if let Some(record) = before {
        let removed = record.modules.iter().filter(|module| known.contains_key(&module.key));
        let removed = removed.map(|module| of_module(record, module, change));
        found.extend(removed.map(|old| old.deleted(change.document, change.now_ms)));
    }
    found
}

fn is_unchanged(
    (old_state, old): (InstallationState, &ModuleRecord),
    (state, module): (InstallationState, &ModuleRecord),
    now_ms: i64,
) -> bool {
    // Most modules: their texts are one allocation, or equal.
    if old_state == state && old.status == module.status && old.data == module.data {
        return old.module_type == module.module_type;
    }
    old.module_type == module.module_type
        && state_of(old_state, old, now_ms) == state_of(state, module, now_ms)
        && has_same_filters(&old.data, &module.data)
}

/// A static module of an app.
#[derive(Clone, Copy)]
struct Static<'a> {
    module_type: &'a str,
    state: RevisedState,
    data: &'a Map<String, Value>,
}

impl Static<'_> {
    fn has_same_content(&self, other: &Self) -> bool {
        (self.module_type, self.state) == (other.module_type, other.state)
            && (self.data == other.data
                || has_same_filters(&self.data.clone().into(), &other.data.clone().into()))
    }
}

/// The static modules of an app by their keys.
fn statics(app: Option<&AppRecord>) -> BTreeMap<&str, Static<'_>> {
    app.map(statics_of).unwrap_or_default()
}

fn statics_of(app: &AppRecord) -> BTreeMap<&str, Static<'_>> {
    let modules = app.static_modules.iter();
    let modules = modules.flat_map(|(kind, all)| all.iter().map(move |data| (kind.as_str(), data)));
    let keyed = modules.filter_map(|(kind, data)| {
        let key = data.get("key").and_then(Value::as_str)?;
        let module_type = app.declared_type(kind);
        let state = match module_type == kind {
            true => RevisedState::On,
            false => RevisedState::Undelivered,
        };
        Some((key, Static { module_type, state, data }))
    });
    keyed.collect()
}

/// Returns the revision of every static module of an app as it is now.
pub(super) fn of_statics(app: &AppRecord, change: Change) -> Vec<ModuleRevision> {
    let modules = statics_of(app).into_iter();
    modules.map(|(key, module)| of_static(app, key, module, change)).collect()
}

fn of_static(app: &AppRecord, key: &str, module: Static<'_>, change: Change) -> ModuleRevision {
    ModuleRevision {
        format: ModuleRevision::format(),
        installation: None,
        app: app.id.clone(),
        key: key.into(),
        module_type: module.module_type.to_owned(),
        api: None,
        document: change.document,
        revision: None,
        at_ms: change.now_ms,
        state: module.state,
        is_registration: false,
        repaired: false,
        data: Some(ModuleFields::from(module.data.clone())),
        unknown: UnknownMembers::default(),
    }
}

/// As [`changes_of_installation`], for the static modules of an app.
pub(crate) fn changes_of_app(
    before: Option<&AppRecord>,
    after: Option<&AppRecord>,
    change: Change,
) -> Vec<ModuleRevision> {
    let (old, new) = (statics(before), statics(after));
    let mut found = Vec::new();
    if let Some(app) = after {
        for (key, module) in &new {
            let known = old.get(key);
            if !known.is_some_and(|known| known.has_same_content(module)) {
                let is_registration = known.is_none();
                let revision = of_static(app, key, *module, change);
                found.push(ModuleRevision { is_registration, ..revision });
            }
        }
    }
    if let Some(app) = before {
        for (key, module) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
            let removed = of_static(app, key, *module, change);
            found.push(removed.deleted(change.document, change.now_ms));
        }
    }
    found
}
