//! Problems of modules: webhooks that are stored and never delivered, webhooks whose OAuth client does not
//! exist, and modules with warnings. The
//! static modules of an app are one problem, the registered modules of an installation another.
//!
//! Warnings are found when they are first read, which compiles filters. So a page reviews a bounded
//! number of modules, and may have fewer problems than it was asked for.

use serde_json::{Value, json};

use crate::api::json::insert_some;
use crate::api::state::Shared;
use crate::domain::InstallationId;
use crate::recovery::doctor::{Subject, SubjectKind};
use crate::registry::{AppliedInstallation, AppliedModule, EffectiveStatus};

/// Modules that one page reviews, at least those of one installation.
const REVIEWED_MAX: usize = 500;
/// Installations that one page looks at, with and without modules.
const INSTALLATIONS_MAX: usize = 5_000;
/// Modules that a problem names.
const NAMED_MAX: usize = 10;
/// Prefix of the keys of installations.
const PREFIX: &str = "modules.";

/// Returns the installation of a key in the list.
pub(super) fn installation_of_key(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

/// Returns the problems of the static modules of apps with their keys. The warnings are those of the
/// first installation; an app without one delivers nothing.
pub(super) fn of_apps(state: &Shared) -> Vec<(String, Value)> {
    let (mut found, mut reviewed) = (Vec::new(), 0);
    for id in state.registry.app_ids(None, usize::MAX) {
        let Some(installation) = state.registry.installations_of(id.as_str()).next() else {
            continue;
        };
        let modules = installation.modules.iter().map(|module| &**module);
        let modules: Vec<_> = modules.filter(|module| module.is_static).collect();
        reviewed += modules.len();
        let has_reviews = reviewed <= REVIEWED_MAX;
        let affected = affected(state, &installation, modules.into_iter(), has_reviews);
        let key = format!("app-modules.{id}");
        if let Some(mut view) = problem_view("app_modules", &key, &affected) {
            insert_some(&mut view, "app", Some(&id));
            let subject = Subject::new(SubjectKind::App, id.as_str());
            insert_some(&mut view, "subjects", Some([subject]));
            found.push((key, view));
        }
    }
    found
}

/// Returns at most `limit` problems of installations after `after`, in the order of their ids, and the
/// key to go on after; none if all installations were looked at.
pub(super) fn of_installations(
    state: &Shared,
    after: Option<&str>,
    limit: usize,
) -> (Vec<Value>, Option<String>) {
    let (mut found, mut reviewed, mut looked_at) = (Vec::new(), 0, 0);
    let mut last: Option<InstallationId> = None;
    let resume = |last: Option<&InstallationId>| {
        // Before the first installation, the page ends where it began.
        Some(key_of(last.map_or(after.unwrap_or_default(), InstallationId::as_str)))
    };
    for id in state.registry.installation_ids(after, INSTALLATIONS_MAX + 1) {
        if found.len() >= limit || reviewed >= REVIEWED_MAX || looked_at >= INSTALLATIONS_MAX {
            return (found, resume(last.as_ref()));
        }
        looked_at += 1;
        if let Some(installation) = state.registry.installation(id.as_str()) {
            let (view, modules) = problem_of(state, &installation);
            reviewed += modules;
            found.extend(view);
        }
        last = Some(id);
    }
    (found, None)
}

/// Returns the problem of an installation; none if there is none.
pub(super) fn of_one(state: &Shared, id: &str) -> Option<Value> {
    problem_of(state, &*state.registry.installation(id)?).0
}

/// Returns the problem of an installation, and how many modules were reviewed.
fn problem_of(state: &Shared, installation: &AppliedInstallation) -> (Option<Value>, usize) {
    let modules: Vec<_> = installation.registered().map(|(_, module)| module).collect();
    let reviewed = modules.len();
    let mut affected = affected(state, installation, modules.into_iter(), true);
    for module in state.registry.webhooks_without_client(installation) {
        mark_without_client(&mut affected, module);
    }
    let id = installation.record.id.as_str();
    let view = problem_view("modules", &key_of(id), &affected);
    (view.map(|view| of_installation(view, installation)), reviewed)
}

fn key_of(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn of_installation(mut view: Value, installation: &AppliedInstallation) -> Value {
    let record = &installation.record;
    insert_some(&mut view, "id", Some(&record.id));
    insert_some(&mut view, "app", Some(&record.app));
    insert_some(&mut view, "cloudId", Some(&record.cloud_id));
    let named = view.get("modules").and_then(Value::as_array).into_iter().flatten();
    let named = named.filter_map(|module| module.get("key")?.as_str());
    let named = named.map(|key| format!("{}/{key}", record.id));
    let subscriptions = named.map(|id| Subject::new(SubjectKind::Subscription, id));
    let own = Subject::new(SubjectKind::Installation, record.id.as_str());
    let subjects: Vec<_> = std::iter::once(own).chain(subscriptions).collect();
    insert_some(&mut view, "subjects", Some(subjects));
    view
}

/// A module with a problem.
struct Affected {
    key: String,
    state: EffectiveStatus,
    codes: Vec<String>,
    /// Whether it is a webhook whose OAuth client does not exist.
    has_no_client: bool,
}

/// Adds a webhook without a client to the modules with a problem, of which it may be one.
fn mark_without_client(affected: &mut Vec<Affected>, module: &AppliedModule) {
    let key = module.id.key.to_string();
    match affected.iter_mut().find(|known| known.key == key) {
        Some(known) => known.has_no_client = true,
        None => affected.push(Affected {
            key,
            state: module.effective_status,
            codes: Vec::new(),
            has_no_client: true,
        }),
    }
}

/// Returns the modules that are never delivered or have warnings; without reviews, the former alone.
fn affected<'m>(
    state: &Shared,
    installation: &AppliedInstallation,
    modules: impl Iterator<Item = &'m AppliedModule>,
    has_reviews: bool,
) -> Vec<Affected> {
    let affected = modules.filter_map(|module| {
        let is_undelivered = module.effective_status == EffectiveStatus::Undelivered;
        let warnings = match has_reviews {
            true => state.registry.warnings(installation, module),
            false => &[],
        };
        let mut codes: Vec<String> = warnings.iter().map(|found| found.code.clone()).collect();
        codes.sort_unstable();
        codes.dedup();
        (is_undelivered || !codes.is_empty()).then(|| Affected {
            key: module.id.key.to_string(),
            state: module.effective_status,
            codes,
            has_no_client: false,
        })
    });
    affected.collect()
}

/// Renders the problem of these modules; none if there are none.
fn problem_view(kind: &str, key: &str, affected: &[Affected]) -> Option<Value> {
    if affected.is_empty() {
        return None;
    }
    let undelivered =
        affected.iter().filter(|module| module.state == EffectiveStatus::Undelivered).count();
    let without_client = affected.iter().filter(|module| module.has_no_client).count();
    // Those without a client first: something is to be done about them.
    let (first, others): (Vec<_>, Vec<_>) = affected.iter().partition(|one| one.has_no_client);
    let named = first.into_iter().chain(others).take(NAMED_MAX).map(
        |module| json!({"key": module.key, "state": module.state.as_str(), "codes": module.codes}),
    );
    let reason = match (without_client, undelivered) {
        (0, 0) => "modules have warnings; GET /admin/v1/subscriptions has their texts",
        (0, _) => {
            "webhooks are stored and never delivered; GET /admin/v1/subscriptions has the reasons"
        }
        _ => {
            "the OAuth client of webhooks does not exist, and they are signed as the tenant; remove \
             them with DELETE /admin/v1/installations/{id}/modules/{key}"
        }
    };
    let mut view = json!({
        "kind": kind,
        "key": key,
        "affected": affected.len(),
        "undelivered": undelivered,
        "modules": named.collect::<Vec<_>>(),
        "reason": reason,
    });
    insert_some(&mut view, "withoutClient", (without_client > 0).then_some(without_client));
    Some(view)
}
