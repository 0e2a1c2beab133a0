//! Metrics of the registry.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::model::{Counts, Problem};

const SUBSCRIPTIONS: &str = "switchyard_subscriptions";
const INSTALLATIONS: &str = "switchyard_installations";
const REVISION: &str = "switchyard_registry_revision";
const APPLY_SECONDS: &str = "switchyard_registry_apply_seconds";
const DOCUMENTS_REFUSED: &str = "switchyard_registry_documents_refused_total";
const UNREADABLE_DOCUMENTS: &str = "switchyard_registry_unreadable_documents";
const MISSING_KEY_DOCUMENTS: &str = "switchyard_registry_missing_key_documents";
const OUTDATED_DOCUMENTS: &str = "switchyard_registry_outdated_documents";
const WEBHOOK_EXPIRES: &str = "switchyard_webhook_expires_in_seconds";
const MODULES_IGNORED: &str = "switchyard_discovery_ignored_total";
const BACKGROUND_WAITING: &str = "switchyard_registry_background_waiting";
const APP_CALLS: &str = "switchyard_app_calls_total";
const REVISIONS_STORED: &str = "switchyard_revisions_stored_total";
const REVISIONS_DEFERRED: &str = "switchyard_revisions_deferred_total";
const REVISION_CHECKS: &str = "switchyard_revision_checks_waiting";
const REVISION_CHECKS_FAILED: &str = "switchyard_revision_checks_failed_total";
const REVISION_DOCUMENTS_SKIPPED: &str = "switchyard_revision_documents_skipped";
const REVISIONS_KEPT: &str = "switchyard_revisions_kept";
const COMPILE_ERRORS: &str = "switchyard_filter_compile_errors_total";
const COMPILE_SECONDS: &str = "switchyard_filter_compile_seconds";

/// Keys with a series of their own.
const MISSING_KEYS_MAX: usize = 16;
/// Label of further ones.
const OTHER_KEY: &str = "other";

#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn applied(revision: u64, counts: Counts) {
    gauge!(REVISION).set(revision as f64);
    gauge!(INSTALLATIONS).set(counts.installations as f64);
    gauge!(SUBSCRIPTIONS, "state" => "active").set(counts.active as f64);
    gauge!(SUBSCRIPTIONS, "state" => "inactive").set(counts.inactive as f64);
    gauge!(SUBSCRIPTIONS, "state" => "shadowed").set(counts.shadowed as f64);
    gauge!(SUBSCRIPTIONS, "state" => "expired").set(counts.expired as f64);
    gauge!(SUBSCRIPTIONS, "state" => "paused").set(counts.paused as f64);
    gauge!(SUBSCRIPTIONS, "state" => "undelivered").set(counts.undelivered as f64);
    gauge!(SUBSCRIPTIONS, "state" => "shadow").set(counts.shadows as f64);
}

pub(super) fn change_applied(waited: Duration) {
    histogram!(APPLY_SECONDS).record(waited);
}

/// Time until the next dynamic webhook expires; none = there is none.
#[expect(clippy::cast_precision_loss, reason = "a month in milliseconds is far below 2^52")]
pub(super) fn next_expiry(in_ms: Option<i64>) {
    gauge!(WEBHOOK_EXPIRES).set(in_ms.map_or(f64::INFINITY, |in_ms| in_ms as f64 / 1000.0));
}

/// Sets the number of installations whose background work is due and waits for a place.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn background_waiting(installations: usize) {
    gauge!(BACKGROUND_WAITING).set(installations as f64);
}

/// Counts a discovered module ignored by this rule.
pub(super) fn module_ignored(rule: &'static str) {
    counter!(MODULES_IGNORED, "rule" => rule).increment(1);
}

/// Counts a call to an app by its result.
pub(super) fn app_called(kind: &'static str, is_ok: bool) {
    let result = if is_ok { "ok" } else { "failed" };
    counter!(APP_CALLS, "kind" => kind, "result" => result).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn unreadable_documents(family: &'static str, count: usize) {
    gauge!(UNREADABLE_DOCUMENTS, "family" => family).set(count as f64);
}

/// Sets the number of documents that wait for each key. Keys beyond [`MISSING_KEYS_MAX`] count as
/// `other`; a key that was reported before and is not missing any more is set to 0.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn missing_keys<'k>(counts: impl Iterator<Item = (&'k str, usize)>) {
    static REPORTED: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    reported.values_mut().for_each(|count| *count = 0);
    for (key, count) in counts {
        let is_full = reported.len() >= MISSING_KEYS_MAX && !reported.contains_key(key);
        let label = if is_full { OTHER_KEY } else { key };
        *reported.entry(label.to_owned()).or_default() += count;
    }
    for (key, count) in reported.iter() {
        gauge!(MISSING_KEY_DOCUMENTS, "key" => key.clone()).set(*count as f64);
    }
}

/// Sets the number of documents that are to be encrypted with the current key.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn outdated_documents(count: usize) {
    gauge!(OUTDATED_DOCUMENTS).set(count as f64);
}

/// Counts stored revisions of modules: of a change, or found missing by a comparison.
pub(super) fn revisions_stored(source: &'static str, count: usize) {
    counter!(REVISIONS_STORED, "source" => source)
        .increment(u64::try_from(count).unwrap_or(u64::MAX));
}

/// Counts revisions that were not stored with their change, and are left to a comparison.
pub(super) fn revisions_deferred(count: usize) {
    counter!(REVISIONS_DEFERRED).increment(u64::try_from(count).unwrap_or(u64::MAX));
}

/// Sets the number of documents that wait to be compared with their revisions.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn revision_checks(waiting: usize) {
    gauge!(REVISION_CHECKS).set(waiting as f64);
}

/// Sets the number of documents that are not compared with their revisions, for this reason.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn revision_documents_skipped(reason: &'static str, count: usize) {
    gauge!(REVISION_DOCUMENTS_SKIPPED, "reason" => reason).set(count as f64);
}

/// Sets the number of revisions in the stream.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^52")]
pub(super) fn revisions_kept(count: u64) {
    gauge!(REVISIONS_KEPT).set(count as f64);
}

/// Counts a comparison that failed and is repeated.
pub(super) fn revision_check_failed() {
    counter!(REVISION_CHECKS_FAILED).increment(1);
}

pub(super) fn document_refused() {
    counter!(DOCUMENTS_REFUSED).increment(1);
}

/// Records a filter compilation and its first problem.
pub(super) fn filter_compiled(took: Duration, problems: Option<&[Problem]>) {
    histogram!(COMPILE_SECONDS).record(took);
    if let Some(problem) = problems.and_then(<[Problem]>::first) {
        counter!(COMPILE_ERRORS, "reason" => reason(&problem.code)).increment(1);
    }
}

/// Maps the code of a filter problem to a label.
fn reason(code: &str) -> &'static str {
    match code.get(..5) {
        Some("SY-30") => "syntax",
        Some("SY-31" | "SY-32") => "type",
        Some("SY-33") => "limit",
        _ => "unsupported",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_filter_codes_has_its_reason() {
        let reasons = ["SY-3002", "SY-3103", "SY-3201", "SY-3301", "SY-9"].map(reason);
        assert_eq!(reasons, ["syntax", "type", "type", "limit", "unsupported"]);
    }
}
