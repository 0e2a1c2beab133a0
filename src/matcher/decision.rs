//! The decision on one subscription for one event: the only code that decides without the index.
//!
//! Matching one by one, matching again and dry runs ask it; what is explained is therefore what is
//! routed.

use std::sync::Arc;

use switchyard_expr::{Env, EvalScratch, Program, Verdict};

use super::conditions::Conditions;
use super::{EventSubscription, Subscriber, UnmetCondition, evaluate};
use crate::domain::OnError;
use crate::event::{Decoder, RoutingKey};

/// The decision on one subscription for one event, by the stage that made it.
#[derive(Debug)]
pub(super) enum Decision<'s> {
    /// It does not subscribe to the event type.
    NotSubscribed,
    /// A condition is not met.
    Ignored(UnmetCondition),
    /// The conditions are met and there is no expression.
    NoExpression,
    /// The conditions are met and the expression was evaluated.
    Evaluated {
        /// The expression.
        program: &'s Arc<Program>,
        /// Its result.
        verdict: Verdict,
        /// What an evaluation error means for delivery.
        on_error: OnError,
    },
}

/// An event that is matched, with the settings of evaluation.
pub(super) struct EventContext<'e> {
    pub(super) routing_key: RoutingKey<'e>,
    pub(super) decoder: &'e Decoder,
    pub(super) env: Env,
}

impl EventContext<'_> {
    /// Decides on a subscription to these events; adds the steps that it took to `steps`.
    pub(super) fn decide<'s>(
        &self,
        event_subscriptions: &'s [EventSubscription],
        subscriber: Subscriber<'_>,
        scratch: &mut EvalScratch,
        steps: &mut u64,
    ) -> Decision<'s> {
        let mut subscribed = event_subscriptions.iter();
        let event_type = self.routing_key.event_type;
        let event = subscribed.find(|e| e.conditions.event_type.as_str() == event_type);
        let Some(EventSubscription { conditions, program }) = event else {
            return Decision::NotSubscribed;
        };
        let is_own = |subscriber: Subscriber<'_>| self.is_self_generated(subscriber);
        if let Some(unmet) = Conditions::from(&**conditions).unmet(|| subscriber, is_own) {
            return Decision::Ignored(unmet);
        }
        let Some(program) = program else { return Decision::NoExpression };
        let verdict = self.verdict(program, subscriber, scratch, steps);
        Decision::Evaluated { program, verdict, on_error: conditions.on_error }
    }

    /// Evaluates an expression; adds the steps that it took to `steps`.
    pub(super) fn verdict(
        &self,
        program: &Program,
        subscriber: Subscriber<'_>,
        scratch: &mut EvalScratch,
        steps: &mut u64,
    ) -> Verdict {
        let values = || subscriber.values(self.routing_key, self.decoder);
        let verdict = evaluate::verdict(program, self.decoder, values, &self.env, scratch);
        *steps += u64::from(scratch.steps());
        verdict
    }

    /// Whether the app itself caused the event.
    pub(super) fn is_self_generated(&self, subscriber: Subscriber<'_>) -> bool {
        subscriber.is_self_generated(self.routing_key, self.decoder)
    }
}
