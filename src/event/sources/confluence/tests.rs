//! Maps Confluence webhooks to events and back.

use serde_json::{Value, json};

use crate::domain::Product;
use crate::event::members::Members;
use crate::event::sources::WebhookMappingError;
use crate::event::webhook::{map_webhook, reverse};
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
    let text = body.to_string();
    let (product, text) = (Product::Confluence, text.as_bytes());
    let mut events = map_webhook(product, &"c1".into(), &NoHeaders, text, named)?;
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
        assert_eq!(named(body, Some("made up")).unwrap(), "webhook:made_up");
    }
    assert_eq!(named(page(), None), Err(WebhookMappingError::Unnamed));
    assert_eq!(named(page(), Some("")), Err(WebhookMappingError::Unnamed));
    assert_eq!(named(page(), Some(&"n".repeat(129))), Err(WebhookMappingError::Unnamed));
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
