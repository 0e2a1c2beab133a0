//! State of the request handlers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::AccessUse;
use super::admin_tokens::AdminTokens;
use super::broker_answers::BrokerAnswers;
use super::health_state::Health;
use super::ingest::IngestRefusals;
use super::ping_limit::PingLimit;
use crate::audit::AuditLog;
use crate::delivery::{
    DeliveryLog, DeliveryLogReader, Dispatcher, EgressGuard, FailedWebhooks, Shares,
    SubscriptionDirectory,
};
use crate::event::{EventArchive, Publisher, UnmappedWebhooks};
use crate::listener::{AuthFailures, BodyIntake};
use crate::matcher::Matcher;
use crate::recovery::account::Accountant;
use crate::recovery::backtest::BacktestTurns;
use crate::recovery::doctor::{BrokerInspector, Finding};
use crate::recovery::explain::ExplainTurns;
use crate::recovery::jobs::Jobs;
use crate::recovery::redrive::DeadLetters;
use crate::recovery::replay::ReplayParts;
use crate::recovery::shadow::ShadowFollower;
use crate::registry::{ListenerRelay, Listeners, Registry};
use crate::telemetry::LiveFeed;
use crate::telemetry::history::History;

/// State shared by all request handlers.
pub struct ApiState {
    /// The registered apps, installations and modules.
    pub registry: Arc<Registry>,
    /// The matcher, for dry runs and per-subscription counts.
    pub matcher: Arc<Matcher>,
    /// When the broker last answered.
    pub broker: Arc<BrokerAnswers>,
    /// Bearer tokens of the operator API.
    pub admin_tokens: AdminTokens,
    /// How much access tokens are used.
    pub access: AccessUse,
    /// Records changes.
    pub audit: Arc<dyn AuditLog>,
    /// Maximum request body, in bytes.
    pub body_max: usize,
    /// Reads request bodies.
    pub bodies: Arc<BodyIntake>,
    /// Limits clients that fail to authenticate.
    pub failures: Arc<AuthFailures>,
    /// Reads webhooks that were dead-lettered.
    pub failed_webhooks: Arc<dyn FailedWebhooks>,
    /// Counts webhooks that map to no event.
    pub unmapped_webhooks: Arc<dyn UnmappedWebhooks>,
    /// Refused webhooks by site.
    pub refusals: Arc<IngestRefusals>,
    /// Reads what became of deliveries.
    pub delivery_log: Arc<dyn DeliveryLogReader>,
    /// Reads single events.
    pub events: Arc<dyn EventArchive>,
    /// Which addresses deliveries may be sent to.
    pub guard: Arc<EgressGuard>,
    /// Dead letters, and jobs on deliveries that failed.
    pub recovery: Recovery,
    /// What operators inspect of this replica.
    pub operations: Operations,
    /// Listening clients.
    pub listening: Listening,
}

/// What connects listening clients.
pub struct Listening {
    /// Those of all replicas.
    pub listeners: Arc<Listeners>,
    /// Connects them with all replicas.
    pub relay: Arc<dyn ListenerRelay>,
    /// After which a delivery waits for its answer no longer.
    pub timeout: Duration,
}

/// What operators inspect of this replica.
pub struct Operations {
    /// Which replica this is.
    pub replica: Replica,
    /// The checks of the broker.
    pub health: Arc<Health>,
    /// Routed events and deliveries as they happen.
    pub live: LiveFeed,
    /// Endpoints and their breakers.
    pub dispatcher: Arc<Dispatcher>,
    /// Parked deliveries by owner.
    pub shares: Arc<Shares>,
    /// How far the router is behind the event stream.
    pub publisher: Arc<dyn Publisher>,
    /// What the broker says of itself.
    pub broker: Arc<dyn BrokerInspector>,
    /// Addresses of the broker, without passwords.
    pub broker_address: String,
    /// Findings about the configuration, made at the start.
    pub configuration: Vec<Finding>,
    /// What this replica did in the last hour.
    pub history: Arc<History>,
    /// Bounds the tests of endpoints.
    pub pings: PingLimit,
    /// Ends live feeds when the router stops.
    pub stop: CancellationToken,
}

/// One replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    /// Name of its machine, with the id of its process.
    pub name: String,
    /// When it started, milliseconds since the epoch: its counters begin then.
    pub started_ms: i64,
}

/// What recovery needs.
pub struct Recovery {
    /// Reads and deletes dead letters.
    pub letters: Arc<dyn DeadLetters>,
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// Which subscriptions exist.
    pub directory: Arc<dyn SubscriptionDirectory>,
    /// What replays read and match events with.
    pub replay: ReplayParts,
    /// Records what becomes of deliveries; none if the delivery log is off.
    pub log: Option<Arc<dyn DeliveryLog>>,
    /// Computes accounts.
    pub accountant: Arc<Accountant>,
    /// Counts what shadow filters would deliver.
    pub shadows: Arc<ShadowFollower>,
    /// Lets one request at a time check the log against the event stream.
    pub ledger_turn: Semaphore,
    /// Lets requests explain stored events, one at a time.
    pub explain_turns: ExplainTurns,
    /// Bounds the backtests that run at once.
    pub backtests: Arc<BacktestTurns>,
}

/// [`ApiState`] as handlers receive it.
pub type Shared = Arc<ApiState>;
