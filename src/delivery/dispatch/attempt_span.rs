//! The span of an attempt, as the conventions of OpenTelemetry for HTTP clients and messaging have it.
//!
//! It has no URL: paths may have tokens of the app. It has no body, no header and no text of the handler.

use url::Url;

use crate::delivery::channel::channel_of;
use crate::delivery::model::{AttemptOutcome, Delivery, Transport};
use crate::domain::TraceContext;
use crate::telemetry::traces::{ActiveSpan, SpanKind, Traces, Value};

/// An attempt that is recorded.
pub(super) struct AttemptSpan(Box<ActiveSpan>);

impl AttemptSpan {
    /// Begins the span of an attempt; none if its event is not recorded, or a limit is used up.
    pub(super) fn begin(traces: &Traces, delivery: &Delivery) -> Option<Self> {
        let envelope = &delivery.prepared.event.envelope;
        let site = envelope.cloud_id.as_str();
        let span = traces.limited_child(envelope.trace?, site, "attempt", SpanKind::Client)?;
        Some(Self(Box::new(span)))
    }

    /// Returns its context, which the handler gets.
    pub(super) fn context(&self) -> TraceContext {
        self.0.context()
    }

    /// Records it with its outcome.
    pub(super) fn end(mut self, delivery: &Delivery, outcome: &AttemptOutcome) {
        let channel = channel_of(delivery.handler());
        match channel.transport() {
            Transport::Http => self.describe_request(delivery, &channel.host(), outcome),
            Transport::Nats => self.describe_message(),
        }
        self.describe_delivery(delivery);
        let span = &mut self.0;
        span.set("switchyard.attempt.class", Value::Label(outcome.class.label()));
        if !outcome.is_done() {
            span.set("switchyard.attempt.blame", Value::Label(outcome.class.blame()));
            match status_of(outcome).filter(|status| *status >= 300) {
                Some(status) => span.fail(&status.to_string()),
                None if outcome.class.label() == "2xx" => span.fail("retry_requested"),
                None => span.fail(outcome.class.label()),
            }
        }
        self.0.end();
    }

    /// **Source:** OpenTelemetry semantic conventions 1.37, HTTP client spans.
    fn describe_request(&mut self, delivery: &Delivery, host: &str, outcome: &AttemptOutcome) {
        let span = &mut self.0;
        span.set("http.request.method", Value::Label("POST"));
        if let Ok(origin) = Url::parse(host) {
            span.set("url.scheme", Value::text(origin.scheme()));
            if let Some(host) = origin.host_str() {
                span.set("server.address", Value::text(host));
            }
            if let Some(port) = origin.port_or_known_default() {
                span.set("server.port", Value::Number(port.into()));
            }
        }
        if let Some(status) = status_of(outcome) {
            span.set("http.response.status_code", Value::Number(status.into()));
        }
        let repeats = delivery.progress.attempt.saturating_sub(1);
        if repeats > 0 {
            span.set("http.request.resend_count", Value::Number(repeats.into()));
        }
    }

    /// **Source:** OpenTelemetry semantic conventions 1.37, messaging spans.
    fn describe_message(&mut self) {
        self.0.set("messaging.system", Value::Label("nats"));
        self.0.set("messaging.operation.name", Value::Label("request"));
        self.0.set("messaging.operation.type", Value::Label("send"));
    }

    fn describe_delivery(&mut self, delivery: &Delivery) {
        let (span, owner) = (&mut self.0, &delivery.subscription.owner);
        span.set("switchyard.delivery.id", Value::text(delivery.id.as_str()));
        span.set("switchyard.delivery.attempt", Value::Number(delivery.progress.attempt.into()));
        span.set("switchyard.delivery.lane", Value::Label(delivery.lane_label()));
        span.set("switchyard.app", Value::text(owner.app.as_str()));
        span.set("switchyard.installation", Value::text(owner.id.as_str()));
        span.set("switchyard.module.key", Value::text(delivery.subscription.key.as_str()));
    }
}

fn status_of(outcome: &AttemptOutcome) -> Option<u16> {
    outcome.evidence.as_ref()?.status
}
