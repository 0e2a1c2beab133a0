//! Matches an event against given subscriptions, one by one, without the index.
//!
//! For an event that waited for an installation, for its document or because it had used its share of
//! evaluation: the other subscriptions of its site were matched before. And for an event that is
//! matched again, by a replay or a check of the delivery log, which counts nothing. Conditions and
//! evaluation are those of matching.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::{Env, EvalScratch, Program, Verdict};

use super::conditions::Conditions;
use super::{EvaluationCounts, FilterFailure, Match, Matcher, Subscriber, Subscription, evaluate};
use crate::clock;
use crate::domain::{FilterError, OnError};
use crate::event::{Decoder, RoutingKey};

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

/// How an event is matched again.
#[derive(Clone, Copy, Debug)]
pub struct MatchAgain<'a> {
    /// The time that filters see, milliseconds since the epoch: mostly that at which the event was
    /// stored, so that a filter with a date has the verdict that it had then.
    pub now_ms: i64,
    /// A further filter that must hold. An error of it is no match.
    pub condition: Option<&'a Program>,
}

/// What matches again.
#[derive(Debug, Default)]
pub struct MatchedAgain {
    /// The matches.
    pub matches: Vec<Match>,
    /// How many more would be if the further filter had not ended in an error.
    pub condition_errors: usize,
    /// Steps of all evaluations.
    pub steps: u64,
}

/// The decision on one subscription for one event.
enum Decision {
    /// It does not subscribe to the event type.
    NotSubscribed,
    /// Licence or `ignoreSelf` leaves the event out.
    Ignored,
    /// Its filter does not hold.
    NoMatch,
    /// Its filter holds.
    Match,
    /// Its filter ended in an error.
    Failed(FilterError, OnError),
}

/// An event that is matched, with the settings of evaluation.
struct EventContext<'e> {
    routing_key: RoutingKey<'e>,
    decoder: &'e Decoder,
    env: Env,
}

impl<'e> EventContext<'e> {
    /// Decides on a subscription; adds the steps that it took to `steps`.
    fn decide(
        &self,
        subscription: &'e Subscription,
        scratch: &mut EvalScratch,
        steps: &mut u64,
    ) -> Decision {
        let mut events = subscription.event_subscriptions.iter();
        let event =
            events.find(|e| e.conditions.event_type.as_str() == self.routing_key.event_type);
        let Some(event) = event else { return Decision::NotSubscribed };
        let subscriber = Subscriber::from(subscription);
        let is_own = |subscriber: Subscriber<'_>| {
            subscriber.is_self_generated(self.routing_key, self.decoder)
        };
        if Conditions::from(&*event.conditions).unmet(|| subscriber, is_own).is_some() {
            return Decision::Ignored;
        }
        let Some(program) = &event.program else { return Decision::Match };
        match self.verdict(program, subscriber, scratch, steps) {
            Verdict::Match => Decision::Match,
            Verdict::NoMatch => Decision::NoMatch,
            Verdict::Failed(error) => {
                let error = evaluate::filter_error(program, &error);
                Decision::Failed(error, event.conditions.on_error)
            }
        }
    }

    fn verdict(
        &self,
        program: &Program,
        subscriber: Subscriber<'e>,
        scratch: &mut EvalScratch,
        steps: &mut u64,
    ) -> Verdict {
        let values = || subscriber.values(self.routing_key, self.decoder);
        let verdict = evaluate::verdict(program, self.decoder, values, &self.env, scratch);
        *steps += u64::from(scratch.steps());
        verdict
    }

    fn matched(&self, subscription: &Arc<Subscription>, error: Option<FilterError>) -> Match {
        let subscriber = Subscriber::from(&**subscription);
        Match {
            subscription: Arc::clone(subscription),
            self_generated: subscriber.is_self_generated(self.routing_key, self.decoder),
            filter_error: error.map(Box::new),
        }
    }
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
        let context = EventContext { routing_key, decoder, env };
        let mut scratch = EvalScratch::new();
        let mut late = LateMatches::default();
        for subscription in subscriptions {
            let mut steps = 0;
            let decision = context.decide(subscription, &mut scratch, &mut steps);
            subscription.stats.steps.fetch_add(steps, Relaxed);
            late.steps += steps;
            match decision {
                Decision::NotSubscribed => {}
                Decision::Ignored => {
                    subscription.stats.ignored.fetch_add(1, Relaxed);
                }
                Decision::NoMatch => late.evaluated.not_matched += 1,
                Decision::Match => {
                    late.evaluated.matched += 1;
                    subscription.stats.count_match(clock::now_ms());
                    late.matches.push(context.matched(subscription, None));
                }
                Decision::Failed(error, on_error) => {
                    late.evaluated.failed += 1;
                    subscription.stats.count_error(&error.message);
                    late.failures.push(FilterFailure {
                        subscription: Arc::clone(subscription),
                        error: error.clone(),
                        on_error,
                    });
                    if on_error.delivers() {
                        late.matches.push(context.matched(subscription, Some(error)));
                    }
                }
            }
        }
        late
    }

    /// Returns which of `subscriptions` match the event with this routing key, which `decoder` holds,
    /// if they are of the site of the event. Counts nothing: the event was matched before.
    #[must_use]
    pub fn match_again(
        &self,
        subscriptions: &[Arc<Subscription>],
        (routing_key, decoder): (RoutingKey<'_>, &Decoder),
        again: MatchAgain<'_>,
    ) -> MatchedAgain {
        let env = Env { now_ms: again.now_ms, steps_max: self.steps_max() };
        let context = EventContext { routing_key, decoder, env };
        let mut scratch = EvalScratch::new();
        let mut matched = MatchedAgain::default();
        let of_site =
            |one: &&Arc<Subscription>| one.owner.cloud_id.as_str() == routing_key.cloud_id;
        for subscription in subscriptions.iter().filter(of_site) {
            let error = match context.decide(subscription, &mut scratch, &mut matched.steps) {
                Decision::Match => None,
                Decision::Failed(error, on_error) if on_error.delivers() => Some(error),
                _ => continue,
            };
            if let Some(program) = again.condition {
                let subscriber = Subscriber::from(&**subscription);
                match context.verdict(program, subscriber, &mut scratch, &mut matched.steps) {
                    Verdict::Match => {}
                    Verdict::NoMatch => continue,
                    Verdict::Failed(_) => {
                        matched.condition_errors += 1;
                        continue;
                    }
                }
            }
            matched.matches.push(context.matched(subscription, error));
        }
        matched
    }
}
