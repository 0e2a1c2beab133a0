//! Log lines about what fails: a line a minute for each endpoint and subscription, with the number of
//! those that were suppressed since.

use crate::delivery::channel::channel_of;
use crate::delivery::model::{AttemptOutcome, DeadLetterReason, Delivery};
use crate::delivery::queue::{BreakerChange, BreakerScope, shown_endpoint};
use crate::telemetry::LogBudget;

/// Limits of the lines of all endpoints and subscriptions together, by kind.
#[derive(Debug, Default)]
pub(super) struct FailureLogs {
    attempts: LogBudget,
    dead_letters: LogBudget,
    breakers: LogBudget,
}

impl FailureLogs {
    /// Logs a failed attempt within the limit of its endpoint.
    pub(super) fn attempt_failed(
        &self,
        delivery: &Delivery,
        outcome: &AttemptOutcome,
        of_endpoint: &LogBudget,
    ) {
        let Some(suppressed) = of_endpoint.take_of(&self.attempts) else { return };
        let owner = &delivery.subscription.owner;
        tracing::warn!(
            app = %owner.app,
            installation = %owner.id,
            key = %delivery.subscription.key,
            endpoint = endpoint_of(delivery),
            delivery_id = %delivery.id,
            attempt = delivery.progress.attempt,
            class = outcome.class.label(),
            blame = outcome.class.blame(),
            detail = %outcome.detail,
            trace_id = trace_of(delivery),
            suppressed,
            "attempt failed"
        );
    }

    /// Logs that a breaker opened or closed.
    pub(super) fn breaker_changed(
        &self,
        delivery: &Delivery,
        (scope, change): (BreakerScope, BreakerChange),
        detail: &str,
    ) {
        let Some(suppressed) = self.breakers.take() else { return };
        let (owner, endpoint, scope) =
            (&delivery.subscription.owner, endpoint_of(delivery), scope.label());
        match change {
            BreakerChange::Opened { cause, wait_ms } => tracing::warn!(
                app = %owner.app,
                installation = %owner.id,
                endpoint,
                scope,
                cause = cause.label(),
                detail,
                wait_s = wait_ms / 1000,
                suppressed,
                "circuit breaker opened: no attempts, deliveries wait"
            ),
            BreakerChange::Closed { after_ms } => tracing::info!(
                app = %owner.app,
                installation = %owner.id,
                endpoint,
                scope,
                open_s = after_ms / 1000,
                suppressed,
                "circuit breaker closed: deliveries are attempted again"
            ),
        }
    }

    /// Logs a dead letter within the limit of its subscription.
    pub(super) fn dead_lettered(
        &self,
        delivery: &Delivery,
        reason: &DeadLetterReason,
        error: &str,
    ) {
        let (subscription, all) = (&delivery.subscription, &self.dead_letters);
        let of_subscription = &subscription.stats.log_limits().dead_letters;
        let Some(suppressed) = of_subscription.take_of(all) else { return };
        tracing::warn!(
            app = %subscription.owner.app,
            installation = %subscription.owner.id,
            key = %subscription.key,
            delivery_id = %delivery.id,
            reason = %reason.text(),
            error,
            trace_id = trace_of(delivery),
            suppressed,
            "delivery dead-lettered"
        );
    }
}

/// Returns the trace of a delivery; none if it is not recorded.
fn trace_of(delivery: &Delivery) -> Option<String> {
    let trace = delivery.prepared.event.envelope.trace?;
    Some(format!("{:032x}", trace.trace_id))
}

/// Returns the endpoint of a delivery as logs show it.
fn endpoint_of(delivery: &Delivery) -> String {
    shown_endpoint(channel_of(delivery.handler()).endpoint())
}
