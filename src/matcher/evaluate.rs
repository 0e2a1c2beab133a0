//! Turns candidates of the index into matches: checks the conditions, then evaluates the filter.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::diagnostic::Position;
use switchyard_expr::{Env, EvalError, Program, Verdict};

use super::evaluation_share::{Charges, LeftOut};
use super::index::{Listener, ListenerId, LookupScratch};
use super::matches::{EvaluationCost, MatchedListener, Matches, charges};
use super::partition::{Partition, SegmentWithDeletes};
use super::{Owner, Subscriber};
use crate::clock;
use crate::domain::FilterError;
use crate::event::{AppValues, Decoder, RoutingKey};
use crate::telemetry::LogBudget;

/// Steps from which on an evaluation is charged; cheaper ones cost less than the charge.
const CHARGED_MIN: u64 = 256;
/// Characters of the failing part of a filter that operators see.
const PART_CHARS_MAX: usize = 120;

/// Working memory of one matching thread, reused from event to event. Keeps the last outcome and
/// its snapshot alive, nothing else.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) outcome: Matches,
    lookup: LookupScratch,
    expression: switchyard_expr::EvalScratch,
    index_error_log: LogBudget,
    rest: Rest,
}

/// Bounds on the matching of one event.
#[derive(Clone, Copy, Debug)]
pub struct MatchLimits<'a> {
    /// Steps after which no further evaluation starts; the rest is left to
    /// [`Matcher::resume`](super::Matcher::resume).
    pub steps: u64,
    /// Installations for which nothing is evaluated.
    pub left_out: Option<&'a LeftOut>,
}

impl Default for MatchLimits<'_> {
    fn default() -> Self {
        Self { steps: u64::MAX, left_out: None }
    }
}

/// The filters of an event that are still to be evaluated.
#[derive(Debug, Default)]
struct Rest {
    groups: Vec<(u32, ListenerId)>,
    /// The snapshot that they refer to.
    partition: Option<Arc<Partition>>,
    /// The time that all evaluations of the event see.
    now_ms: i64,
    excluded: Option<LeftOut>,
}

impl Scratch {
    /// Steps of the evaluations of the last event so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.outcome.steps
    }

    /// What the owners of the filters that are still to be evaluated would pay if each of these cost
    /// as much as those before on average. See [`Matches::take_charges`].
    #[must_use]
    pub fn expected_charges(&self, left_out: Option<&LeftOut>) -> Charges {
        let Rest { groups, partition, .. } = &self.rest;
        let Some(partition) = partition else { return Charges::new() };
        let steps = self.outcome.steps / u64::from(self.outcome.evaluated.all().max(1));
        let costs = groups.iter().map(|(segment, group)| EvaluationCost {
            segment: *segment,
            group: *group,
            steps,
        });
        charges(partition, costs, left_out)
    }
}

/// An event with its decoded values and evaluation settings.
struct EventContext<'e> {
    routing_key: RoutingKey<'e>,
    decoder: &'e Decoder,
    env: Env,
    /// Installations of which the outcome has nothing, if there are any.
    excluded: Option<LeftOut>,
}

impl EventContext<'_> {
    fn excludes(&self, listener: &Listener) -> bool {
        let excluded = self.excluded.as_ref();
        excluded.is_some_and(|excluded| excluded.contains(&listener.subscription.owner.id))
    }
}

/// Matches one event against one partition and stores the outcome in `scratch`.
pub(super) fn match_partition(
    partition: &Arc<Partition>,
    (routing_key, decoder): (RoutingKey<'_>, &Decoder),
    steps_max: u32,
    limits: MatchLimits<'_>,
    scratch: &mut Scratch,
) {
    let Scratch { outcome, lookup, expression, index_error_log, rest } = scratch;
    let env = Env { now_ms: clock::broker_now_ms(), steps_max };
    let mut context = EventContext { routing_key, decoder, env, excluded: None };
    rest.groups.clear();
    if let Some(left_out) = limits.left_out {
        outcome.postponed = postponed(partition, &context, left_out, (lookup, expression));
        let excluded = || outcome.postponed.iter().map(|owner| owner.id.clone()).collect();
        context.excluded = (!outcome.postponed.is_empty()).then(excluded);
    }
    let mut previous = None;
    for (number, segment) in (0..).zip(&partition.segments) {
        // The lookup knows no app: filters that depend on theirs are evaluated one by one.
        let found = segment.index.find(decoder, &context.env, previous, expression, lookup);
        if let Err(error) = found {
            outcome.index_errors += 1;
            if let Some(suppressed) = index_error_log.take() {
                let RoutingKey { cloud_id, event_type, .. } = routing_key;
                tracing::error!(cloud_id, event_type, %error, suppressed, "index is corrupt");
            }
        }
        previous = Some(&*segment.index);
        outcome.candidates += lookup.candidates;
        let alone = lookup.matched_listeners.iter().filter(|id| {
            let is_excluded = || segment.index.listener(**id).is_some_and(|l| context.excludes(l));
            segment.is_alive(**id) && (context.excluded.is_none() || !is_excluded())
        });
        outcome.matched.extend(alone.map(|id| MatchedListener { segment: number, listener: *id }));
        for group in &lookup.matched_groups {
            for (id, _) in passing_listeners(segment, *group, &context, &mut outcome.ignored) {
                outcome.matched.push(MatchedListener { segment: number, listener: id });
            }
        }
        for group in &lookup.groups_to_evaluate {
            if outcome.steps < limits.steps {
                evaluate((number, segment), *group, &context, expression, outcome);
            } else {
                rest.groups.push((number, *group));
            }
        }
    }
    keep_partition(partition, outcome);
    outcome.unfinished = rest.groups.len();
    if !rest.groups.is_empty() {
        rest.partition = Some(Arc::clone(partition));
        (rest.now_ms, rest.excluded) = (context.env.now_ms, context.excluded);
    }
}

/// Evaluates the filters that [`match_partition`] left, and adds the results to the outcome.
pub(super) fn match_rest(
    (routing_key, decoder): (RoutingKey<'_>, &Decoder),
    steps_max: u32,
    scratch: &mut Scratch,
) {
    let Scratch { outcome, expression, rest, .. } = scratch;
    outcome.unfinished = 0;
    let Rest { groups, partition: Some(partition), now_ms, excluded } = std::mem::take(rest) else {
        return;
    };
    let env = Env { now_ms, steps_max };
    let context = EventContext { routing_key, decoder, env, excluded };
    for (number, group) in groups {
        if let Some(segment) = partition.segments.get(number as usize) {
            evaluate((number, segment), group, &context, expression, outcome);
        }
    }
    keep_partition(&partition, outcome);
}

fn keep_partition(partition: &Arc<Partition>, outcome: &mut Matches) {
    if !outcome.matched.is_empty() || !outcome.costs.is_empty() {
        outcome.partition = Some(Arc::clone(partition));
    }
}

/// Returns the owners of installations in `left_out` that have a filter to evaluate which no other
/// installation has.
fn postponed(
    partition: &Partition,
    context: &EventContext<'_>,
    left_out: &LeftOut,
    (lookup, expression): (&mut LookupScratch, &mut switchyard_expr::EvalScratch),
) -> Vec<Arc<Owner>> {
    let mut owners: Vec<Arc<Owner>> = Vec::new();
    let mut known = LeftOut::default();
    let mut previous = None;
    for segment in &partition.segments {
        // A defect is reported by the lookup that decides; until then all filters are to be evaluated.
        let _ = segment.index.find(context.decoder, &context.env, previous, expression, lookup);
        previous = Some(&*segment.index);
        for group in &lookup.groups_to_evaluate {
            let alive = || {
                let listeners = segment.index.group(*group).filter(|(id, _)| segment.is_alive(*id));
                listeners.map(|(_, listener)| listener).filter(|one| one.program().is_some())
            };
            if alive().all(|listener| left_out.contains(&listener.subscription.owner.id)) {
                let found = alive().map(|listener| &listener.subscription.owner);
                owners.extend(found.filter(|owner| known.insert(owner.id.clone())).map(Arc::clone));
            }
        }
    }
    owners
}

/// Yields the listeners of a group that are not deleted and whose conditions hold; counts the
/// others that are not deleted in `ignored`.
fn passing_listeners<'p>(
    segment: &'p SegmentWithDeletes,
    group: ListenerId,
    context: &EventContext<'_>,
    ignored: &mut usize,
) -> impl Iterator<Item = (ListenerId, &'p Listener)> {
    segment.index.group(group).filter(move |(at, listener)| {
        let is_alive = segment.is_alive(*at) && !context.excludes(listener);
        let passes_conditions = is_alive && passes_conditions(listener, context);
        *ignored += usize::from(is_alive && !passes_conditions);
        passes_conditions
    })
}

/// Whether licence and `ignoreSelf` let the event pass. Most listeners have neither condition, and
/// then their subscription is not read.
fn passes_conditions(listener: &Listener, context: &EventContext<'_>) -> bool {
    let subscription = &listener.subscription;
    let is_own = |subscriber: Subscriber<'_>| {
        subscriber.is_self_generated(context.routing_key, context.decoder)
    };
    let unmet = listener.conditions.unmet(|| Subscriber::from(&**subscription), is_own);
    if unmet.is_some() {
        subscription.stats.ignored.fetch_add(1, Relaxed);
    }
    unmet.is_none()
}

/// Evaluates a filter on the event that `decoder` holds; `values` are those of its app.
pub(super) fn verdict<'e>(
    program: &Program,
    decoder: &'e Decoder,
    values: impl FnOnce() -> AppValues<'e>,
    env: &Env,
    scratch: &mut switchyard_expr::EvalScratch,
) -> Verdict {
    let values = if program.is_app_specific() { values() } else { AppValues::default() };
    program.verdict(&decoder.view_of(values), env, scratch)
}

/// Evaluates the filter of a group once for all of its listeners.
fn evaluate(
    (number, segment): (u32, &SegmentWithDeletes),
    group: ListenerId,
    context: &EventContext<'_>,
    scratch: &mut switchyard_expr::EvalScratch,
    outcome: &mut Matches,
) {
    let mut ignored = 0;
    let mut holds: Option<Result<bool, FilterError>> = None;
    for (id, listener) in passing_listeners(segment, group, context, &mut ignored) {
        let Some(program) = listener.program() else {
            outcome.matched.push(MatchedListener { segment: number, listener: id });
            continue;
        };
        let subscription = &listener.subscription;
        let subscriber = Subscriber::from(&**subscription);
        let is_own = || subscriber.is_self_generated(context.routing_key, context.decoder);
        // A filter that depends on the app shares its group only with listeners of its own
        // installation, for which the values are the same.
        let values = || subscriber.values(context.routing_key, context.decoder);
        let holds = holds.get_or_insert_with(|| {
            match verdict(program, context.decoder, values, &context.env, scratch) {
                Verdict::Match => Ok(true),
                Verdict::NoMatch => Ok(false),
                Verdict::Failed(error) => Err(filter_error(program, &error)),
            }
        });
        subscription.stats.steps.fetch_add(u64::from(scratch.steps()), Relaxed);
        match holds {
            Ok(true) => outcome.matched.push(MatchedListener { segment: number, listener: id }),
            Ok(false) => {}
            Err(error) => outcome.add_failure(listener, is_own(), error.clone()),
        }
    }
    outcome.ignored += ignored;
    if holds.is_some() {
        outcome.steps_of_each.push(scratch.steps());
        let steps = u64::from(scratch.steps());
        outcome.steps += steps;
        if steps >= CHARGED_MIN {
            outcome.costs.push(EvaluationCost { segment: number, group, steps });
        }
    }
    match holds {
        Some(Ok(true)) => outcome.evaluated.matched += 1,
        Some(Ok(false)) => outcome.evaluated.not_matched += 1,
        Some(Err(_)) => outcome.evaluated.failed += 1,
        None => {}
    }
}

pub(super) fn filter_error(program: &Program, error: &EvalError) -> FilterError {
    let source = program.source();
    let at = Position::of(error.span, &source);
    let part = error.span.text(&source);
    // A filter has at most 10,000 characters.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    FilterError {
        kind: error.kind().as_str().to_owned(),
        message: error.message.to_string(),
        offset: number(at.offset),
        line: number(at.line),
        column: number(at.column),
        part: part.chars().take(PART_CHARS_MAX).collect(),
    }
}
