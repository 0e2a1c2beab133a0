//! Turns candidates of the index into matches: checks the conditions, then evaluates the filter.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::diagnostic::Position;
use switchyard_expr::{Env, EvalError, Program, Verdict};

use super::Subscriber;
use super::index::{Listener, ListenerId, LookupScratch};
use super::matches::{MatchedListener, Matches};
use super::partition::{Partition, SegmentWithDeletes};
use crate::clock;
use crate::domain::FilterError;
use crate::event::{Decoder, RoutingKey};
use crate::telemetry::LogBudget;

/// Working memory of one matching thread, reused from event to event. Keeps the last outcome and
/// its snapshot alive, nothing else.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) outcome: Matches,
    lookup: LookupScratch,
    expression: switchyard_expr::EvalScratch,
    index_error_log: LogBudget,
}

/// An event with its decoded values and evaluation settings.
struct EventContext<'e> {
    routing_key: RoutingKey<'e>,
    decoder: &'e Decoder,
    env: Env,
}

/// Matches one event against one partition and stores the outcome in `scratch`.
pub(super) fn match_partition(
    partition: &Arc<Partition>,
    routing_key: RoutingKey<'_>,
    decoder: &Decoder,
    steps_max: u32,
    scratch: &mut Scratch,
) {
    let Scratch { outcome, lookup, expression, index_error_log } = scratch;
    let env = Env { now_ms: clock::broker_now_ms(), steps_max };
    let context = EventContext { routing_key, decoder, env };
    let mut previous = None;
    for (number, segment) in (0..).zip(&partition.segments) {
        // The lookup takes `selfGenerated` for false: filters that read it are evaluated one by one.
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
        let alone = lookup.matched_listeners.iter().filter(|id| segment.is_alive(**id));
        outcome.matched.extend(alone.map(|id| MatchedListener { segment: number, listener: *id }));
        for group in &lookup.matched_groups {
            for (id, _) in passing_listeners(segment, *group, &context, &mut outcome.ignored) {
                outcome.matched.push(MatchedListener { segment: number, listener: id });
            }
        }
        for group in &lookup.groups_to_evaluate {
            evaluate((number, segment), *group, &context, expression, outcome);
        }
    }
    if !outcome.matched.is_empty() {
        outcome.partition = Some(Arc::clone(partition));
    }
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
        let is_alive = segment.is_alive(*at);
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

/// Evaluates a filter on the event that `decoder` holds.
pub(super) fn verdict(
    program: &Program,
    decoder: &Decoder,
    is_self_generated: impl FnOnce() -> bool,
    env: &Env,
    scratch: &mut switchyard_expr::EvalScratch,
) -> Verdict {
    let self_generated = program.reads_self_generated() && is_self_generated();
    program.verdict(&decoder.view(self_generated), env, scratch)
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
        // A filter that reads `selfGenerated` shares its group only with listeners of its own
        // installation, for which the flag is the same; other filters do not depend on it.
        let holds = holds.get_or_insert_with(|| {
            match verdict(program, context.decoder, is_own, &context.env, scratch) {
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
    match holds {
        Some(Ok(true)) => outcome.evaluated.matched += 1,
        Some(Ok(false)) => outcome.evaluated.not_matched += 1,
        Some(Err(_)) => outcome.evaluated.failed += 1,
        None => {}
    }
}

pub(super) fn filter_error(program: &Program, error: &EvalError) -> FilterError {
    let at = Position::of(error.span, &program.source());
    // A filter has at most 10,000 characters.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    FilterError {
        kind: error.kind().as_str().to_owned(),
        message: error.message.to_string(),
        offset: number(at.offset),
        line: number(at.line),
        column: number(at.column),
    }
}
