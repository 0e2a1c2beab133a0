//! From candidates to matches: cheap conditions first, then the filter itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::diagnostic::Position;
use switchyard_expr::{Env, Verdict};

use super::index::{Findings, GroupId, Listener};
use super::partition::{Layer, Partition};
use super::{FilterFailure, Match, Matches};
use crate::clock;
use crate::domain::FilterError;
use crate::event::{Decoder, EventView, Heading};

/// Working memory of one matching thread, reused from event to event. Holds the last outcome and
/// nothing else alive.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) outcome: Matches,
    found: Findings,
    expression: switchyard_expr::Scratch,
}

/// An event and what an evaluation of it needs.
struct Case<'e> {
    heading: Heading<'e>,
    decoder: &'e Decoder,
    env: Env,
}

/// Matches one event against one partition.
pub(super) fn partition(
    partition: &Partition,
    heading: Heading<'_>,
    decoder: &Decoder,
    steps_max: u32,
    scratch: &mut Scratch,
) {
    let Scratch { outcome, found, expression } = scratch;
    let env = Env { now_ms: clock::now_ms(), steps_max };
    let case = Case { heading, decoder, env };
    for layer in &partition.layers {
        // No filter that reads the flag is decided without an evaluation of its own.
        layer.segment.find(decoder, found);
        outcome.candidates += found.candidates;
        outcome.matches.reserve(found.holding.len());
        for group in &found.holding {
            for (listener, self_generated) in admitted(layer, *group, &case, &mut outcome.ignored) {
                outcome.matches.push(matched(listener, self_generated, case.env.now_ms));
            }
        }
        for group in &found.undecided {
            evaluate(layer, *group, &case, expression, outcome);
        }
    }
}

/// Who of a group is live and let through by the conditions beside the expression, with whether
/// the app itself caused the event.
fn admitted<'p>(
    layer: &'p Layer,
    group: GroupId,
    case: &Case<'_>,
    ignored: &mut usize,
) -> impl Iterator<Item = (&'p Listener, bool)> {
    let live = layer.segment.listeners(group).filter(|(at, _)| layer.is_live(*at));
    live.filter_map(move |(_, listener)| {
        let own = is_admitted(listener, case);
        *ignored += usize::from(own.is_none());
        own.map(|own| (listener, own))
    })
}

/// Whether the conditions beside the expression let the event through to this listener; if so,
/// whether the app itself caused the event.
fn is_admitted(listener: &Listener, case: &Case<'_>) -> Option<bool> {
    let subscription = &listener.subscription;
    let self_generated = case.decoder.is_self_generated(
        case.heading,
        &subscription.app,
        subscription.app_account_id.as_deref(),
    );
    let unlicensed = listener.requires_licence && !subscription.licensed;
    if unlicensed || (listener.ignore_self && self_generated) {
        subscription.stats.ignored.fetch_add(1, Relaxed);
        return None;
    }
    Some(self_generated)
}

/// Evaluates the filter of a group, once for all who listen with it.
fn evaluate(
    layer: &Layer,
    group: GroupId,
    case: &Case<'_>,
    scratch: &mut switchyard_expr::Scratch,
    outcome: &mut Matches,
) {
    let mut ignored = 0;
    let mut verdict: Option<(&switchyard_expr::Program, Verdict)> = None;
    for (listener, self_generated) in admitted(layer, group, case, &mut ignored) {
        let Some(program) = listener.program() else { continue };
        // A filter that reads the flag shares its group only with its own installation, for which
        // the flag is the same; the others do not see it.
        let (program, verdict) = verdict.get_or_insert_with(|| {
            let event: EventView<'_> = case.decoder.view(self_generated);
            (program, program.verdict(&event, &case.env, scratch))
        });
        let stats = &listener.subscription.stats;
        stats.steps.fetch_add(u64::from(scratch.steps()), Relaxed);
        match verdict {
            Verdict::Match => {
                outcome.matches.push(matched(listener, self_generated, case.env.now_ms));
            }
            Verdict::NoMatch => {}
            Verdict::Failed(error) => {
                let error = filter_error(program, error);
                outcome.add_failure(listener, self_generated, error);
            }
        }
    }
    outcome.ignored += ignored;
    match verdict.map(|(_, verdict)| verdict) {
        Some(Verdict::Match) => outcome.evaluated.matched += 1,
        Some(Verdict::NoMatch) => outcome.evaluated.not_matched += 1,
        Some(Verdict::Failed(_)) => outcome.evaluated.failed += 1,
        None => {}
    }
}

fn matched(listener: &Listener, self_generated: bool, now_ms: i64) -> Match {
    listener.subscription.stats.count_match(now_ms);
    Match { subscription: Arc::clone(&listener.subscription), self_generated, filter_error: None }
}

fn filter_error(
    program: &switchyard_expr::Program,
    error: &switchyard_expr::EvalError,
) -> FilterError {
    let at = Position::of(error.span, program.source());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    FilterError {
        kind: error.kind().as_str().to_owned(),
        message: error.message.to_string(),
        offset: number(at.offset),
        line: number(at.line),
        column: number(at.column),
    }
}

impl Matches {
    fn add_failure(&mut self, listener: &Listener, self_generated: bool, error: FilterError) {
        let subscription = &listener.subscription;
        subscription.stats.count_error(&error.message);
        let on_error = listener.filter().map(|filter| filter.on_error).unwrap_or_default();
        if on_error.delivers() {
            self.matches.push(Match {
                subscription: Arc::clone(subscription),
                self_generated,
                filter_error: Some(Box::new(error.clone())),
            });
        }
        self.failures.push(FilterFailure {
            subscription: Arc::clone(subscription),
            error,
            on_error,
        });
    }
}
