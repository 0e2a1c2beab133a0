//! Checks whether the vendor would deliver a sample event to a module's handler.

use crate::delivery::{BodyTemplate, DeliveryContext};
use crate::domain::SubscriptionId;
use crate::event::Sample;
use crate::registry::{Problem, code};

use super::input::PayloadRequest;

/// Maximum body that the vendor delivers, in bytes; larger ones are dropped silently.
///
/// **Source:** Forge, known issues of product events: 200 kB.
const BODY_BYTES_MAX: usize = 200_000;

/// Returns a warning if the module subscribes to the sample's type and its body is too large.
pub(super) fn warning(body: &PayloadRequest, sample: &Sample) -> Option<Problem> {
    let event = sample.event();
    let event_type = event.envelope.event_type.as_str();
    if !body.events.iter().any(|wanted| wanted == event_type) {
        return None;
    }
    let fields: Vec<Box<str>> = body.fields.iter().map(|field| field.as_str().into()).collect();
    let subscription =
        SubscriptionId { installation: "installation".into(), key: "trigger".into() };
    let rendered = BodyTemplate::of(event).ok()?.render(&DeliveryContext {
        subscription: &subscription,
        self_generated: false,
        filter_error: None,
        include_fields: &fields,
        include_properties: &[],
        retry: None,
    });
    let bytes = rendered.len();
    (bytes > BODY_BYTES_MAX).then(|| {
        let message = format!(
            "the body of the sample `{event_type}` has {bytes} bytes; the vendor silently drops \
             bodies larger than {BODY_BYTES_MAX}"
        );
        let help = match fields.is_empty() {
            true => "name the issue fields that the handler needs in `payload.include.fields`",
            false => "name fewer or smaller issue fields, and fetch the rest when it is needed",
        };
        Problem::new(code::BODY_SIZE, &body.path, message).with_help(help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const LARGE: &str = include_str!("../../../tests/data/events/jira-updated-issue-large.json");

    /// The large sample with a description that brings its body to `bytes` or just above.
    fn sample(bytes: usize) -> Sample {
        let mut event: Value = serde_json::from_str(LARGE).unwrap();
        let padding = bytes.saturating_sub(event.to_string().len());
        event["issue"]["fields"]["environment"] = json!("x".repeat(padding));
        Sample::read(event).unwrap()
    }

    fn body(event: &str, fields: &[&str]) -> PayloadRequest {
        PayloadRequest {
            path: "data.payload.include.fields".into(),
            events: vec![event.into()],
            fields: fields.iter().map(|field| (*field).into()).collect(),
        }
    }

    #[test]
    fn body_that_the_vendor_drops_yields_a_warning() {
        const UPDATED: &str = "avi:jira:updated:issue";
        let found = warning(&body(UPDATED, &[]), &sample(200_000)).unwrap();
        assert_eq!(
            (found.code.as_str(), found.path.as_str()),
            ("SY-2024", "data.payload.include.fields")
        );
        assert!(
            found.message.contains("silently drops bodies larger than 200000"),
            "{}",
            found.message
        );
        assert!(warning(&body(UPDATED, &["environment"]), &sample(400_000)).is_some());
        assert_eq!(warning(&body(UPDATED, &["summary"]), &sample(400_000)), None);
        assert_eq!(warning(&body(UPDATED, &[]), &sample(0)), None);
        assert_eq!(warning(&body("avi:jira:created:issue", &[]), &sample(400_000)), None);
    }
}
