//! Fixtures of the unit tests: deliveries, and ports that keep everything in memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::parking::{ParkError, ParkedRecord};
use super::plan::PlannedDelivery;
use super::{
    ChannelPorts, DeadLetter, DeadLetterBox, DeadLetterStored, Delivery, Dispatcher, EgressGuard,
    FunctionCaller, FunctionError, FunctionReply, HttpSender, JobOrigin, JobOutcome, JobOutcomes,
    ParkingLot, Ports, PreparedEvent, Random, ShareLevel, ShareOwner,
};
use crate::clock;
use crate::config::Config;
use crate::domain::{Handler, TraceContext};
use crate::event::codec::HeaderList;
use crate::event::{Envelope, Event};
use crate::matcher::{DeliverySettings, Match, Owner, Subscription};
use crate::telemetry::{LiveFeed, SubscriptionStats};

/// Creates a dispatcher whose ports keep everything in memory.
pub(crate) fn memory_dispatcher() -> Arc<Dispatcher> {
    let config = Config::defaults().unwrap().delivery;
    let guard = Arc::new(EgressGuard::new(&config).unwrap());
    let sender = HttpSender::new(&config, guard).unwrap();
    let edge = Arc::new(MemoryPorts::default());
    let ports = Ports {
        channels: ChannelPorts { functions: edge.clone(), keys: Arc::default() },
        parking: edge.clone(),
        dead_letters: edge.clone(),
        jobs: edge,
        endpoint_reports: tokio::sync::mpsc::channel(1).0,
        log: None,
    };
    Arc::new(Dispatcher::new(&config, sender, ports, Random::seeded(1), LiveFeed::default()))
}

/// Creates a function handler.
pub(super) fn function(subject: &str) -> Handler {
    Handler::function(subject)
}

/// Creates a delivery of event `event`.
pub(super) fn delivery_to(installation: &str, handler: Handler, event: &str) -> Delivery {
    let subscription = Subscription {
        owner: Arc::new(Owner {
            id: installation.into(),
            app: "app-1".into(),
            app_account_id: None,
            cloud_id: "site-1".into(),
            licensed: true,
            permissions: None,
            settings: DeliverySettings::new(Arc::new(handler)),
        }),
        key: "k1".into(),
        event_subscriptions: Vec::new().into(),
        revision: 5,
        stats: SubscriptionStats::default(),
    };
    let event = Event {
        envelope: Envelope {
            cloud_id: "site-1".into(),
            event_id: event.into(),
            event_type: "avi:jira:created:issue".into(),
            time: Some("2026-11-21T07:59:59Z".parse().unwrap()),
            origin_app: Some("app-2".into()),
            entity: Some("ABC-1".into()),
            traceparent: TraceContext::parse(
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            trace: None,
            webhook: None,
        },
        body: Bytes::from_static(br#"{"issue":{"key":"ABC-1"}}"#),
        sequence: 42,
    };
    let found =
        Match { subscription: Arc::new(subscription), self_generated: false, filter_error: None };
    let due = PlannedDelivery { matched: found, coalesced_with: Vec::new() };
    due.into_delivery(&Arc::new(PreparedEvent::new(event).unwrap()), clock::now())
}

/// Ports in memory.
#[derive(Default)]
pub(crate) struct MemoryPorts {
    /// Replies of functions, in order; then success.
    pub(super) answers: Mutex<VecDeque<Result<FunctionReply, FunctionError>>>,
    /// Functions reply only once this is notified.
    pub(super) gate: Option<Notify>,
    pub(super) calls: Mutex<Vec<HeaderList>>,
    pub(super) parked: Mutex<Vec<ParkedRecord>>,
    pub(super) parking_blocked: AtomicBool,
    pub(super) records_too_large: AtomicBool,
    pub(super) letters: Mutex<Vec<DeadLetter>>,
    pub(super) parking_share_used: AtomicBool,
    pub(super) dead_letter_share_used: AtomicBool,
}

impl MemoryPorts {
    /// Creates ports whose functions wait for [`MemoryPorts::gate`].
    pub(super) fn gated() -> Self {
        Self { gate: Some(Notify::new()), ..Self::default() }
    }

    pub(super) fn answer(&self, answer: Result<FunctionReply, FunctionError>) {
        self.answers.lock().unwrap().push_back(answer);
    }
}

impl FunctionCaller for MemoryPorts {
    fn call(
        &self,
        _subject: &str,
        headers: HeaderList,
        _body: Bytes,
        _timeout: Duration,
    ) -> BoxFuture<'_, Result<FunctionReply, FunctionError>> {
        self.calls.lock().unwrap().push(headers);
        Box::pin(async {
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            let success = FunctionReply { body: Bytes::new(), error_code: None };
            self.answers.lock().unwrap().pop_front().unwrap_or(Ok(success))
        })
    }
}

impl ParkingLot for MemoryPorts {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkError>> {
        Box::pin(async {
            if self.parking_blocked.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.records_too_large.load(SeqCst) {
                return Err(ParkError::TooLarge);
            }
            if self.parking_share_used.load(SeqCst) {
                return Err(ParkError::ShareUsed(ShareLevel::Installation));
            }
            self.parked.lock().unwrap().push(record);
            Ok(())
        })
    }

    fn release(&self, _owner: &ShareOwner, _body_bytes: usize) {}
}

impl DeadLetterBox for MemoryPorts {
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, DeadLetterStored> {
        Box::pin(async {
            if self.dead_letter_share_used.load(SeqCst) {
                return DeadLetterStored::ShareExceeded;
            }
            self.letters.lock().unwrap().push(letter);
            DeadLetterStored::Stored
        })
    }
}

impl JobOutcomes for MemoryPorts {
    fn record<'a>(&'a self, _origin: &'a JobOrigin, _outcome: JobOutcome) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}
