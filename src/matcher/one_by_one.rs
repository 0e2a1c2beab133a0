//! Matches an event against given subscriptions, one by one, without the index.
//!
//! For an event that waited for an installation: for its document, or because it had used its share
//! of evaluation. The other subscriptions of its site were matched before. Conditions and evaluation
//! are those of matching.

use switchyard_expr::{Env, EvalScratch, Verdict};

use super::conditions::Conditions;
use super::{EvaluationCounts, FilterFailure, Match, Matcher, Subscriber, Subscription, evaluate};
use crate::clock;
use crate::event::{Decoder, RoutingKey};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What matches of given subscriptions.
#[derive(Debug, Default)]
pub struct LateMatches {
    /// The matches.
    pub matches: Vec<Match>,
    /// Evaluation errors, one for each subscription.
    pub failures: Vec<FilterFailure>,
    /// Number of evaluations by result.
    pub evaluated: EvaluationCounts,
    /// Steps of all evaluations.
    pub steps: u64,
}

impl Matcher {
    /// Returns which of `subscriptions` match the event with this routing key, which `decoder`
    /// holds, and counts the results in their statistics.
    #[must_use]
    pub fn match_one_by_one(
        &self,
        subscriptions: &[Arc<Subscription>],
        routing_key: RoutingKey<'_>,
        decoder: &Decoder,
    ) -> LateMatches {
        let env = Env { now_ms: clock::broker_now_ms(), steps_max: self.steps_max() };
        let mut scratch = EvalScratch::new();
        let mut late = LateMatches::default();
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
                    let values = || subscriber.values(routing_key, decoder);
                    let verdict = evaluate::verdict(program, decoder, values, &env, &mut scratch);
                    let steps = u64::from(scratch.steps());
                    subscription.stats.steps.fetch_add(steps, Relaxed);
                    late.steps += steps;
                    match verdict {
                        Verdict::Match => Ok(true),
                        Verdict::NoMatch => Ok(false),
                        Verdict::Failed(error) => Err(evaluate::filter_error(program, &error)),
                    }
                }
                None => Ok(true),
            };
            let filter_error = match verdict {
                Ok(false) => {
                    late.evaluated.not_matched += 1;
                    continue;
                }
                Ok(true) => {
                    late.evaluated.matched += 1;
                    subscription.stats.count_match(clock::now_ms());
                    None
                }
                Err(error) => {
                    late.evaluated.failed += 1;
                    subscription.stats.count_error(&error.message);
                    let (subscription, on_error) =
                        (Arc::clone(subscription), event.conditions.on_error);
                    late.failures.push(FilterFailure {
                        subscription,
                        error: error.clone(),
                        on_error,
                    });
                    if !on_error.delivers() {
                        continue;
                    }
                    Some(Box::new(error))
                }
            };
            late.matches.push(Match {
                subscription: Arc::clone(subscription),
                self_generated: is_own(subscriber),
                filter_error,
            });
        }
        late
    }
}
