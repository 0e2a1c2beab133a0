//! Webhooks of a Connect descriptor. One that asks for what cannot be decided here is accepted and never
//! delivered, so that the other modules of its app work; the APIs of dynamic modules reject it.

use serde_json::{Map, Value};

use super::program_cache::ProgramCache;
use super::webhook::{WebhookDefinition, WebhookForm};
use crate::domain::Product;
use crate::registry::model::{Problem, code};

/// A well-formed webhook of an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum StaticWebhook {
    /// Its events are delivered.
    Routed(WebhookDefinition),
    /// No event is delivered, for these reasons. Events that a condition or the filter might exclude
    /// must not reach the app.
    Undelivered(Vec<Problem>),
}

impl StaticWebhook {
    /// Reads the data of a webhook at `path`.
    ///
    /// # Errors
    /// Every problem of its form.
    pub(crate) fn read(
        data: &Map<String, Value>,
        path: &str,
        product: Product,
        programs: &ProgramCache,
    ) -> Result<Self, Vec<Problem>> {
        let WebhookForm { webhook, problems, undecided } =
            WebhookDefinition::read_form(data, path, product);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut reasons = Vec::from_iter(undecided);
        let filters = webhook.filters(programs, product, &format!("{path}.filter"));
        reasons.extend(filters.err().into_iter().flatten());
        Ok(match reasons.is_empty() {
            true => Self::Routed(webhook),
            false => Self::Undelivered(reasons),
        })
    }
}

/// Returns the warnings about a webhook that is never delivered for these reasons.
pub(crate) fn undelivered_warnings(reasons: Vec<Problem>, path: &str) -> Vec<Problem> {
    let message = "this webhook is stored and never delivered: its conditions or its filter cannot \
                   be evaluated here";
    let mut warnings = vec![Problem::new(code::UNDELIVERED, path, message)];
    warnings.extend(reasons);
    warnings
}
