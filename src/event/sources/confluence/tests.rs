//! Maps Confluence webhooks to events and back.

use serde_json::{Value, json};

use crate::domain::Product;
use crate::event::members::Members;
use crate::event::sources::WebhookNameError;
use crate::event::webhook::{
    IncomingWebhook, WebhookLimits, WebhookMappingError, map_webhook, reverse,
};
use crate::event::{Envelope, HeaderLookup};

struct NoHeaders;

impl HeaderLookup for NoHeaders {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

fn page() -> Value {
    json!({
        "userAccountId": "a:1", "accountType": "customer", "timestamp": 1_471_926_079_645_i64,
        "page": {"idAsString": "16777227", "id": 16_777_227, "title": "Test", "spaceKey": "OPS",
            "contentType": "page", "version": 3, "creatorAccountId": "a:2",
            "creationDate": 1_471_926_079_631_i64, "lastModifierAccountId": "a:1",
            "modificationDate": 1_471_926_079_640_i64, "self": "https://example.com/p"},
        "updateTrigger": "edit_page",
    })
}

fn map(body: &Value, named: Option<&str>) -> Result<(Envelope, Value), WebhookMappingError> {
    let incoming = IncomingWebhook {
        product: Product::Confluence,
        cloud_id: &"c1".into(),
        headers: &NoHeaders,
        url_name: named,
        body: body.to_string().into(),
    };
    let mut events = map_webhook(&incoming, WebhookLimits { event: 1 << 20, message: 2 << 20 })?;
    assert_eq!(events.len(), 1);
    let (envelope, body) = events.remove(0);
    Ok((envelope, serde_json::from_slice(&body).unwrap()))
}

#[test]
fn page_of_a_webhook_is_the_content_of_its_event() {
    let (envelope, event) = map(&page(), Some("page_updated")).unwrap();
    assert_eq!(envelope.event_type.as_str(), "avi:confluence:updated:page");
    assert_eq!(envelope.entity.as_deref(), Some("16777227"));
    assert_eq!(
        event,
        json!({
            "eventType": "avi:confluence:updated:page",
            "eventCreatedDate": "2016-08-23T04:21:19.645Z",
            "atlassianId": "a:1", "accountType": "customer", "updateTrigger": "edit_page",
            "content": {"id": "16777227", "type": "page", "title": "Test",
                "space": {"key": "OPS"}, "self": "https://example.com/p",
                "history": {"createdBy": {"accountId": "a:2"},
                    "createdDate": "2016-08-23T04:21:19.631Z"},
                "version": {"number": 3, "by": {"accountId": "a:1"},
                    "when": "2016-08-23T04:21:19.640Z"}},
        })
    );
}

#[test]
fn event_maps_back_to_its_webhook() {
    let (envelope, event) = map(&page(), Some("page_updated")).unwrap();
    let event = event.to_string();
    let members = Members::parse(&event).unwrap();
    let body = reverse::body("page_updated", &envelope.event_type, &members, None, None);
    let mut expected = page();
    expected["webhookEvent"] = json!("page_updated");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
}

#[test]
fn name_is_taken_from_the_url_or_the_body() {
    let named =
        |body: Value, named| map(&body, named).map(|(envelope, _)| envelope.event_type.to_string());
    for body in [json!({"event": "blog_removed"}), json!({"webhookEvent": "blog_removed"})] {
        assert_eq!(named(body.clone(), None).unwrap(), "avi:confluence:deleted:blogpost");
        assert_eq!(named(body.clone(), Some("")).unwrap(), "avi:confluence:deleted:blogpost");
        assert_eq!(named(body, Some("made up")).unwrap(), "webhook:made_up");
    }
    let empty = json!({"webhookEvent": "", "event": "blog_removed"});
    assert_eq!(named(empty, None).unwrap(), "avi:confluence:deleted:blogpost");
    let missing = Err(WebhookMappingError::Name(WebhookNameError::Missing));
    assert_eq!(named(page(), None), missing);
    assert_eq!(named(page(), Some("")), missing);
    let too_long = Err(WebhookMappingError::Name(WebhookNameError::TooLong));
    assert_eq!(named(page(), Some(&"n".repeat(121))), too_long);
}

#[test]
fn entity_of_another_shape_is_copied() {
    let odd = json!({"page": [1], "space": {"key": "OPS"}, "timestamp": "soon"});
    let (_, event) = map(&odd, Some("page_created")).unwrap();
    assert_eq!(event["page"], json!([1]));
    assert_eq!(event["space"]["key"], "OPS");
    assert!(event.get("eventCreatedDate").is_none());
    let nested = json!({"page": {"id": "x", "version": {"number": 2}}});
    let (_, event) = map(&nested, Some("page_created")).unwrap();
    assert_eq!(event["content"], json!({"id": "x", "version": {"number": 2}}));
}

/// As content is in REST; the shape of `content_created` in the notes of
/// `cadmiumkitty/dalstonsemantics-dot-com`.
fn flat(content_type: &str) -> Value {
    json!({"id": "118", "type": content_type, "status": "current", "title": "wick",
        "space": {"id": 7, "key": "OPS"},
        "history": {"latest": true, "createdBy": {"accountId": "a:1"}, "createdDate": "2021-09-14T07:39:42.016Z"},
        "version": {"by": {"accountId": "a:2"}, "when": "2021-09-14T07:50:42.122Z", "number": 2},
        "_links": {"context": "/wiki"}})
}

#[test]
fn flat_webhook_of_content_is_the_content_of_its_event() {
    for (name, content_type, event_type) in [
        ("content_created", "ac:lamps:oil", "avi:confluence:created:custom_content"),
        ("content_removed", "ac:lamps:oil", "avi:confluence:deleted:custom_content"),
        (
            "content_permissions_updated",
            "ac:x:y",
            "avi:confluence:permissions_updated:custom_content",
        ),
        ("content_trashed", "folder", "avi:confluence:trashed:folder"),
        ("content_updated", "whiteboard", "avi:confluence:updated:whiteboard"),
    ] {
        let sent = flat(content_type);
        let (envelope, event) = map(&sent, Some(name)).unwrap();
        assert_eq!(envelope.event_type.as_str(), event_type);
        assert_eq!(envelope.entity.as_deref(), Some("118"));
        let expected = json!({"eventType": event_type, "atlassianId": "a:2",
            "eventCreatedDate": "2021-09-14T07:50:42.122Z", "content": sent});
        assert_eq!(event, expected);
        let subscribed = reverse::events_of_webhook(name, Product::Confluence);
        assert!(subscribed.iter().any(|subscribed| subscribed.event_type == envelope.event_type));
        let text = event.to_string();
        let members = Members::parse(&text).unwrap();
        let made = reverse::body(name, &envelope.event_type, &members, None, None);
        let made: Value = serde_json::from_str(&made).unwrap();
        assert_eq!((&made["id"], &made["space"]), (&sent["id"], &sent["space"]));
    }
}

#[test]
fn content_with_webhooks_of_its_own_stays_under_the_name_it_came_with() {
    let property =
        "com.atlassian.confluence.plugins.confluence-content-property-storage:content-property";
    for content_type in ["page", "blogpost", "comment", "attachment", property] {
        let (envelope, event) = map(&flat(content_type), Some("content_created")).unwrap();
        assert_eq!(envelope.event_type.as_str(), "webhook:content_created", "{content_type}");
        assert_eq!(event["id"], "118");
    }
}
