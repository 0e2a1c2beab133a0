//! The workload: realistic issue events, and subscriptions to them.

use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use serde_json::json;
use switchyard::domain::{Handler, Secret};
use switchyard::event::Envelope;
use switchyard::matcher::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, Matcher, Owner,
    Subscription,
};
use switchyard::registry::offline::TriggerReader;
use switchyard::telemetry::SubscriptionStats;

/// Bodies of `updated:issue` events, 2 to 10 KB, on average 4.5 KB.
const ISSUES: &str = include_str!("../data/issues.ndjson");
pub(crate) const SITE: &str = "1cacdc87-3139-4000-a6ac-f99bf9f3fea4";
pub(crate) const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// Number of filters; no event matches any of them.
const FILTERS: usize = 1_000;
const STEPS_MAX: u32 = 50_000;
/// Signs deliveries: 32 bytes.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The bodies of the sample file.
pub(crate) fn bodies() -> Vec<Bytes> {
    ISSUES.lines().map(|line| Bytes::from_static(line.as_bytes())).collect()
}

/// The envelope of event `number`.
pub(crate) fn envelope(number: u64) -> Envelope {
    Envelope {
        cloud_id: SITE.into(),
        event_id: format!("3f0c{number:08x}-11d5-4e7b-9a7e-0242ac120002").into(),
        event_type: EVENT_TYPE.into(),
        time: jiff::Timestamp::from_millisecond(1_767_225_600_000).ok(),
        origin_app: None,
        entity: Some(format!("MOB-{}", number % 5_000).into()),
        traceparent: None,
        trace: None,
        webhook: None,
    }
}

/// A matcher with filters on other projects, types and fields, of which no event matches any.
pub(crate) fn matcher_that_matches_nothing() -> anyhow::Result<Arc<Matcher>> {
    let mut reader = TriggerReader::new()?;
    let mut all = Vec::with_capacity(FILTERS);
    for number in 0..FILTERS {
        let filter = match number % 5 {
            0 => format!("event.issue.fields.project.key == 'NOPE{number}'"),
            1 => format!(
                "event.issue.fields.project.key == 'NOPE{number}' \
                 && event.issue.fields.priority.name == 'High'"
            ),
            2 => format!(
                "event.issue.fields.issuetype.name == 'Type {number}' \
                 && event.changelog.items.some(item => item.field == 'status')"
            ),
            3 => format!("event.issue.fields.status.name == 'Status {number}'"),
            _ => format!(
                "event.issue.fields.project.id == '9{number}' \
                 && event.issue.fields.summary.includes('outage')"
            ),
        };
        let line = json!({
            "installationId": format!("installation-{number}"), "cloudId": SITE,
            "appId": "app-1", "licensed": true, "key": "trigger-1", "type": "trigger",
            "data": { "events": [EVENT_TYPE], "endpoint": "hook",
                "filter": { "expression": filter } },
        });
        let subscription =
            reader.read(&line.to_string()).map_err(|rejection| anyhow!(rejection.message))?;
        all.push((subscription.owner.id.clone(), vec![subscription]));
    }
    let matcher = Matcher::new(STEPS_MAX);
    matcher.replace_many(all);
    Ok(Arc::new(matcher))
}

/// A subscription to every event.
pub(crate) fn subscription_to_all(number: usize, url: url::Url) -> Arc<Subscription> {
    Arc::new(Subscription {
        owner: Arc::new(Owner {
            id: format!("installation-{number}").into(),
            app: "app-1".into(),
            app_account_id: None,
            cloud_id: SITE.into(),
            licensed: true,
            permissions: None,
            settings: DeliverySettings::new(Arc::new(Handler::http(url, Secret::new(SECRET)))),
        }),
        key: "trigger-1".into(),
        event_subscriptions: EventSubscriptions::One(EventSubscription {
            conditions: Arc::new(EventConditions::unconditional(EVENT_TYPE.into())),
            program: None,
        }),
        revision: 1,
        stats: SubscriptionStats::default(),
    })
}

pub(crate) fn matcher_of(subscriptions: &[Arc<Subscription>]) -> Arc<Matcher> {
    let matcher = Matcher::new(STEPS_MAX);
    for subscription in subscriptions {
        matcher.replace_installation(&subscription.owner.id, vec![Arc::clone(subscription)]);
    }
    Arc::new(matcher)
}
