//! Why a subscription receives an event or not, in the form that explanations and dry runs share.

use serde_json::Value;
use switchyard_expr::Verdict;

use crate::matcher::{TriggerDecision, UnmetCondition};

/// Why an evaluation decided as it did.
pub(super) struct Reasons {
    /// Whether the event is delivered.
    pub(super) is_match: bool,
    /// The stage that decided.
    pub(super) stage: &'static str,
    /// One sentence, which names the deciding part of an expression.
    pub(super) because: String,
    /// Span of the deciding part, with its text.
    pub(super) span: Option<Value>,
    /// Values that the deciding part read, by their paths.
    pub(super) values: Option<Value>,
}

impl Reasons {
    /// Something else than an evaluation decided against the event.
    pub(super) fn fixed(stage: &'static str, because: String) -> Self {
        Self { is_match: false, stage, because, span: None, values: None }
    }

    /// Returns the reasons of a decision on an event of a type; `types` are those that are subscribed to.
    pub(super) fn of<'t>(
        decision: &TriggerDecision,
        event_type: &str,
        types: impl Iterator<Item = &'t str>,
    ) -> Self {
        let (stage, because) = match decision {
            TriggerDecision::NotSubscribed => {
                let types: Vec<&str> = types.collect();
                ("event", format!("it subscribes to {}, not to {event_type}", types.join(", ")))
            }
            TriggerDecision::Ignored(UnmetCondition::Licence) => {
                ("appIsLicensed", "the installation has no active licence".to_owned())
            }
            TriggerDecision::Ignored(UnmetCondition::IgnoreSelf) => {
                ("ignoreSelf", "the app made this change itself".to_owned())
            }
            TriggerDecision::NoExpression => {
                ("event", "it has no filter expression that could leave the event out".to_owned())
            }
            TriggerDecision::Evaluated { verdict, .. } => {
                let stage =
                    if matches!(verdict, Verdict::Failed(_)) { "onError" } else { "filter" };
                let because = decision.because();
                (stage, because.unwrap_or_else(|| "its expression cannot be explained".to_owned()))
            }
        };
        let deciding = match decision {
            TriggerDecision::Evaluated { explanation: Some(explanation), .. } => {
                explanation.deciding_as_json()
            }
            _ => None,
        };
        let (span, values) = deciding.unzip();
        Self { is_match: decision.is_delivered(), stage, because, span, values }
    }
}
