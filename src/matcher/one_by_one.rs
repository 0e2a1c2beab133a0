//! Matches an event against given subscriptions, one by one, without the index.
//!
//! For an event that waited for an installation, for its document or because it had used its share of
//! evaluation: the other subscriptions of its site were matched before. And for an event that is
//! matched again, by a replay or a check of the delivery log, which counts nothing. Conditions and
//! evaluation are those of matching.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::{Env, EvalScratch, Program, Verdict};

use super::decision::{Decision, EventContext};
use super::{
    EvaluationCounts, EventSubscription, FilterFailure, Match, Matcher, Subscriber, Subscription,
    evaluate,
};
use crate::clock;
use crate::domain::FilterError;
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
    /// Steps of each evaluation.
    pub(super) steps_of_each: Vec<u32>,
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

/// The decision on one subscription, made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DecidedAgain {
    /// Whether it subscribes to the type of the event.
    pub is_subscribed: bool,
    /// Whether the event is delivered, be it because of `onError`.
    pub is_delivered: bool,
    /// Whether the evaluation of the filter failed.
    pub is_failed: bool,
    /// Steps of the evaluation.
    pub steps: u64,
}

/// Returns what the decision on a subscription depends on.
fn parts(subscription: &Subscription) -> (&[EventSubscription], Subscriber<'_>) {
    (&subscription.event_subscriptions, Subscriber::from(subscription))
}

fn matched(
    context: &EventContext<'_>,
    subscription: &Arc<Subscription>,
    error: Option<FilterError>,
) -> Match {
    Match {
        subscription: Arc::clone(subscription),
        self_generated: context.is_self_generated(Subscriber::from(&**subscription)),
        filter_error: error.map(Box::new),
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
            let (events, subscriber) = parts(subscription);
            let decision = context.decide(events, subscriber, &mut scratch, &mut steps);
            subscription.stats.steps.fetch_add(steps, Relaxed);
            late.steps += steps;
            if let Decision::Evaluated { verdict, .. } = &decision {
                late.steps_of_each.push(u32::try_from(steps).unwrap_or(u32::MAX));
                let evaluated = &mut late.evaluated;
                *match verdict {
                    Verdict::Match => &mut evaluated.matched,
                    Verdict::NoMatch => &mut evaluated.not_matched,
                    Verdict::Failed(_) => &mut evaluated.failed,
                } += 1;
            }
            match decision {
                Decision::NotSubscribed | Decision::Evaluated { verdict: Verdict::NoMatch, .. } => {
                }
                Decision::Ignored(_) => {
                    subscription.stats.ignored.fetch_add(1, Relaxed);
                }
                Decision::NoExpression | Decision::Evaluated { verdict: Verdict::Match, .. } => {
                    subscription.stats.count_match(clock::now_ms());
                    late.matches.push(matched(&context, subscription, None));
                }
                Decision::Evaluated { program, verdict: Verdict::Failed(error), on_error } => {
                    let error = evaluate::filter_error(program, &error);
                    late.evaluated.failed += 1;
                    subscription.stats.count_error(&error.describe(), clock::now_ms());
                    late.failures.push(FilterFailure {
                        subscription: Arc::clone(subscription),
                        error: error.clone(),
                        on_error,
                    });
                    if on_error.delivers() {
                        late.matches.push(matched(&context, subscription, Some(error)));
                    }
                }
            }
        }
        late
    }

    /// Decides on a subscription for the event with this routing key, which `decoder` holds. Counts
    /// nothing. Filters see the time `now_ms`, milliseconds since the epoch.
    #[must_use]
    pub fn decide_again(
        &self,
        subscription: &Subscription,
        (routing_key, decoder): (RoutingKey<'_>, &Decoder),
        now_ms: i64,
    ) -> DecidedAgain {
        let env = Env { now_ms, steps_max: self.steps_max() };
        let context = EventContext { routing_key, decoder, env };
        let (events, subscriber) = parts(subscription);
        let mut steps = 0;
        let decision = context.decide(events, subscriber, &mut EvalScratch::new(), &mut steps);
        let (is_subscribed, is_delivered, is_failed) = match decision {
            Decision::NotSubscribed => (false, false, false),
            Decision::Ignored(_) => (true, false, false),
            Decision::NoExpression => (true, true, false),
            Decision::Evaluated { verdict, on_error, .. } => match verdict {
                Verdict::Match => (true, true, false),
                Verdict::NoMatch => (true, false, false),
                Verdict::Failed(_) => (true, on_error.delivers(), true),
            },
        };
        DecidedAgain { is_subscribed, is_delivered, is_failed, steps }
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
        let mut found = MatchedAgain::default();
        let of_site =
            |one: &&Arc<Subscription>| one.owner.cloud_id.as_str() == routing_key.cloud_id;
        for subscription in subscriptions.iter().filter(of_site) {
            let (events, subscriber) = parts(subscription);
            let error = match context.decide(events, subscriber, &mut scratch, &mut found.steps) {
                Decision::NoExpression | Decision::Evaluated { verdict: Verdict::Match, .. } => {
                    None
                }
                Decision::Evaluated { program, verdict: Verdict::Failed(error), on_error }
                    if on_error.delivers() =>
                {
                    Some(evaluate::filter_error(program, &error))
                }
                _ => continue,
            };
            if let Some(program) = again.condition {
                match context.verdict(program, subscriber, &mut scratch, &mut found.steps) {
                    Verdict::Match => {}
                    Verdict::NoMatch => continue,
                    Verdict::Failed(_) => {
                        found.condition_errors += 1;
                        continue;
                    }
                }
            }
            found.matches.push(matched(&context, subscription, error));
        }
        found
    }
}
