//! Outcome of a delivery: how it is accounted for, and why it is parked or dead-lettered.

use std::borrow::Cow;

/// How a delivery ended for its event; in each case the delivery is accounted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryOutcome {
    /// The handler accepted it.
    Delivered,
    /// It is stored in the parking stream.
    Parked(ParkReason),
    /// It is stored in the dead-letter stream.
    DeadLettered(DeadLetterReason),
    /// A policy dropped and counted it.
    Dropped(DropPolicy),
    /// It was removed before it ended.
    Removed(RemovalReason),
}

impl DeliveryOutcome {
    /// Returns its kind: `delivered`, `parked`, `dead`, `dropped` or `removed`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Parked(_) => "parked",
            Self::DeadLettered(_) => "dead",
            Self::Dropped(_) => "dropped",
            Self::Removed(_) => "removed",
        }
    }

    /// Returns why it was parked, dead-lettered, dropped or removed; none if it was delivered.
    #[must_use]
    pub fn why(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Delivered => None,
            Self::Parked(reason) => Some(reason.label().into()),
            Self::DeadLettered(reason) => Some(reason.text()),
            Self::Dropped(policy) => Some(policy.label().into()),
            Self::Removed(reason) => Some(reason.label().into()),
        }
    }
}

/// Why what is stored of a delivery was removed; a closed set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemovalReason {
    /// An operator deleted its dead letter.
    Operator,
    /// An erasure removed it.
    Erased,
    /// Its body may not be kept for longer.
    Expired,
}

impl RemovalReason {
    /// Returns its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Operator => "rm",
            Self::Erased => "erased",
            Self::Expired => "expired",
        }
    }
}

/// A policy that drops deliveries; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropPolicy {
    /// None of its subscriptions exists any more.
    SubscriptionRemoved,
    /// The owner of its dead letter has used its share of the dead-letter stream.
    ShareExceeded,
    /// The endpoint that a replay sent it to, in place of its handler, did not accept it.
    TargetFailed,
    /// A listening client did not accept it, or did not keep up.
    ListenerFailed,
}

impl DropPolicy {
    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::SubscriptionRemoved => "subscription_removed",
            Self::ShareExceeded => "share_exceeded",
            Self::TargetFailed => "target_failed",
            Self::ListenerFailed => "listener_failed",
        }
    }
}

/// Why a delivery is parked; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParkReason {
    /// Its attempt failed and is retried later.
    Backoff,
    /// The queue of its endpoint is full.
    Full,
    /// It waited too long for a permit.
    Late,
    /// The circuit breaker of its endpoint is open.
    Breaker,
    /// Its module is paused.
    Paused,
    /// This machine had no descriptor, port or buffer for its attempt.
    Router,
    /// The document of its installation, or that of the app, cannot be read.
    Unreadable,
    /// Its installation used more than its share of evaluation.
    Evaluation,
    /// A redrive of its dead letter handed it over.
    Redrive,
    /// A replay of its event handed it over.
    Replay,
}

impl ParkReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Backoff,
        Self::Full,
        Self::Late,
        Self::Breaker,
        Self::Paused,
        Self::Router,
        Self::Unreadable,
        Self::Evaluation,
        Self::Redrive,
        Self::Replay,
    ];

    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::Full => "full",
            Self::Late => "late",
            Self::Breaker => "breaker",
            Self::Paused => "paused",
            Self::Router => "router",
            Self::Unreadable => "unreadable",
            Self::Evaluation => "evaluation",
            Self::Redrive => "redrive",
            Self::Replay => "replay",
        }
    }
}

/// Why a delivery or an event is dead-lettered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeadLetterReason {
    /// The event cannot be read; the reason of the decoder.
    Poison(&'static str),
    /// The body is larger than allowed.
    TooLarge,
    /// All attempts failed.
    Exhausted,
    /// The endpoint answered 410.
    Gone,
    /// The endpoint answered with a status that a retry cannot fix.
    Rejected(u16),
    /// The egress guard rejected the address.
    BlockedAddress,
    /// It cannot be parked: the owner has used its share of the parking stream.
    BacklogFull,
    /// It waited for longer than `delivery.backlog_max_h`.
    Expired,
}

impl DeadLetterReason {
    /// Every metric label.
    pub const LABELS: [&str; 14] = [
        "poison_utf8",
        "poison_depth",
        "poison_size",
        "poison_crash",
        "poison_json",
        "poison_schema",
        "too_large",
        "exhausted",
        "gone",
        "rejected_3xx",
        "rejected_4xx",
        "blocked_address",
        "backlog_full",
        "expired",
    ];

    /// Returns the metric label, one of a closed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Poison("utf8") => "poison_utf8",
            Self::Poison("depth") => "poison_depth",
            Self::Poison("size") => "poison_size",
            Self::Poison("crash") => "poison_crash",
            Self::Poison("json") => "poison_json",
            Self::Poison(_) => "poison_schema",
            Self::TooLarge => "too_large",
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
            Self::Rejected(300..400) => "rejected_3xx",
            Self::Rejected(_) => "rejected_4xx",
            Self::BlockedAddress => "blocked_address",
            Self::BacklogFull => "backlog_full",
            Self::Expired => "expired",
        }
    }

    /// Returns the reason as stored in the dead letter, with the status where there is one.
    #[must_use]
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::Rejected(status) => format!("rejected_{status}").into(),
            other => other.label().into(),
        }
    }
}
