//! The ports of the dispatcher and the consumers of the router.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{
    BackpressureGate, Connections, DeadLetterStream, EventPublisher, FunctionClient, ParkingStream,
    PublishGates, PullSubscription, RoomRequests, ShareCounter, Subjects, Trimmer,
};
use crate::config::Config;
use crate::delivery::{
    ChannelPorts, EndpointGoneReport, Ports, Shares, SubscriptionDirectory, UnmatchedFor,
};
use crate::domain::{InstallationId, SubscriptionId};
use crate::event::Publisher;
use crate::matcher::Subscription;
use crate::registry::Registry;

/// Consumers of the event stream; each decodes and matches on its own task.
const WORKERS: usize = 2;

/// Connects the ports of the dispatcher to the broker.
pub(super) fn ports(
    connections: &Connections,
    subjects: &Subjects,
    (shares, gates): (&Arc<Shares>, &Arc<PublishGates>),
    registry: &Registry,
    endpoint_reports: mpsc::Sender<EndpointGoneReport>,
) -> Ports {
    let outbound = &connections.outbound;
    Ports {
        channels: ChannelPorts {
            functions: Arc::new(FunctionClient::new(outbound.client.clone())),
            keys: Arc::clone(registry.keys()),
        },
        parking: Arc::new(ParkingStream::new(
            outbound.clone(),
            subjects.clone(),
            Arc::clone(shares),
            Arc::clone(gates),
        )),
        dead_letters: Arc::new(DeadLetterStream::new(
            outbound.clone(),
            subjects.clone(),
            Arc::clone(shares),
            Arc::clone(gates),
        )),
        endpoint_reports,
    }
}

/// Returns the publisher of events, and the trimmer that makes space for it.
pub(super) fn event_stream(
    config: &Config,
    connections: &Connections,
    subjects: &Subjects,
    gate: &Arc<BackpressureGate>,
) -> (Arc<dyn Publisher>, Trimmer) {
    let room = Arc::<RoomRequests>::default();
    let (outbound, control) = (connections.outbound.clone(), connections.control.clone());
    let publisher = EventPublisher::new(outbound, subjects.clone(), Arc::clone(gate));
    let publisher = Arc::new(publisher.with_room(Arc::clone(&room)));
    let trimmer = Trimmer::new(control, subjects.clone(), config, room);
    (publisher, trimmer)
}

/// Opens the consumers of the event stream and the one of parked deliveries that are due.
pub(super) async fn consumers(
    config: &Config,
    connections: &Connections,
    subjects: &Subjects,
) -> anyhow::Result<(Vec<PullSubscription>, PullSubscription)> {
    let events = |_| PullSubscription::events(connections, subjects, &config.events, WORKERS);
    let pulls: Vec<PullSubscription> = (0..WORKERS).map(events).collect();
    let due = PullSubscription::due(connections, subjects, &config.events);
    for pull in pulls.iter().chain([&due]) {
        pull.ensure().await.map_err(|error| anyhow::anyhow!("consumer: {error}"))?;
    }
    Ok((pulls, due))
}

/// Starts the task that counts what each owner uses of the streams.
pub(super) fn count_shares(
    config: &Config,
    connections: &Connections,
    shares: &Arc<Shares>,
    directory: &Arc<dyn SubscriptionDirectory>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let counter = ShareCounter::new(
        connections.control.clone(),
        Subjects::new(&config.nats.prefix),
        Arc::clone(shares),
        Arc::clone(directory),
    );
    let stop = stop.clone();
    tasks.spawn(async move { stop.run_until_cancelled(counter.run()).await });
}

/// Looks subscriptions of parked deliveries up in the registry.
pub(super) struct LiveSubscriptions(pub(super) Arc<Registry>);

impl SubscriptionDirectory for LiveSubscriptions {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.subscription(id)
    }

    fn waiting_at(&self, site: &str) -> Vec<UnmatchedFor> {
        let waiting = self.0.waiting_at(site).into_iter();
        waiting.map(|one| UnmatchedFor { app: one.app, installation: one.id }).collect()
    }

    fn is_waiting(&self, installation: &InstallationId) -> bool {
        self.0.is_waiting(installation)
    }

    fn subscriptions_of(&self, installation: &InstallationId) -> Vec<Arc<Subscription>> {
        let known = self.0.installation_by_id_or_token(installation.as_str());
        let modules = known.iter().flat_map(|known| &known.modules);
        modules.filter_map(|module| module.subscription.clone()).collect()
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.wait_until_current())
    }
}
