//! The answer: counts, rates, costs, samples, and what was read.

use serde_json::{Value, json};

use super::request::Asked;
use super::samples::Samples;
use crate::api::json::{insert_some, rfc3339};
use crate::recovery::backtest::{BacktestCounts, BacktestReport};

/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;

/// Renders a backtest.
pub(super) fn view(asked: &Asked, report: &BacktestReport, samples: &Samples) -> Value {
    let (counts, query) = (&report.counts, &asked.query);
    let mut view = json!({
        "valid": true,
        "diagnostics": asked.warnings,
        "delivered": counts.delivered(),
        "matched": counts.matched,
        "notMatched": counts.not_matched,
        "failed": counts.failed,
        "deliveredOnError": counts.delivered_on_error,
        "errors": counts.errors,
        "leftOut": {
            "event": counts.of_other_types,
            "appIsLicensed": counts.without_licence,
            "ignoreSelf": counts.of_itself,
            "site": counts.of_other_sites,
            "unreadable": counts.unreadable,
        },
        "cost": cost(counts),
        "samples": {
            "matched": samples.views(&counts.samples.matched),
            "failed": samples.views(&counts.samples.failed),
        },
        "read": read(asked, report),
        "retained": {
            "firstSequence": report.bounds.first,
            "since": report.bounds.first_ms.and_then(rfc3339),
        },
    });
    insert_some(&mut view, "site", query.site.as_ref());
    insert_some(&mut view, "subscription", asked.subscription.as_ref().map(ToString::to_string));
    insert_some(&mut view, "rate", share(counts.delivered(), counts.events));
    insert_some(&mut view, "perHour", per_hour(asked, report));
    let difference = || {
        json!({
            "gained": counts.gained,
            "lost": counts.lost,
            "kept": counts.kept,
            "samples": {
                "gained": samples.views(&counts.samples.gained),
                "lost": samples.views(&counts.samples.lost),
            },
        })
    };
    insert_some(&mut view, "difference", query.current.as_ref().map(|_| difference()));
    view
}

fn cost(counts: &BacktestCounts) -> Value {
    let steps = &counts.steps;
    json!({
        "evaluations": steps.count(),
        "steps": {
            "p50": steps.percentile(50),
            "p99": steps.percentile(99),
            "max": steps.max(),
            "total": steps.total(),
        },
    })
}

/// What was read, and what was not.
fn read(asked: &Asked, report: &BacktestReport) -> Value {
    let events = report.counts.events;
    let seconds = report.took.as_secs_f64();
    let mut view = json!({
        "events": events,
        "complete": report.next.is_none(),
        "seconds": seconds,
        "eventsPerSecond": (ratio(events) / seconds.max(f64::MIN_POSITIVE)).round(),
    });
    insert_some(&mut view, "since", asked.since_ms.and_then(rfc3339));
    insert_some(&mut view, "until", asked.query.until_ms.and_then(rfc3339));
    insert_some(&mut view, "lastSequence", report.last.map(|(sequence, _)| sequence));
    insert_some(&mut view, "lastTime", report.last.and_then(|(_, stored_ms)| rfc3339(stored_ms)));
    insert_some(&mut view, "nextSequence", report.next);
    insert_some(&mut view, "deleted", Some(report.deleted).filter(|deleted| *deleted > 0));
    view
}

/// Deliveries an hour, from the first to the last time of the events that were read.
fn per_hour(asked: &Asked, report: &BacktestReport) -> Option<f64> {
    let (_, last_ms) = report.last?;
    let since_ms = asked.since_ms?.max(report.bounds.first_ms?);
    // With all events read, the time without events counts.
    let end_ms = match (report.next, asked.query.until_ms) {
        (None, Some(until_ms)) => until_ms.min(report.now_ms),
        (None, None) => report.now_ms,
        (Some(_), _) => last_ms,
    };
    let took_ms = u64::try_from(end_ms.saturating_sub(since_ms)).ok().filter(|ms| *ms > 0)?;
    Some(ratio(report.counts.delivered()) / ratio(took_ms) * HOUR_MS)
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| ratio(part) / ratio(all))
}

#[expect(clippy::cast_precision_loss, reason = "counts of which a ratio is shown")]
fn ratio(count: u64) -> f64 {
    count as f64
}
