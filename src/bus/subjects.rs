//! Every subject, stream and consumer name, in one place.

use crate::domain::{AppId, CloudId, InstallationId, token};
use crate::event::Envelope;

/// Durable consumer of the event stream, shared by all replicas.
pub const ROUTER_CONSUMER: &str = "router";
/// Durable consumer of parked records that fired, shared by all replicas.
pub const DUE_CONSUMER: &str = "due";
/// Longest token made of text from outside, in characters.
const TOKEN_CHARS_MAX: usize = 100;

/// Names under one prefix, so that several routers can share a broker.
#[derive(Clone, Debug)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// Names that start with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Name of the event stream.
    #[must_use]
    pub fn events_stream(&self) -> String {
        self.stream("EVENTS")
    }

    /// Name of the stream of parked deliveries.
    #[must_use]
    pub fn parked_stream(&self) -> String {
        self.stream("PARKED")
    }

    /// Name of the dead-letter stream.
    #[must_use]
    pub fn dead_letter_stream(&self) -> String {
        self.stream("DLQ")
    }

    /// What the event stream takes in: site, event type, entity.
    #[must_use]
    pub fn intake_pattern(&self) -> String {
        format!("{}.in.*.*.*", self.prefix)
    }

    /// What the event stream makes of [`Subjects::intake_pattern`]: the entity decides the
    /// partition and is dropped, since each distinct subject costs the server memory.
    #[must_use]
    pub fn stored_pattern(&self) -> String {
        format!(
            "{}.ev.{{{{partition(8,1,3)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}",
            self.prefix
        )
    }

    /// Where an event is published.
    #[must_use]
    pub fn intake(&self, envelope: &Envelope) -> String {
        let site = envelope.cloud_id.token();
        let event_type = sanitized_token(envelope.event_type.as_str());
        let entity = sanitized_token(envelope.entity.as_deref().unwrap_or_default());
        format!("{}.in.{site}.{event_type}.{entity}", self.prefix)
    }

    /// The site token of a stored event's subject, `sw.ev.<partition>.<site>.<type>`.
    #[must_use]
    pub fn site_of<'a>(&self, stored: &'a str) -> &'a str {
        let rest = stored.strip_prefix(&*self.prefix).unwrap_or_default();
        rest.split('.').nth(3).filter(|site| !site.is_empty()).unwrap_or("_")
    }

    /// Subjects of the parking stream: schedules, and what they become when they fire.
    #[must_use]
    pub fn parked_patterns(&self) -> Vec<String> {
        vec![format!("{}.retry.*", self.prefix), self.due_pattern()]
    }

    /// A delivery's schedule.
    #[must_use]
    pub fn retry(&self, delivery_id: &str) -> String {
        format!("{}.retry.{}", self.prefix, token(delivery_id))
    }

    /// Records that fired, of all apps.
    #[must_use]
    pub fn due_pattern(&self) -> String {
        format!("{}.due.>", self.prefix)
    }

    /// Where the records of an app fire to.
    #[must_use]
    pub fn due(&self, app: &AppId) -> String {
        format!("{}.due.{}", self.prefix, app.token())
    }

    /// All dead letters.
    #[must_use]
    pub fn dead_letter_pattern(&self) -> String {
        format!("{}.dlq.>", self.prefix)
    }

    /// Dead letters that are events of a site, by its token.
    #[must_use]
    pub fn dead_letter_of_event(&self, site: &str) -> String {
        format!("{}.dlq.event.{}", self.prefix, token(site))
    }

    /// Dead letters that are deliveries of an app to one of its installations.
    #[must_use]
    pub fn dead_letter_of_delivery(&self, app: &AppId, installation: &InstallationId) -> String {
        format!("{}.dlq.delivery.{}.{}", self.prefix, app.token(), installation.token())
    }

    /// Dead letters that are parked records nobody can read.
    #[must_use]
    pub fn dead_letter_of_record(&self) -> String {
        format!("{}.dlq.record", self.prefix)
    }

    /// The subject of a function of an installation.
    #[must_use]
    pub fn function(&self, installation: &InstallationId, function: &str) -> String {
        format!("{}.fn.{}.{}", self.prefix, installation.token(), sanitized_token(function))
    }

    /// Where replicas tell each other what handlers say of being gone.
    #[must_use]
    pub fn gone(&self) -> String {
        format!("{}.gone", self.prefix)
    }

    /// The subject of a site's events, to subscribe to.
    #[must_use]
    pub fn stored_events_of(&self, cloud_id: &CloudId) -> String {
        format!("{}.ev.*.{}.*", self.prefix, cloud_id.token())
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_ascii_uppercase())
    }
}

/// Text as one subject token: what NATS forbids becomes `_`, and what is too long is cut.
fn sanitized_token(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_graphic() && !".*>".contains(c) { c } else { '_' };
    let token: String = text.chars().take(TOKEN_CHARS_MAX).map(fit).collect();
    if token.is_empty() { "_".into() } else { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(event_type: &str, entity: Option<&str>) -> Envelope {
        Envelope {
            cloud_id: "c-1".into(),
            event_id: "e".into(),
            event_type: event_type.into(),
            time: None,
            origin_app: None,
            entity: entity.map(Into::into),
            traceparent: None,
            webhook: None,
        }
    }

    #[test]
    fn event_type_stands_as_one_token() {
        let subjects = Subjects::new("sw");
        let envelope = envelope("avi:jira:created:issue", Some("ABC-1"));
        assert_eq!(subjects.intake(&envelope), "sw.in.c-1.avi:jira:created:issue.ABC-1");
    }

    #[test]
    fn characters_that_nats_forbids_are_replaced() {
        let subjects = Subjects::new("sw");
        assert_eq!(subjects.intake(&envelope("a.b *>", Some("é x"))), "sw.in.c-1.a_b___.__x");
        assert_eq!(subjects.intake(&envelope("", None)), "sw.in.c-1._._");
    }

    #[test]
    fn stream_names_carry_the_prefix() {
        assert_eq!(Subjects::new("acme").events_stream(), "ACME_EVENTS");
        assert_eq!(Subjects::new("acme").retry("dlv_a"), "acme.retry.dlv_a");
    }

    #[test]
    fn site_is_read_back_from_a_stored_subject() {
        let subjects = Subjects::new("sw");
        assert_eq!(subjects.site_of("sw.ev.3.c-1.avi:jira:created:issue"), "c-1");
        assert_eq!(subjects.site_of("elsewhere"), "_");
    }
}
