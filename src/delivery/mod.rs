//! Turns matches into deliveries and accounts for each of them.
//!
//! ```text
//! Match -> plan -> lane -> attempt -> delivered
//!                   |         |- retryable  -> parked (schedule)
//!                   |         `- permanent  -> dead letter
//!                   `- full or late         -> parked (backlog)
//! parked: beyond the owner's share -> dead letter: beyond its share -> dropped, counted
//! ```
//!
//! Cast, lower files first:
//!
//! - `model/`: a delivery, its progress, outcomes; plain data.
//! - `signature`, `guard`, `http_client/`: signing, egress rules, requests over HTTP.
//! - `channel/`: how each kind of handler is called, one file a kind.
//! - `queue/`: when a delivery may be attempted: lanes, permits, breakers, backlog, retry schedules.
//! - `plan`, `decision`: matches to deliveries, and what follows from an attempt; pure.
//! - `listener_answer`: the answers of listening clients.
//! - `shares`: who may use how much of the parking stream and of the dead-letter stream; pure.
//! - `parking`, `dead_letter`, `failed_webhooks`: the records of deliveries that wait or failed.
//! - `log/`: reports of what became of deliveries, and the record that is stored of them.
//! - `dispatch`: drives one delivery through all of these and accounts for it.
//!
//! Guarantee: [`Dispatcher::deliver`] returns only when the delivery is accounted for: delivered,
//! parked, dead-lettered or dropped by a counted policy. Bounds: concurrent attempts in total and per
//! app, installation, host, endpoint and event; waiting deliveries per app, endpoint and event;
//! sockets in total. The stage does not depend on the broker
//! (it uses [`ParkingLot`], [`DeadLetterBox`], [`DeliveryLog`] and [`FunctionCaller`]) nor on how subscriptions are
//! stored ([`SubscriptionDirectory`]). `docs/design/channels.md` says why a handler is a channel.
//!
//! Design: `docs/design/delivery-through.md`.

mod channel;
mod dead_letter;
mod decision;
mod dispatch;
mod failed_webhooks;
mod guard;
mod http_client;
mod job_outcomes;
mod listener_answer;
mod log;
mod metrics;
mod model;
mod parking;
mod pause;
mod plan;
mod queue;
mod shares;
mod signature;
#[cfg(test)]
pub(crate) mod testing;

pub use channel::{
    Attempt, Channel, ChannelPorts, CoalesceKey, FunctionCaller, FunctionError, FunctionReply,
    HandlerDescription, describe,
};
pub use dead_letter::{
    DeadLetter, DeadLetterBox, DeadLetterCause, DeadLetterKind, DeadLetterStored,
};
pub use dispatch::{Dispatcher, EndpointGoneReport, EndpointKey, PingReport, Ports};
pub use failed_webhooks::{FailedWebhook, FailedWebhooks};
pub use guard::{BadPort, EgressGuard, EgressRefusal};
pub use http_client::{HttpClient, HttpSender, SocketBudget};
pub use job_outcomes::JobOutcomes;
pub use listener_answer::ListenerAnswer;
pub use log::{
    AttemptReport, BUCKETS, CHUNK_RECORDS, ChunkIndex, ChunkKey, DeliveryLog, DeliveryLogReader,
    DeliveryReport, ERASED_SITE, EventHistory, EventKey, INDEX_BUCKETS, IndexKey, LogCollector,
    LogMessage, LogPage, LogPosition, LogQuery, LogReadError, LogResult, LoggedDelivery,
    NoDeliveryLog, Origin, OutcomeFilter, RecordSource, StoredDelivery, StoredEventHead,
    StoredRecord, bucket, sequences_in,
};
pub use model::{
    AttemptClass, AttemptEvidence, AttemptOutcome, BodyTemplate, DeadLetterReason, Delivery,
    DeliveryContext, DeliveryOutcome, DropPolicy, JobOrigin, JobOutcome, NextStep, NoPosition,
    NotAnObject, ParkReason, Phases, PreparedEvent, Progress, RemovalReason, RequestedDelay,
    ResponseExcerpt, RetryContext, StreamPosition, Transport,
};
pub use parking::{
    HandOver, MalformedRecord, ParkError, ParkedDelivery, ParkedRecord, ParkingLot,
    SubscriptionDirectory, UnmatchedFor, erased_bytes, is_kept_when_erased, job_origin,
    parked_owner,
};
pub use pause::{BEAT_INTERVAL_MAX, CURRENT_GAP_MAX, Gap, Gaps, PauseDetector, PauseGate};
pub use plan::{PlannedDelivery, coalesce, delivery_key};
pub use queue::{
    BreakerReport, BreakerScope, BreakerState, EventShare, LaneFailure, LaneStatus, OpenEndpoint,
    Random, Tripped,
};
pub use shares::{
    Amount, Change, Changes, ChangesDocument, DriftDetector, DropsByOwner, Fractions, Pool,
    PoolLimits, ReplicaChanges, ShareLevel, ShareOwner, Shares,
};
pub use signature::{BadSecret, hub_signature, sign, sign_with_all};

/// Decisions of this stage without I/O, clock or randomness: the simulator (`tests/sim/`) drives
/// them in virtual time. Not an interface for other crates.
#[doc(hidden)]
pub mod state_machines {
    pub use super::decision::{Decision, after_attempt};
    pub use super::queue::{
        Admission, AppHostBreaker, Breaker, BreakerChange, BreakerScope, BreakerState,
        EndpointBreakers, EndpointId, EndpointOwners, EventShareId, FairLimits, FairQueue, Lane,
        Patience, PermitUse, RequestId, Response, RetryDelay, RetrySchedule, Tripped, WaitingLimit,
        host_breaker,
    };
    pub use super::shares::ShareLedger;
}
