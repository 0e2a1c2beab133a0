//! Matches an event against given subscriptions, one by one, without the index.
//!
//! For an event that waited for the document of an installation: the other subscriptions of its site
//! were matched before. Conditions and evaluation are those of matching.

use switchyard_expr::{Env, EvalScratch, Verdict};

use super::conditions::Conditions;
use super::{Match, Matcher, Subscriber, Subscription, evaluate};
use crate::clock;
use crate::event::{Decoder, RoutingKey};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Matcher {
    /// Returns which of `subscriptions` match the event with this routing key, which `decoder`
    /// holds, and counts the results in their statistics.
    #[must_use]
    pub fn match_one_by_one(
        &self,
        subscriptions: &[Arc<Subscription>],
        routing_key: RoutingKey<'_>,
        decoder: &Decoder,
    ) -> Vec<Match> {
        let env = Env { now_ms: clock::broker_now_ms(), steps_max: self.steps_max() };
        let mut scratch = EvalScratch::new();
        let mut matches = Vec::new();
        for subscription in subscriptions {
            let mut events = subscription.event_subscriptions.iter();
            let event = events.find(|e| e.conditions.event_type.as_str() == routing_key.event_type);
            let Some(event) = event else { continue };
            let subscriber = Subscriber::from(&**subscription);
            let is_own =
                |subscriber: Subscriber<'_>| subscriber.is_self_generated(routing_key, decoder);
            if Conditions::from(&*event.conditions).unmet(|| subscriber, is_own).is_some() {
                subscription.stats.ignored.fetch_add(1, Relaxed);
                continue;
            }
            let verdict = match &event.program {
                Some(program) => {
                    let own = || is_own(subscriber);
                    let verdict = evaluate::verdict(program, decoder, own, &env, &mut scratch);
                    subscription.stats.steps.fetch_add(u64::from(scratch.steps()), Relaxed);
                    match verdict {
                        Verdict::Match => Ok(true),
                        Verdict::NoMatch => Ok(false),
                        Verdict::Failed(error) => Err(evaluate::filter_error(program, &error)),
                    }
                }
                None => Ok(true),
            };
            let filter_error = match verdict {
                Ok(false) => continue,
                Ok(true) => {
                    subscription.stats.count_match(clock::now_ms());
                    None
                }
                Err(error) => {
                    subscription.stats.count_error(&error.message);
                    if !event.conditions.on_error.delivers() {
                        continue;
                    }
                    Some(Box::new(error))
                }
            };
            matches.push(Match {
                subscription: Arc::clone(subscription),
                self_generated: is_own(subscriber),
                filter_error,
            });
        }
        matches
    }
}
