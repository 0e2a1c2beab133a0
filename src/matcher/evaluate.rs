//! From candidates to matches: cheap conditions first, then the filter itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use switchyard_expr::diagnostic::Position;
use switchyard_expr::{Env, Verdict};

use super::index::{Candidates, Group, Listener, Partition};
use super::{FilterFailure, Match, Matches};
use crate::clock;
use crate::domain::FilterError;
use crate::event::{Decoder, Envelope, EventView};

/// Working memory of one matching thread, reused from event to event.
#[derive(Debug, Default)]
pub struct Scratch {
    candidates: Candidates,
    expression: switchyard_expr::Scratch,
    /// Listeners of the group at hand that its cheap conditions let through.
    listeners: Vec<(Listener, bool)>,
}

/// Matches one event against one partition.
pub(super) fn partition(
    partition: &Partition,
    envelope: &Envelope,
    decoder: &Decoder,
    steps_max: u32,
    scratch: &mut Scratch,
) -> Matches {
    let mut outcome = Matches::default();
    let env = Env { now_ms: clock::now_ms(), steps_max };
    for listener in &partition.unconditional {
        match admitted(listener, envelope, decoder) {
            Some(self_generated) => outcome.add_match(listener, self_generated, env.now_ms),
            None => outcome.ignored += 1,
        }
    }
    let event = decoder.view(false);
    partition.candidates(&event, &mut scratch.candidates);
    for at in 0..scratch.candidates.groups.len() {
        let group = scratch.candidates.groups.get(at).and_then(|id| partition.group(*id));
        if let Some(group) = group {
            evaluate(group, envelope, decoder, &env, scratch, &mut outcome);
        }
    }
    // What is removed from the index is not kept alive by a thread that waits for events.
    scratch.listeners.clear();
    outcome.candidates = scratch.candidates.groups.len();
    outcome
}

/// Whether the conditions beside the expression let the event through to this listener; if so,
/// whether the app itself caused the event.
fn admitted(listener: &Listener, envelope: &Envelope, decoder: &Decoder) -> Option<bool> {
    let subscription = &listener.subscription;
    let filter = listener.filter()?;
    let self_generated = decoder.is_self_generated(
        envelope,
        &subscription.app,
        subscription.app_account_id.as_deref(),
    );
    let unlicensed = filter.requires_licence && !subscription.licensed;
    if unlicensed || (filter.ignore_self && self_generated) {
        subscription.stats.ignored.fetch_add(1, Relaxed);
        return None;
    }
    Some(self_generated)
}

fn evaluate(
    group: &Group,
    envelope: &Envelope,
    decoder: &Decoder,
    env: &Env,
    scratch: &mut Scratch,
    outcome: &mut Matches,
) {
    scratch.listeners.clear();
    let admit = |listener: &Listener| {
        admitted(listener, envelope, decoder).map(|own| (listener.clone(), own))
    };
    scratch.listeners.extend(group.listeners.iter().filter_map(admit));
    outcome.ignored += group.listeners.len() - scratch.listeners.len();
    let Some(&(_, self_generated)) = scratch.listeners.first() else { return };
    // A filter that reads the flag shares its group only with its own installation, for which the
    // flag is the same; the others do not see it.
    let event: EventView<'_> = decoder.view(self_generated);
    let verdict = group.program.verdict(&event, env, &mut scratch.expression);
    let steps = u64::from(scratch.expression.steps());
    match &verdict {
        Verdict::Match => outcome.evaluated.matched += 1,
        Verdict::NoMatch => outcome.evaluated.not_matched += 1,
        Verdict::Failed(_) => outcome.evaluated.failed += 1,
    }
    for (listener, self_generated) in &scratch.listeners {
        listener.subscription.stats.steps.fetch_add(steps, Relaxed);
        match &verdict {
            Verdict::Match => outcome.add_match(listener, *self_generated, env.now_ms),
            Verdict::NoMatch => {}
            Verdict::Failed(error) => {
                let error = filter_error(&group.program, error);
                outcome.add_failure(listener, *self_generated, error);
            }
        }
    }
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
    fn add_match(&mut self, listener: &Listener, self_generated: bool, now_ms: i64) {
        listener.subscription.stats.count_match(now_ms);
        self.matches.push(Match {
            subscription: Arc::clone(&listener.subscription),
            self_generated,
            filter_error: None,
        });
    }

    fn add_failure(&mut self, listener: &Listener, self_generated: bool, error: FilterError) {
        let subscription = &listener.subscription;
        subscription.stats.count_error(&error.message);
        let on_error = listener.filter().map(|filter| filter.on_error).unwrap_or_default();
        if on_error.delivers() {
            self.matches.push(Match {
                subscription: Arc::clone(subscription),
                self_generated,
                filter_error: Some(error.clone()),
            });
        }
        self.failures.push(FilterFailure {
            subscription: Arc::clone(subscription),
            error,
            on_error,
        });
    }
}
