//! Listening clients: what matches them, and what connects them with all replicas.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::background::Background;
use super::broker::Broker;
use crate::api::Listening;
use crate::bus::{ListenerBus, OtherReplicas};
use crate::config::Config;
use crate::matcher::Matcher;
use crate::registry::{Listeners, Registry};

/// Connects listening clients, and follows those of the other replicas from now on.
pub(super) fn connect(
    config: &Config,
    broker: &Broker,
    (registry, matcher): (&Arc<Registry>, &Arc<Matcher>),
    others: watch::Receiver<Option<OtherReplicas>>,
    background: &Background,
) -> Listening {
    let listeners = Arc::new(Listeners::new(Arc::clone(registry), Arc::clone(matcher)));
    let timeout = Duration::from_millis(config.delivery.timeout_ms);
    let relay = ListenerBus::new(
        broker.connections.control.client.clone(),
        broker.subjects.clone(),
        Arc::clone(&listeners),
        others,
        (timeout, background.stop.clone()),
    );
    background.spawn(relay.clone().run());
    Listening { listeners, relay: Arc::new(relay), timeout }
}
