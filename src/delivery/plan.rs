//! From a match to the delivery that it makes due.

use std::sync::Arc;

use jiff::Timestamp;

use super::body::{NotAnObject, Particulars, RetryContext, Template};
use super::forge;
use super::webhook::{self, Due};
use crate::domain::{DeliveryId, FilterError, Handler};
use crate::event::{Decoder, Event};
use crate::matcher::Subscription;

/// An event that is being delivered, shared by its deliveries.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The event.
    pub event: Event,
    /// Its body, taken apart.
    pub template: Template,
}

impl Occurrence {
    /// Prepares an event for delivery.
    ///
    /// # Errors
    /// Its body is not a JSON object.
    pub fn new(event: Event) -> Result<Self, NotAnObject> {
        let template = Template::of(&event)?;
        Ok(Self { event, template })
    }

    /// Prepares an event that `decoder` has just read, which knows its members.
    ///
    /// # Errors
    /// Its body is not a JSON object.
    pub fn decoded(event: Event, decoder: &Decoder) -> Result<Self, NotAnObject> {
        let Some(outline) = decoder.member_spans() else { return Self::new(event) };
        let template = Template::outlined(&event, &outline);
        Ok(Self { event, template })
    }
}

/// The duty to bring one event to one handler once.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Same over attempts, redeliveries and restarts.
    pub id: DeliveryId,
    /// Who gets it, where, and its counters.
    pub subscription: Arc<Subscription>,
    /// Further dynamic webhooks of the same app that it is for.
    pub also: Box<[Arc<Subscription>]>,
    /// What happened.
    pub occurrence: Arc<Occurrence>,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and the event is delivered all the same.
    pub filter_error: Option<FilterError>,
    /// What happened to it so far.
    pub progress: Progress,
}

/// What happened to a delivery so far; survives parking.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// The attempt to make next, from 1.
    pub attempt: u32,
    /// How often it was parked.
    pub parks: u32,
    /// When it became due.
    pub first_seen: Timestamp,
    /// Label of the last attempt's class; empty before the first.
    pub last_class: Box<str>,
    /// Why the last attempt is repeated, as `retryContext` tells; empty before the first.
    pub retry_reason: Box<str>,
    /// What the handler asked to get back, JSON.
    pub retry_data: Option<Box<str>>,
}

impl Progress {
    /// Nothing happened yet.
    #[must_use]
    pub fn fresh(now: Timestamp) -> Self {
        Self {
            attempt: 1,
            parks: 0,
            first_seen: now,
            last_class: "".into(),
            retry_reason: "".into(),
            retry_data: None,
        }
    }
}

impl Delivery {
    /// The delivery of `occurrence` that is due.
    #[must_use]
    pub fn plan(due: Due, occurrence: &Arc<Occurrence>, now: Timestamp) -> Self {
        let Due { found, also } = due;
        let envelope = &occurrence.event.envelope;
        let identity = webhook::identity(&found.subscription);
        let id = DeliveryId::derive(&envelope.cloud_id, &envelope.event_id, &identity);
        Self {
            id,
            subscription: found.subscription,
            also: also.into(),
            occurrence: Arc::clone(occurrence),
            self_generated: found.self_generated,
            filter_error: found.filter_error.map(|error| *error),
            progress: Progress::fresh(now),
        }
    }

    /// Everyone it is for.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        std::iter::once(&self.subscription).chain(&self.also)
    }

    /// `live` for a delivery that comes straight from its event, `retry` for one that was parked.
    #[must_use]
    pub fn lane_label(&self) -> &'static str {
        if self.progress.parks == 0 { "live" } else { "retry" }
    }

    /// The body of its next attempt.
    #[must_use]
    pub fn body(&self) -> bytes::Bytes {
        if let Handler::Webhook(webhook) = &*self.subscription.owner.settings.handler {
            return webhook::body(self, webhook);
        }
        let retry = (self.progress.attempt > 1).then(|| RetryContext {
            count: self.progress.attempt - 1,
            reason: &self.progress.retry_reason,
            data: self.progress.retry_data.as_deref(),
        });
        let event = self.occurrence.template.render(&Particulars {
            subscription: &self.subscription.id(),
            self_generated: self.self_generated,
            filter_error: self.filter_error.as_ref(),
            include_fields: &self.subscription.owner.settings.include_fields,
            retry,
        });
        match &*self.subscription.owner.settings.handler {
            Handler::Remote(remote) => forge::body(self, remote, event),
            _ => event,
        }
    }
}
