//! Dry runs: the decision that matching makes on one trigger for one event, with its reason.
//!
//! A dry run uses the functions of matching for conditions and evaluation, but neither the index
//! nor any counter. [`Matcher::decide`] leaves out the reason, for decisions on many events.

use switchyard_expr::explain::{Explanation, explain};
use switchyard_expr::{Env, EvalScratch, Program, Verdict};

use super::decision::{Decision, EventContext};
use super::{EventSubscription, Matcher, Subscriber, UnmetCondition};
use crate::domain::OnError;
use crate::event::{Decoder, RoutingKey};

/// The decision on one trigger for one event.
#[derive(Clone, Debug)]
pub enum TriggerDecision {
    /// The trigger has no subscription to the event type.
    NotSubscribed,
    /// A condition is not met.
    Ignored(UnmetCondition),
    /// The conditions are met and there is no expression.
    NoExpression,
    /// The conditions are met and the expression was evaluated.
    Evaluated {
        /// The result of the expression.
        verdict: Verdict,
        /// What an evaluation error means for delivery.
        on_error: OnError,
        /// The parts of the expression with their values; none without an explanation, or if the
        /// expression cannot be explained, which would be a defect.
        explanation: Option<Box<Explanation>>,
    },
}

impl TriggerDecision {
    fn of(
        decision: Decision<'_>,
        explained: impl FnOnce(&Program) -> Option<Box<Explanation>>,
    ) -> Self {
        match decision {
            Decision::NotSubscribed => Self::NotSubscribed,
            Decision::Ignored(unmet) => Self::Ignored(unmet),
            Decision::NoExpression => Self::NoExpression,
            Decision::Evaluated { program, verdict, on_error } => {
                let explanation = explained(program);
                Self::Evaluated { verdict, on_error, explanation }
            }
        }
    }

    /// Whether the event would be delivered.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        match self {
            Self::NotSubscribed | Self::Ignored(_) => false,
            Self::NoExpression => true,
            Self::Evaluated { verdict, on_error, .. } => match verdict {
                Verdict::Match => true,
                Verdict::NoMatch => false,
                Verdict::Failed(_) => on_error.delivers(),
            },
        }
    }
}

impl TriggerDecision {
    /// Says why the expression decided as it did, with the part that decided; none without one.
    #[must_use]
    pub fn because(&self) -> Option<String> {
        let Self::Evaluated { explanation: Some(explanation), .. } = self else { return None };
        Some(explanation.because())
    }

    /// Whether the expression ended in an error.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Evaluated { verdict: Verdict::Failed(_), .. })
    }
}

impl Matcher {
    /// Returns the decision on a trigger with these `event_subscriptions` for the event with this
    /// routing key, which the decoder holds. The trigger need not be registered. Filters see the
    /// time `now_ms`, milliseconds since the epoch.
    #[must_use]
    pub fn dry_run(
        &self,
        event_subscriptions: &[EventSubscription],
        subscriber: Subscriber<'_>,
        (routing_key, decoder): (RoutingKey<'_>, &Decoder),
        now_ms: i64,
    ) -> TriggerDecision {
        let env = Env { now_ms, steps_max: self.steps_max() };
        let context = EventContext { routing_key, decoder, env };
        let mut scratch = EvalScratch::new();
        let decision = context.decide(event_subscriptions, subscriber, &mut scratch, &mut 0);
        TriggerDecision::of(decision, |program| {
            let values = subscriber.values(routing_key, decoder);
            let explained = explain(&program.source(), &decoder.view_of(values), &context.env);
            debug_assert!(explained.is_ok(), "the source of a compiled program compiles");
            explained.ok().map(Box::new)
        })
    }

    /// As [`Matcher::dry_run`], without an explanation: for decisions on many events. Returns the steps
    /// that the evaluation took as well.
    #[must_use]
    pub fn decide(
        &self,
        event_subscriptions: &[EventSubscription],
        subscriber: Subscriber<'_>,
        (routing_key, decoder): (RoutingKey<'_>, &Decoder),
        now_ms: i64,
        scratch: &mut EvalScratch,
    ) -> (TriggerDecision, u64) {
        let env = Env { now_ms, steps_max: self.steps_max() };
        let context = EventContext { routing_key, decoder, env };
        let mut steps = 0;
        let decision = context.decide(event_subscriptions, subscriber, scratch, &mut steps);
        (TriggerDecision::of(decision, |_| None), steps)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use switchyard_expr::{CheckProfile, compile};

    use super::*;
    use crate::domain::AppId;
    use crate::event::{Attributes, Event, HeaderLookup, Permissions};
    use crate::matcher::EventConditions;

    const TYPE: &str = "avi:jira:updated:issue";

    struct NoHeaders;

    impl HeaderLookup for NoHeaders {
        fn get(&self, name: &str) -> Option<&str> {
            match name {
                "ce-cloudid" => Some("site"),
                "ce-type" => Some(TYPE),
                "ce-id" => Some("event"),
                _ => None,
            }
        }
    }

    fn decoded(text: &'static str) -> (Decoder, Event) {
        let mut decoder = Decoder::new(1 << 20, false);
        let attributes = Attributes::from_headers(&NoHeaders).unwrap();
        let event = decoder.decode(attributes, Bytes::from_static(text.as_bytes()), 0).unwrap();
        (decoder, event)
    }

    fn trigger(filter: Option<&str>, conditions: EventConditions) -> Vec<EventSubscription> {
        let program = filter.map(|text| compile(text, CheckProfile::Filter).unwrap().program);
        vec![EventSubscription { conditions: Arc::new(conditions), program: program.map(Arc::new) }]
    }

    fn run(trigger: &[EventSubscription], text: &'static str) -> TriggerDecision {
        let (decoder, event) = decoded(text);
        let app = AppId::from("app");
        let permissions = Permissions::new(&["read:jira-work".to_owned()], None);
        let subscriber = Subscriber {
            app: &app,
            app_account_id: Some("own-account"),
            is_licensed: false,
            permissions: Some(&permissions),
        };
        let event = (event.envelope.routing_key(), &decoder);
        Matcher::default().dry_run(trigger, subscriber, event, 0)
    }

    #[test]
    fn event_of_another_type_is_not_subscribed() {
        let other = trigger(None, EventConditions::unconditional("avi:jira:deleted:issue".into()));
        let decision = run(&other, "{}");
        assert!(matches!(decision, TriggerDecision::NotSubscribed) && !decision.is_delivered());
    }

    #[test]
    fn conditions_decide_before_the_expression_fails() {
        let any = EventConditions::unconditional(TYPE.into());
        let fails = Some("event.a.b == 1");
        let licensed = trigger(fails, EventConditions { requires_licence: true, ..any.clone() });
        let decision = run(&licensed, "{}");
        assert!(
            matches!(decision, TriggerDecision::Ignored(UnmetCondition::Licence)),
            "{decision:?}"
        );
        let foreign = trigger(None, EventConditions { ignore_self: true, ..any });
        let own = r#"{"atlassianId":"own-account"}"#;
        let decision = run(&foreign, own);
        assert!(
            matches!(decision, TriggerDecision::Ignored(UnmetCondition::IgnoreSelf)),
            "{decision:?}"
        );
        let decision = run(&foreign, r#"{"atlassianId":"another"}"#);
        assert!(matches!(decision, TriggerDecision::NoExpression) && decision.is_delivered());
    }

    #[test]
    fn expression_decides_and_is_explained() {
        let trigger = trigger(Some("event.a == 'x'"), EventConditions::unconditional(TYPE.into()));
        for (text, matches) in [(r#"{"a":"x"}"#, true), (r#"{"a":"y"}"#, false)] {
            let decision = run(&trigger, text);
            assert_eq!(decision.is_delivered(), matches);
            let TriggerDecision::Evaluated { verdict, explanation, .. } = decision else {
                panic!("the expression is evaluated");
            };
            let explanation = explanation.unwrap();
            assert_eq!(explanation.source, "event.a == 'x'");
            assert_eq!(matches!(verdict, Verdict::Match), matches);
            assert_eq!(matches!(explanation.verdict, Verdict::Match), matches);
        }
    }

    #[test]
    fn expression_sees_changes_of_the_app_as_self_generated() {
        let any = EventConditions::unconditional(TYPE.into());
        let trigger = trigger(Some("event.selfGenerated == true"), any);
        assert!(run(&trigger, r#"{"atlassianId":"own-account"}"#).is_delivered());
        assert!(!run(&trigger, r#"{"atlassianId":"another"}"#).is_delivered());
    }

    #[test]
    fn expression_sees_the_permissions_of_the_app() {
        let any = || EventConditions::unconditional(TYPE.into());
        let body = r#"{"permissions":{"scopes":["admin"]}}"#;
        let reads = |scope: &str| {
            let text = format!("event.permissions.scopes.includes('{scope}')");
            run(&trigger(Some(&text), any()), body).is_delivered()
        };
        assert!(reads("read:jira-work") && !reads("admin"));
    }

    #[test]
    fn failed_expression_is_delivered_if_on_error_says_so() {
        let any = EventConditions::unconditional(TYPE.into());
        for (on_error, delivered) in [
            (OnError::Ignore, false),
            (OnError::IgnoreAndLog, false),
            (OnError::Receive, true),
            (OnError::ReceiveAndLog, true),
        ] {
            let trigger =
                trigger(Some("event.a.b == 1"), EventConditions { on_error, ..any.clone() });
            let decision = run(&trigger, "{}");
            assert_eq!(decision.is_delivered(), delivered);
            let TriggerDecision::Evaluated { verdict: Verdict::Failed(_), .. } = decision else {
                panic!("the evaluation fails: {decision:?}");
            };
        }
    }
}
