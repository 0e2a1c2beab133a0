//! Rows of the overview page, one for each subscription.

use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;

use crate::delivery;
use crate::matcher::Matcher;
use crate::registry::{
    AppliedInstallation, AppliedModule, DYNAMIC_WEBHOOK, Registry, TRIGGER, Trigger, WEBHOOKS,
};

/// One subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TableRow {
    /// `<installation>/<key>`.
    pub(super) id: String,
    /// Its app.
    pub(super) app: String,
    /// Event types.
    pub(super) events: Vec<String>,
    /// Distinct filter texts; empty = no filter.
    pub(super) filters: Vec<String>,
    /// Where matches are delivered, without secrets.
    pub(super) handler: String,
    /// `active`, `inactive`, `shadowed`.
    pub(super) state: &'static str,
    /// Events that matched.
    pub(super) matched: u64,
    /// Events that did not match.
    pub(super) not_matched: u64,
    /// Filter evaluations that failed.
    pub(super) errors: u64,
    /// Deliveries the handler accepted.
    pub(super) delivered: u64,
    /// Attempts that failed.
    pub(super) failed: u64,
    /// When an event last matched, RFC 3339.
    pub(super) last_match: Option<String>,
}

/// Returns the first `max` subscriptions ordered by installation, and the total number.
pub(super) fn rows(registry: &Registry, matcher: &Matcher, max: usize) -> (Vec<TableRow>, usize) {
    let (mut rows, mut total) = (Vec::new(), 0);
    for id in registry.installation_ids(None, usize::MAX) {
        let Some(installation) = registry.installation(id.as_str()) else { continue };
        for module in installation.modules.iter().filter(|module| is_routed(module)) {
            total += 1;
            if rows.len() < max {
                rows.push(row(&installation, module, matcher));
            }
        }
    }
    (rows, total)
}

fn is_routed(module: &AppliedModule) -> bool {
    [TRIGGER, WEBHOOKS, DYNAMIC_WEBHOOK].contains(&module.module_type.as_str())
}

fn row(installation: &AppliedInstallation, module: &AppliedModule, matcher: &Matcher) -> TableRow {
    let trigger = Trigger::parse(&module.data.read(), "data").ok();
    let events = trigger.iter().flat_map(|trigger| &trigger.events);
    let filters = trigger.iter().flat_map(|trigger| &trigger.filters);
    let handler = match &module.subscription {
        Some(live) => delivery::describe(&live.owner.settings.handler).address,
        None => {
            debug_assert!(module.reason.is_some(), "a module without a subscription has a reason");
            module.reason.clone().unwrap_or_default()
        }
    };
    let stats = module.stats().peek();
    let last_match_ms = Some(stats.last_match_ms.load(Relaxed)).filter(|ms| *ms != 0);
    TableRow {
        id: module.id.to_string(),
        app: installation.record.app.to_string(),
        events: match &module.subscription {
            Some(live) => live
                .event_subscriptions
                .iter()
                .map(|l| l.conditions.event_type.to_string())
                .collect(),
            None => events.map(|event| event.event_type.value.to_string()).collect(),
        },
        filters: filters
            .filter_map(|filter| Some(filter.expression.as_ref()?.value.to_string()))
            .collect(),
        handler,
        state: module.effective_status.as_str(),
        matched: stats.matched.load(Relaxed),
        // The matcher does not know modules that are not live.
        not_matched: matcher.not_matched(&module.id).unwrap_or(0),
        errors: stats.errors.load(Relaxed),
        delivered: stats.delivered.load(Relaxed),
        failed: stats.failed_attempts.load(Relaxed),
        last_match: last_match_ms
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()),
    }
}
