//! Maps the webhooks that Jira posts and checks their events.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::domain::Product;
use crate::event::DecodeError;
use crate::event::members::Members;
use crate::event::sources::WebhookNameError;
use crate::event::webhook::{
    IncomingWebhook, OriginalWebhook, WebhookLimits, WebhookMappingError, cut, map_webhook, reverse,
};
use crate::event::{Envelope, HeaderLookup};

const IDENTIFIER: &str = "x-atlassian-webhook-identifier";

struct Lookup(HashMap<&'static str, &'static str>);

impl HeaderLookup for Lookup {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied()
    }
}

const LIMITS: WebhookLimits = WebhookLimits { event: 1 << 20, message: 2 << 20 };

fn map_bytes(
    headers: &[(&'static str, &'static str)],
    body: &[u8],
    url_name: Option<&str>,
    limits: WebhookLimits,
) -> Result<Vec<(Envelope, Bytes)>, WebhookMappingError> {
    let headers = Lookup(headers.iter().copied().collect());
    let (product, cloud_id, body) = (Product::Jira, "c1".into(), Bytes::copy_from_slice(body));
    let incoming =
        IncomingWebhook { product, cloud_id: &cloud_id, headers: &headers, url_name, body };
    map_webhook(&incoming, limits)
}

fn map_with(
    headers: &[(&'static str, &'static str)],
    body: &[u8],
) -> Result<Vec<(Envelope, Value)>, WebhookMappingError> {
    let events = map_bytes(headers, body, None, LIMITS)?;
    Ok(events.into_iter().map(|(e, body)| (e, serde_json::from_slice(&body).unwrap())).collect())
}

fn map(body: &Value) -> Vec<(Envelope, Value)> {
    map_with(&[(IDENTIFIER, "w-1")], body.to_string().as_bytes()).unwrap()
}

fn sample(name: &str) -> Value {
    let path = format!("{}/tests/data/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn types(events: &[(Envelope, Value)]) -> Vec<&str> {
    events.iter().map(|(envelope, _)| envelope.event_type.as_str()).collect()
}

fn names(body: &Value) -> Vec<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn created_issue_drops_the_changelog_and_the_webhook_envelope() {
    let webhook = sample("webhook-issue-created");
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:created:issue"]);
    let (envelope, body) = &events[0];
    assert_eq!(names(body), ["atlassianId", "eventType", "issue", "jiraEventTypeName"]);
    assert_eq!(body["eventType"], "avi:jira:created:issue");
    assert_eq!(body["issue"], webhook["issue"]);
    assert_eq!(body["atlassianId"], webhook["user"]["accountId"]);
    assert_eq!(body["jiraEventTypeName"], "issue_created");
    assert_eq!(envelope.event_id.as_str(), "w-1:avi:jira:created:issue");
    assert_eq!(envelope.cloud_id.as_str(), "c1");
    assert_eq!(envelope.entity.as_deref(), Some("OPS-1042"));
    assert_eq!(envelope.time.unwrap().as_millisecond(), 1_772_442_847_120);
}

#[test]
fn updated_issue_names_the_statuses_of_a_transition() {
    let webhook = sample("webhook-issue-updated");
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:updated:issue"]);
    let body = &events[0].1;
    assert_eq!(body["changelog"], webhook["changelog"]);
    assert_eq!(
        body["associatedStatuses"],
        json!([{"id": "3", "name": "In Progress"}, {"id": "10000", "name": "To Do"}])
    );
    assert!(body.get("matchedWebhookIds").is_none() && body.get("timestamp").is_none());
}

#[test]
fn changed_assignee_makes_a_second_event_with_that_item_alone() {
    let mut webhook = sample("webhook-issue-updated");
    let item = json!({"field": "assignee", "fieldtype": "jira", "fieldId": "assignee",
        "from": null, "fromString": null, "to": "712020:x", "toString": "Bea"});
    webhook["changelog"]["items"].as_array_mut().unwrap().push(item.clone());
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:updated:issue", "avi:jira:assigned:issue"]);
    let (envelope, body) = &events[1];
    assert_eq!(envelope.event_id.as_str(), "w-1:avi:jira:assigned:issue");
    assert_eq!(body["changelog"], json!({"id": "30418", "items": [item]}));
    assert_eq!(names(body), ["atlassianId", "changelog", "eventType", "issue"]);
    assert_eq!(events[0].1["changelog"], webhook["changelog"]);
}

#[test]
fn comment_is_one_event_for_created_and_updated_and_its_author_is_the_actor() {
    let mut webhook = sample("webhook-comment-created");
    for name in ["comment_created", "comment_updated"] {
        webhook["webhookEvent"] = name.into();
        let events = map(&webhook);
        assert_eq!(types(&events), ["avi:jira:commented:issue"]);
        assert_eq!(events[0].1["comment"], webhook["comment"]);
        assert_eq!(events[0].1["atlassianId"], webhook["comment"]["author"]["accountId"]);
    }
    webhook["webhookEvent"] = "comment_deleted".into();
    webhook.as_object_mut().unwrap().remove("issue");
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:deleted:comment"]);
    assert_eq!(names(&events[0].1), ["comment", "eventType"], "who deletes is not known");
    assert_eq!(events[0].0.entity.as_deref(), Some("45001"));
}

#[test]
fn worklog_is_copied_whole() {
    let webhook = sample("webhook-worklog-created");
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:created:worklog"]);
    assert_eq!(events[0].1["worklog"], webhook["worklog"]);
    assert_eq!(names(&events[0].1), ["atlassianId", "eventType", "worklog"]);
}

#[test]
fn issue_link_is_lifted_with_ids_as_text() {
    let events = map(&sample("webhook-issuelink-created"));
    assert_eq!(types(&events), ["avi:jira:created:issuelink"]);
    assert_eq!(
        events[0].1,
        json!({"eventType": "avi:jira:created:issuelink", "id": "70010", "sourceIssueId": "20311",
            "destinationIssueId": "20290", "issueLinkType": {"id": "10000", "name": "Blocks",
            "inward": "is blocked by", "outward": "blocks"}})
    );
    assert_eq!(events[0].0.entity.as_deref(), Some("70010"));
}

#[test]
fn deleted_version_with_a_target_is_a_merge_into_that_target() {
    let webhook = sample("webhook-version-merged");
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:merged:version"]);
    assert_eq!(events[0].1["version"], webhook["mergedTo"]);
    assert_eq!(events[0].1["mergedVersion"], webhook["version"]);

    let mut deleted = webhook;
    deleted["mergedTo"] = Value::Null;
    let events = map(&deleted);
    assert_eq!(types(&events), ["avi:jira:deleted:version"]);
    assert_eq!(events[0].1["version"], deleted["version"]);
}

#[test]
fn attachment_file_name_is_renamed() {
    let webhook = json!({"webhookEvent": "attachment_created", "timestamp": 1,
        "attachment": {"id": 7, "filename": "a.log", "author": {"accountId": "x"}}});
    let body = &map(&webhook)[0].1;
    let attachment = json!({"id": 7, "fileName": "a.log", "author": {"accountId": "x"}});
    assert_eq!(body["attachment"], attachment);
    assert_eq!(body["atlassianId"], "x");
}

#[test]
fn user_of_a_user_webhook_is_its_entity_not_its_actor() {
    let webhook =
        json!({"webhookEvent": "user_updated", "timestamp": 1, "user": {"accountId": "x"}});
    let events = map(&webhook);
    assert_eq!(
        events[0].1,
        json!({"eventType": "avi:jira:updated:user", "user": {"accountId": "x"}})
    );
    assert_eq!(events[0].0.entity.as_deref(), Some("x"));
}

#[test]
fn switched_option_names_its_property() {
    let plain = json!({"webhookEvent": "option_subtasks_changed", "timestamp": 1});
    assert_eq!(map(&plain)[0].1["property"], json!({"key": "jira.option.allowsubtasks"}));
    let property = json!({"key": "jira.option.voting", "value": "false"});
    let with = json!({"webhookEvent": "option_voting_changed", "property": property});
    assert_eq!(map(&with)[0].1["property"], property);
}

#[test]
fn failed_expression_keeps_its_time_as_text() {
    let webhook = json!({"webhookEvent": "jira_expression_evaluation_failed",
        "timestamp": 1_772_451_655_003_i64, "expression": "issue.x"});
    let body = &map(&webhook)[0].1;
    assert_eq!(body["timestamp"], "1772451655003");
    assert_eq!(body["expression"], "issue.x");
}

#[test]
fn every_known_name_has_its_event_type() {
    let cases = [
        ("jira:issue_deleted", "avi:jira:deleted:issue"),
        ("worklog_updated", "avi:jira:updated:worklog"),
        ("attachment_deleted", "avi:jira:deleted:attachment"),
        ("issuelink_deleted", "avi:jira:deleted:issuelink"),
        ("issue_property_set", "avi:jira:set:issue-property"),
        ("issue_property_deleted", "avi:jira:deleted:issue-property"),
        ("issuetype_created", "avi:jira:created:issuetype"),
        ("filter_updated", "avi:jira:updated:filter"),
        ("project_created", "avi:jira:created:project"),
        ("project_soft_deleted", "avi:jira:softdeleted:project"),
        ("project_restored_deleted", "avi:jira:restored:project"),
        ("project_archived", "avi:jira:archived:project"),
        ("project_restored_archived", "avi:jira:unarchived:project"),
        ("jira:version_released", "avi:jira:released:version"),
        ("jira:version_unreleased", "avi:jira:unreleased:version"),
        ("jira:version_moved", "avi:jira:moved:version"),
        ("jira:version_merged", "avi:jira:merged:version"),
        ("sprint_started", "avi:jira-software:started:sprint"),
        ("board_deleted", "avi:jira-software:deleted:board"),
        ("board_configuration_changed", "avi:jira-software:configuration-changed:board"),
        ("option_timetracking_provider_changed", "avi:jira:timetracking:provider:changed"),
        ("option_watching_changed", "avi:jira:changed:configuration"),
    ];
    for (name, event_type) in cases {
        let events = map(&json!({"webhookEvent": name, "timestamp": 1}));
        assert_eq!(types(&events), [event_type], "{name}");
    }
}

#[test]
fn unknown_webhook_is_copied_whole_under_its_own_name() {
    let webhook = json!({"webhookEvent": "app.access>to *", "timestamp": 5, "eventType": "primary",
        "user": {"accountId": "x"}});
    let events = map(&webhook);
    assert_eq!(types(&events), ["webhook:app_access_to__"]);
    let mut expected = webhook;
    expected["eventType"] = "webhook:app_access_to__".into();
    assert_eq!(events[0].1, expected);
}

#[test]
fn without_an_identifier_the_same_webhook_yields_the_same_id() {
    let body = sample("webhook-issue-updated").to_string();
    let id = |headers: &[(&'static str, &'static str)]| {
        map_with(headers, body.as_bytes()).unwrap().remove(0).0.event_id
    };
    assert_eq!(id(&[]), id(&[(IDENTIFIER, " ")]));
    assert_ne!(id(&[]), id(&[(IDENTIFIER, "w")]));
}

#[test]
fn values_that_are_not_mapped_keep_their_bytes() {
    let body =
        br#"{"webhookEvent":"jira:issue_deleted","issue":{"z":1.50,"a":12345678901234567890123}}"#;
    let events = map_bytes(&[], body, None, LIMITS).unwrap();
    assert_eq!(
        events[0].1,
        br#"{"eventType":"avi:jira:deleted:issue","issue":{"z":1.50,"a":12345678901234567890123}}"#
            [..]
    );
}

#[test]
fn body_that_is_not_a_webhook_is_rejected_with_the_reason() {
    let error = |body: &[u8]| map_with(&[], body).unwrap_err();
    let utf8 = DecodeError::Utf8 { offset: 6 };
    assert_eq!(error(b"{\"a\":\"\xff\"}"), WebhookMappingError::Body(utf8));
    assert_eq!(error(b" \r\n"), WebhookMappingError::Empty);
    let label = |body: &[u8]| match error(body) {
        WebhookMappingError::Body(error) => error.label(),
        other => panic!("{other}"),
    };
    assert_eq!(label(b"[]"), "schema");
    assert_eq!(label(b"{"), "json");
    assert_eq!(label(br#"{"webhookEvent":"x","a":-1e400}"#), "json");
    assert_eq!(label(br#"{"webhookEvent":"x","changelog":{"a":1e999}}"#), "json");
    let deep = |levels| {
        format!(r#"{{"webhookEvent":"x","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert_eq!(label(deep(512).as_bytes()), "depth");
    assert!(map_bytes(&[], deep(500).as_bytes(), None, LIMITS).is_ok());
    let many = format!(r#"{{"webhookEvent":"x","a":[{}0]}}"#, "0,".repeat(200_000));
    assert_eq!(label(many.as_bytes()), "size");
    let missing = WebhookMappingError::Name(WebhookNameError::Missing);
    for nameless in [r#"{}"#, r#"{"webhookEvent":""}"#, r#"{"webhookEvent":7}"#, r#"{"issue":{}}"#]
    {
        assert_eq!(error(nameless.as_bytes()), missing, "{nameless}");
    }
    for (bytes, is_name) in [(120, true), (121, false), (128, false), (5_000, false)] {
        let named = format!(r#"{{"webhookEvent":"{}"}}"#, "a".repeat(bytes));
        let expected = WebhookMappingError::Name(WebhookNameError::TooLong);
        assert_eq!(
            map_with(&[], named.as_bytes()).err(),
            (!is_name).then_some(expected),
            "{bytes}"
        );
    }
}

#[test]
fn members_of_the_wrong_type_are_accepted() {
    let webhook = json!({"webhookEvent": "jira:issue_updated", "timestamp": "soon", "user": 1,
        "issue": [], "changelog": {"items": [1, {"fieldId": "status", "to": {}}]}});
    let events = map(&webhook);
    assert_eq!(types(&events), ["avi:jira:updated:issue"]);
    assert_eq!(events[0].0.time, None);
    assert_eq!(events[0].0.entity, None);
}

/// Arbitrary JSON with the member names that the mapping reads.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("id"),
        Just("items"),
        Just("fieldId"),
        Just("to"),
        Just("accountId"),
        Just("author"),
        Just("issueLinkType"),
        Just("filename"),
        Just("key"),
        Just("x"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!("status")),
        Just(json!("assignee")),
        ".{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(String::from), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_webhook() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("jira:issue_updated"),
        Just("jira:issue_created"),
        Just("jira:version_deleted"),
        Just("comment_updated"),
        Just("attachment_created"),
        Just("issuelink_created"),
        Just("option_voting_changed"),
        Just("user_created"),
        Just("new.webhook"),
    ];
    let member = prop_oneof![
        Just("issue"),
        Just("changelog"),
        Just("user"),
        Just("comment"),
        Just("attachment"),
        Just("issueLink"),
        Just("version"),
        Just("mergedTo"),
        Just("property"),
        Just("timestamp"),
    ];
    let members = prop::collection::btree_map(member.prop_map(String::from), any_json(), 0..6);
    (name, members).prop_map(|(name, members)| {
        let mut webhook = Value::Object(members.into_iter().collect());
        webhook["webhookEvent"] = name.into();
        webhook
    })
}

proptest! {
    #[test]
    fn any_named_webhook_becomes_well_formed_events(webhook in any_webhook()) {
        let events = map(&webhook);
        prop_assert!((1..=3).contains(&events.len()));
        for (envelope, body) in &events {
            prop_assert_eq!(&body["eventType"], envelope.event_type.as_str());
            let forbidden = |c: char| c.is_whitespace() || matches!(c, '.' | '*' | '>');
            prop_assert!(!envelope.event_type.as_str().contains(forbidden));
            let issue = webhook.get("issue");
            prop_assert_eq!(body.get("issue"), issue);
        }
    }

    #[test]
    fn any_bytes_end_in_events_or_a_reason(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = map_bytes(&[], &body, None, LIMITS);
    }
}

const SAMPLES: &[(&str, &str)] = &[
    ("webhook-comment-created", "comment_created"),
    ("webhook-issue-created", "jira:issue_created"),
    ("webhook-issue-updated", "jira:issue_updated"),
    ("webhook-issuelink-created", "issuelink_created"),
    ("webhook-version-merged", "jira:version_deleted"),
    ("webhook-worklog-created", "worklog_created"),
];

#[test]
fn every_sample_is_restored_to_its_webhook() {
    for (name, _) in SAMPLES {
        let mut webhook = sample(name);
        // The ids it arrived with are those of the site's own webhook and are replaced.
        webhook.as_object_mut().unwrap().remove("matchedWebhookIds");
        let sent = webhook.to_string();
        let (envelope, event) = map_bytes(&[], sent.as_bytes(), None, LIMITS).unwrap().remove(0);
        assert_eq!(restored(&envelope, &event), sent.as_bytes(), "{name}");
        let Some(OriginalWebhook::Delta { members, between: None }) = envelope.webhook else {
            panic!("{name}")
        };
        assert!(members.len() < 4096, "{name}: {}", members.len());
    }
}

/// Returns the webhook that handlers get.
fn restored(envelope: &Envelope, event: &Bytes) -> Bytes {
    let members = Members::parse(std::str::from_utf8(event).unwrap()).unwrap();
    envelope.webhook.as_ref().unwrap().restore(&members, None).unwrap()
}

#[test]
fn webhook_that_its_event_does_not_restore_is_kept_whole() {
    let text = "wick and wax ".repeat(2_000);
    let created = format!(
        r#"{{"webhookEvent":"jira:issue_created","issue":{{"key":"A-1"}},"changelog":{{"items":[{{"toString":"{text}"}}]}}}}"#
    );
    let bodies = [
        created,
        "{\n  \"webhookEvent\": \"jira:issue_updated\",\n  \"issue\": { \"key\": \"A-1\" }\n}\n"
            .into(),
        r#"{"webhookEvent":"jira:issue_created","issue":{"key":"A-1","a":"half \ud83d"}}"#.into(),
        r#"{"webhookEvent":"comment_created","half \udc00":1,"user":1,"user":2}"#.into(),
        r#"{"webhook\u0045vent":"user_created","user":{"accountId":"a"}}"#.into(),
        format!(r#"{{"webhookEvent":"new","text":"{}"}}"#, "\u{71c8}".repeat(30_000)),
    ];
    for sent in bodies {
        let (envelope, event) = map_bytes(&[], sent.as_bytes(), None, LIMITS).unwrap().remove(0);
        assert_eq!(restored(&envelope, &event), sent.as_bytes());
        let parsed: Value = serde_json::from_slice(&event).unwrap();
        assert!(parsed.get(cut::CUT).is_none());
    }
}

#[test]
fn event_is_cut_rather_than_its_webhook() {
    // The event lacks the changelog, which is too long for a header.
    let (long, log) = ("wax ".repeat(50_000), "oil ".repeat(5_000));
    let sent = format!(
        r#"{{ "webhookEvent":"jira:issue_created","changelog":{{"items":["{log}"]}},"issue":{{"key":"A-1","fields":{{"summary":"s","description":"{long}"}}}}}}"#
    );
    for limits in [
        WebhookLimits { event: 100_000, message: 1 << 20 },
        WebhookLimits { event: 1 << 20, message: sent.len() + 60_000 },
    ] {
        let (envelope, event) = map_bytes(&[], sent.as_bytes(), None, limits).unwrap().remove(0);
        assert_eq!(restored(&envelope, &event), sent.as_bytes());
        let stored = envelope.stored_body(event.clone());
        assert!(stored.len() <= limits.message && event.len() <= limits.event);
        let event: Value = serde_json::from_slice(&event).unwrap();
        let fields = json!({"summary": "s", "description": null});
        assert!(event["issue"] == json!({"key": "A-1", "fields": fields}));
        assert_eq!(event[cut::CUT], json!(["issue.fields.description"]));
    }
    let small = WebhookLimits { event: 1 << 20, message: sent.len() };
    let error = map_bytes(&[], sent.as_bytes(), None, small).unwrap_err();
    assert!(matches!(error, WebhookMappingError::Unstorable { .. }), "{error}");
}

#[test]
fn further_events_of_a_large_webhook_are_cut_on_their_own() {
    let long = "wax ".repeat(50_000);
    let sent = json!({"webhookEvent": "jira:issue_updated",
        "issue": {"key": "A-1", "fields": {"description": long}},
        "changelog": {"items": [{"field": "assignee", "to": "a"}]}});
    let limits = WebhookLimits { event: 100_000, message: 1 << 20 };
    let events = map_bytes(&[], sent.to_string().as_bytes(), None, limits).unwrap();
    assert_eq!(events.len(), 2);
    for (_, event) in events {
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event[cut::CUT], json!(["issue.fields.description"]));
    }
}

#[test]
fn half_a_surrogate_pair_is_replaced_in_the_event_alone() {
    let sent = br#"{"webhookEvent":"jira:issue_created","issue":{"key":"A-1","s":"oil \ud83d"}}"#;
    let (envelope, event) = map_bytes(&[], sent, None, LIMITS).unwrap().remove(0);
    let parsed: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(parsed["issue"]["s"], "oil \u{fffd}");
    assert_eq!(restored(&envelope, &event), &sent[..]);
    let other = br#"{"webhookEvent":"jira:issue_created","issue":{"key":"A-1","s":"oil \ud83e"}}"#;
    let (other, _) = map_bytes(&[], other, None, LIMITS).unwrap().remove(0);
    assert_ne!(envelope.event_id, other.event_id, "what was sent differs");
}

#[test]
fn webhook_without_a_name_is_named_by_its_address_or_its_form() {
    let issue = json!({"id": "1", "key": "A-1"});
    let event_type = |body: Value, url_name: Option<&str>| {
        let events = map_bytes(&[], body.to_string().as_bytes(), url_name, LIMITS);
        events.map(|events| events[0].0.event_type.to_string()).ok()
    };
    let transition = json!({"transition": {"transitionId": 31}, "issue": issue});
    for (body, url_name, expected) in [
        (transition.clone(), None, Some("avi:jira:updated:issue")),
        (transition.clone(), Some(""), Some("avi:jira:updated:issue")),
        (transition, Some("jira:issue_created"), Some("avi:jira:created:issue")),
        (
            json!({"webhookEvent": "user_created"}),
            Some("user_deleted"),
            Some("avi:jira:created:user"),
        ),
        (
            json!({"issue_event_type_name": "issue_created", "issue": issue}),
            None,
            Some("avi:jira:created:issue"),
        ),
        (
            json!({"issue_event_type_name": "issue_deleted", "issue": issue}),
            None,
            Some("avi:jira:deleted:issue"),
        ),
        (
            json!({"issue_event_type_name": "issue_closed", "issue": issue}),
            None,
            Some("avi:jira:updated:issue"),
        ),
        (
            json!({"issue_event_type_name": "Lantern lit", "issue": issue}),
            None,
            Some("avi:jira:updated:issue"),
        ),
        (json!({"issue_event_type_name": "issue_closed"}), None, None),
        (json!({"transition": {}, "issue": "A-1"}), None, None),
        (json!({"transition": "Snuff", "issue": issue}), None, None),
        (json!({"issue": issue}), None, None),
    ] {
        assert_eq!(event_type(body.clone(), url_name).as_deref(), expected, "{body} {url_name:?}");
    }
}

#[test]
fn comment_in_an_update_of_an_issue_is_an_event_of_its_own() {
    let with = |name: Option<&str>, comment: Value| {
        let mut webhook = json!({"webhookEvent": "jira:issue_updated", "timestamp": 5,
            "issue": {"key": "A-1"}, "comment": comment});
        if let Some(name) = name {
            webhook["issue_event_type_name"] = name.into();
        }
        map(&webhook)
    };
    let comment = |updated: &str| json!({"id": "9", "created": "a", "updated": updated, "author": {"accountId": "x"}});
    let commented = "avi:jira:commented:issue";
    for (name, comment, event_type, change) in [
        (Some("issue_commented"), comment("b"), commented, json!("issue_commented")),
        (Some("issue_comment_edited"), comment("a"), commented, json!("issue_comment_edited")),
        (Some("issue_resolved"), comment("a"), commented, json!("issue_commented")),
        (None, comment("b"), commented, json!("issue_comment_edited")),
        (None, json!({"id": "9"}), commented, json!("issue_commented")),
        (Some("issue_comment_deleted"), comment("a"), "avi:jira:deleted:comment", Value::Null),
    ] {
        let events = with(name, comment.clone());
        assert_eq!(types(&events), ["avi:jira:updated:issue", event_type], "{name:?}");
        let (envelope, body) = &events[1];
        assert_eq!(body["comment"], comment);
        assert_eq!(body["issue"]["key"], "A-1");
        assert_eq!(body["jiraEventTypeName"], change, "{name:?} {comment}");
        assert_eq!(envelope.entity.as_deref(), Some("A-1"));
    }
    for no_comment in [Value::Null, json!("text of a transition"), json!([])] {
        assert_eq!(with(None, no_comment).len(), 1);
    }
}

#[test]
fn only_the_assignee_of_jira_is_an_assignment() {
    let count = |item: Value| {
        map(&json!({"webhookEvent": "jira:issue_updated", "changelog": {"items": [item]}})).len()
    };
    for (item, events) in [
        (json!({"field": "assignee", "fieldtype": "jira"}), 2),
        (json!({"field": "assignee"}), 2),
        (json!({"field": "Assignee", "fieldtype": "jira"}), 2),
        (json!({"field": "Bearbeiter", "fieldtype": "jira", "fieldId": "assignee"}), 2),
        (json!({"field": "assignee", "fieldtype": "custom"}), 1),
        (json!({"field": "assignee", "fieldtype": "custom", "fieldId": "customfield_1"}), 1),
        (json!({"field": "assignee", "fieldtype": "jira", "fieldId": "customfield_1"}), 1),
    ] {
        assert_eq!(count(item.clone()), events, "{item}");
    }
}

#[test]
fn webhook_mapped_back_from_an_event_equals_the_original() {
    for (name, hook) in SAMPLES {
        let webhook = sample(name);
        let (envelope, event) = map(&webhook).remove(0);
        let event = event.to_string();
        let members = Members::parse(&event).unwrap();
        let names: [Box<str>; 1] = [(*hook).into()];
        assert_eq!(reverse::webhook_name_of(&envelope.event_type, &members, &names), Some(*hook));
        let time_ms = envelope.time.map(Timestamp::as_millisecond);
        let made = reverse::body(hook, &envelope.event_type, &members, time_ms, None);
        let made: Value = serde_json::from_str(&made).unwrap();
        for member in
            ["timestamp", "webhookEvent", "issue", "comment", "worklog", "version", "mergedTo"]
        {
            assert!(made.get(member) == webhook.get(member), "{name}: {member}");
        }
        let source = "/issueLink/sourceIssueId";
        assert_eq!(made.pointer(source), webhook.pointer(source), "{name}");
        let account = |body: &Value| body.pointer("/user/accountId").cloned();
        if account(&webhook).is_some() {
            assert_eq!(account(&made), account(&webhook), "{name}");
        }
    }
}

#[test]
fn second_event_of_a_webhook_has_no_delta() {
    let events = map(&json!({"webhookEvent": "jira:issue_updated",
        "changelog": {"items": [{"fieldId": "assignee", "to": "a"}]}}));
    let carries: Vec<_> = events.iter().map(|(envelope, _)| envelope.webhook.is_some()).collect();
    assert_eq!(carries, [true, false]);
}
