//! From candidates to matches: cheap conditions first, then the filter itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::diagnostic::Position;
use switchyard_expr::{Env, Verdict};

use super::index::{Findings, Listener, Place};
use super::partition::{Layer, Partition};
use super::{FilterFailure, Hit, Match, Matches, Subscription};
use crate::clock;
use crate::domain::FilterError;
use crate::event::{Decoder, Heading};

/// Working memory of one matching thread, reused from event to event. Holds the last outcome and
/// nothing else alive.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) outcome: Matches,
    found: Findings,
    expression: switchyard_expr::EvalScratch,
}

/// An event and what an evaluation of it needs.
struct Case<'e> {
    heading: Heading<'e>,
    decoder: &'e Decoder,
    env: Env,
}

/// Matches one event against one partition.
pub(super) fn partition(
    partition: &Arc<Partition>,
    heading: Heading<'_>,
    decoder: &Decoder,
    steps_max: u32,
    scratch: &mut Scratch,
) {
    let Scratch { outcome, found, expression } = scratch;
    let env = Env { now_ms: clock::now_ms(), steps_max };
    let case = Case { heading, decoder, env };
    let mut before = None;
    for (number, layer) in (0..).zip(&partition.layers) {
        // No filter that reads the flag is decided without an evaluation of its own.
        layer.segment.find(decoder, &case.env, before, expression, found);
        before = Some(&*layer.segment);
        outcome.candidates += found.candidates;
        let lone = found.lone.iter().filter(|place| layer.is_live(**place));
        outcome.hits.extend(lone.map(|place| Hit { layer: number, place: *place }));
        for group in &found.holding {
            for (place, _) in admitted(layer, *group, &case, &mut outcome.ignored) {
                outcome.hits.push(Hit { layer: number, place });
            }
        }
        for group in &found.undecided {
            evaluate((number, layer), *group, &case, expression, outcome);
        }
    }
    if !outcome.hits.is_empty() {
        outcome.partition = Some(Arc::clone(partition));
    }
}

/// Who of a group is live and let through by the conditions beside the expression.
fn admitted<'p>(
    layer: &'p Layer,
    group: Place,
    case: &Case<'_>,
    ignored: &mut usize,
) -> impl Iterator<Item = (Place, &'p Listener)> {
    layer.segment.group(group).filter(move |(at, listener)| {
        let is_live = layer.is_live(*at);
        let is_admitted = is_live && is_admitted(listener, case);
        *ignored += usize::from(is_live && !is_admitted);
        is_admitted
    })
}

/// Whether the conditions beside the expression let the event through to this listener. Most have
/// none, and then their subscription is not looked at.
fn is_admitted(listener: &Listener, case: &Case<'_>) -> bool {
    let subscription = &listener.subscription;
    let is_out = (listener.requires_licence && !subscription.owner.licensed)
        || (listener.ignore_self && is_self_generated(subscription, case.heading, case.decoder));
    if is_out {
        subscription.stats.ignored.fetch_add(1, Relaxed);
    }
    !is_out
}

/// Whether the app of a subscription caused the event.
fn is_self_generated(subscription: &Subscription, heading: Heading<'_>, decoder: &Decoder) -> bool {
    let account = subscription.owner.app_account_id.as_deref();
    decoder.is_self_generated(heading, &subscription.owner.app, account)
}

/// Evaluates the filter of a group, once for all who listen with it.
fn evaluate(
    (number, layer): (u32, &Layer),
    group: Place,
    case: &Case<'_>,
    scratch: &mut switchyard_expr::EvalScratch,
    outcome: &mut Matches,
) {
    let mut ignored = 0;
    let mut verdict: Option<(&switchyard_expr::Program, Verdict)> = None;
    for (place, listener) in admitted(layer, group, case, &mut ignored) {
        let Some(program) = listener.program() else { continue };
        let subscription = &listener.subscription;
        let own = || is_self_generated(subscription, case.heading, case.decoder);
        // A filter that reads the flag shares its group only with its own installation, for which
        // the flag is the same; the others do not see it.
        let (program, verdict) = verdict.get_or_insert_with(|| {
            let own = program.reads_self_generated() && own();
            (program, program.verdict(&case.decoder.view(own), &case.env, scratch))
        });
        subscription.stats.steps.fetch_add(u64::from(scratch.steps()), Relaxed);
        match verdict {
            Verdict::Match => outcome.hits.push(Hit { layer: number, place }),
            Verdict::NoMatch => {}
            Verdict::Failed(error) => {
                outcome.add_failure(listener, own(), filter_error(program, error));
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

fn filter_error(
    program: &switchyard_expr::Program,
    error: &switchyard_expr::EvalError,
) -> FilterError {
    let at = Position::of(error.span, &program.source());
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
    /// The subscriptions whose filter holds.
    pub fn holding(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let listener = |hit: &Hit| {
            let layer = self.partition.as_ref()?.layers.get(hit.layer as usize)?;
            layer.segment.all_listeners().get(hit.place as usize)
        };
        self.hits.iter().filter_map(listener).map(|listener| &listener.subscription)
    }

    /// The deliveries to make of the event, which was matched with the same arguments, in no
    /// particular order. Takes and counts them: until here, no subscription was touched.
    pub fn take(&mut self, heading: Heading<'_>, decoder: &Decoder) -> Vec<Match> {
        let now_ms = clock::now_ms();
        let mut deliveries = Vec::with_capacity(self.len());
        deliveries.extend(self.holding().map(|subscription| {
            subscription.stats.count_match(now_ms);
            Match {
                subscription: Arc::clone(subscription),
                self_generated: is_self_generated(subscription, heading, decoder),
                filter_error: None,
            }
        }));
        deliveries.append(&mut self.despite_errors);
        self.hits.clear();
        self.partition = None;
        deliveries
    }

    fn add_failure(&mut self, listener: &Listener, self_generated: bool, error: FilterError) {
        let subscription = &listener.subscription;
        subscription.stats.count_error(&error.message);
        let on_error = listener.listen().map(|listen| listen.interest.on_error).unwrap_or_default();
        if on_error.delivers() {
            self.despite_errors.push(Match {
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
