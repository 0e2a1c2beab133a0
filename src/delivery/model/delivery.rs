//! A delivery, its event and its progress.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::body::{BodyTemplate, DeliveryContext, NotAnObject, RetryContext};
use super::job_origin::JobOrigin;
use crate::domain::{DeliveryId, FilterError, Handler, HttpHandler};
use crate::event::{Decoder, Event};
use crate::matcher::Subscription;

/// An event prepared for delivery, shared by its deliveries.
#[derive(Clone, Debug)]
pub struct PreparedEvent {
    /// The event.
    pub event: Event,
    /// Its body, split for rendering.
    pub template: BodyTemplate,
}

impl PreparedEvent {
    /// Prepares an event for delivery.
    ///
    /// # Errors
    /// Its body is not a JSON object.
    pub fn new(event: Event) -> Result<Self, NotAnObject> {
        let template = BodyTemplate::of(&event)?;
        Ok(Self { event, template })
    }

    /// Prepares an event that `decoder` has just read, reusing its list of members.
    ///
    /// # Errors
    /// Its body is not a JSON object.
    pub fn decoded(event: Event, decoder: &Decoder) -> Result<Self, NotAnObject> {
        let Some(outline) = decoder.member_spans() else { return Self::new(event) };
        let template = BodyTemplate::outlined(&event, &outline);
        Ok(Self { event, template })
    }
}

/// One event to be delivered to one handler once.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The same over attempts, redeliveries and restarts.
    pub id: DeliveryId,
    /// Subscription with its handler and counters.
    pub subscription: Arc<Subscription>,
    /// Further dynamic webhooks of the same app that share this delivery.
    pub coalesced_with: Box<[Arc<Subscription>]>,
    /// The event.
    pub prepared: Arc<PreparedEvent>,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and the event is delivered nevertheless.
    pub filter_error: Option<FilterError>,
    /// Its attempts and parkings so far.
    pub progress: Progress,
    /// Endpoint that a replay sends it to in place of the handler.
    pub target: Option<Arc<Handler>>,
}

/// Attempts and parkings of a delivery so far; survives parking.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// Number of the next attempt, from 1.
    pub attempt: u32,
    /// How often it was parked.
    pub parks: u32,
    /// When the delivery was created.
    pub first_seen: Timestamp,
    /// Label of the last attempt's class; empty before the first.
    pub last_class: Box<str>,
    /// `retryContext.retryReason` of the next attempt; empty before the first.
    pub retry_reason: Box<str>,
    /// Data that the handler asked to get back, JSON.
    pub retry_data: Option<Box<str>>,
    /// The job that started these attempts; none if the event did.
    pub job: Option<Arc<JobOrigin>>,
    /// When the broker stored the event, milliseconds since the epoch; none in records of earlier
    /// releases.
    pub stored_ms: Option<i64>,
}

impl Progress {
    /// Creates the progress of a delivery that was not attempted yet.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            attempt: 1,
            parks: 0,
            first_seen: now,
            last_class: "".into(),
            retry_reason: "".into(),
            retry_data: None,
            job: None,
            stored_ms: None,
        }
    }

    /// Returns the replay that made the delivery once more; none if its event made it.
    #[must_use]
    pub fn repeated_by(&self) -> Option<&Arc<str>> {
        self.job.as_deref()?.repeated_by.as_ref()
    }

    /// Returns the job that started these attempts if it is a replay.
    #[must_use]
    pub fn replay_job(&self) -> Option<&Arc<str>> {
        self.job.as_deref()?.replay_job()
    }

    /// Returns the endpoint that a replay sends to in place of the handler of `subscription`, signed as
    /// for that handler. Handlers whose requests carry a token, or are functions, sign no request to
    /// another endpoint: its owner could use the token.
    #[must_use]
    pub fn target(&self, subscription: &Subscription) -> Option<Arc<Handler>> {
        let url = self.job.as_deref()?.target.clone()?;
        let secrets = match &*subscription.owner.settings.handler {
            Handler::Http(endpoint) => endpoint.secrets.clone(),
            Handler::ForgeRemote(remote) => Some(remote.secrets.clone()),
            Handler::Function(_) | Handler::Webhook(_) | Handler::Listener(_) => None,
        };
        Some(Arc::new(Handler::Http(HttpHandler { url, secrets })))
    }
}

impl Delivery {
    /// Handler that the delivery is sent to.
    #[must_use]
    pub fn handler(&self) -> &Handler {
        self.target.as_ref().unwrap_or(&self.subscription.owner.settings.handler)
    }

    /// Iterates over all subscriptions of this delivery.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        std::iter::once(&self.subscription).chain(&self.coalesced_with)
    }

    /// Forgets the subscriptions that were removed since the match; returns false if none is left.
    pub fn retain_live(&mut self) -> bool {
        if self.subscriptions().all(|one| !one.stats.is_removed()) {
            return true;
        }
        let mut live = self.subscriptions().filter(|one| !one.stats.is_removed()).cloned();
        let Some(first) = live.next() else { return false };
        let others = live.collect();
        (self.subscription, self.coalesced_with) = (first, others);
        true
    }

    /// Returns `live` for a delivery straight from its event, `replay` for one that a replay handed over,
    /// `retry` for another one that was parked.
    #[must_use]
    pub fn lane_label(&self) -> &'static str {
        match self.progress.parks {
            0 => "live",
            _ if self.progress.replay_job().is_some() => "replay",
            _ => "retry",
        }
    }

    /// Renders the event object that the next attempt sends.
    #[must_use]
    pub fn event_body(&self) -> Bytes {
        let retry = (self.progress.attempt > 1).then(|| RetryContext {
            count: self.progress.attempt - 1,
            reason: &self.progress.retry_reason,
            data: self.progress.retry_data.as_deref(),
        });
        self.prepared.template.render(&DeliveryContext {
            subscription: &self.subscription.id(),
            self_generated: self.self_generated,
            filter_error: self.filter_error.as_ref(),
            include_fields: &self.subscription.owner.settings.include_fields,
            include_properties: &self.subscription.owner.settings.include_properties,
            retry,
        })
    }
}
