//! Warnings about a registered module. They are found again when they are read, so that they follow
//! the app, the settings and the release, and need no place in the stored record.

use super::model::{
    AppRecord, DYNAMIC_WEBHOOK, DynamicWebhook, ModuleFields, Problem, TRIGGER, WEBHOOKS,
};
use super::validation::{
    ProgramCache, StaticWebhook, Suggestions, ValidationRules, WebhookDefinition, WebhookReview,
};
use crate::domain::Product;

/// What a module is reviewed against.
pub(crate) struct ModuleReview<'a> {
    /// Its app; none if it is not provisioned.
    pub(crate) app: Option<&'a AppRecord>,
    /// The product that it is registered for.
    pub(crate) product: Product,
    /// Whether an unknown event type is only a warning.
    pub(crate) allow_unknown_events: bool,
    /// Custom fields that the JQL of webhooks may test.
    pub(crate) epic_fields: &'a [String],
    /// Compiled filters.
    pub(crate) programs: &'a ProgramCache,
}

impl ModuleReview<'_> {
    /// Returns what a registration of the module would warn of. What would reject it now is a
    /// warning too: an older release accepted it.
    pub(crate) fn warnings(&self, module_type: &str, data: &ModuleFields) -> Vec<Problem> {
        let products = [self.product];
        let suggestions = &Suggestions::default();
        let (products, epic_fields) = (&products, self.epic_fields);
        let review = WebhookReview { products, epic_fields, path: "data", suggestions };
        match module_type {
            TRIGGER => self.trigger(data),
            WEBHOOKS => StaticWebhook::read(&data.read(), "data", self.product, self.programs)
                .map_or_else(|problems| problems, |webhook| review.of_static(webhook)),
            DYNAMIC_WEBHOOK => {
                let webhook = DynamicWebhook::read(data).ok().map(WebhookDefinition::from);
                webhook.map(|webhook| review.warnings(&webhook)).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    fn trigger(&self, data: &ModuleFields) -> Vec<Problem> {
        let rules = ValidationRules {
            app: self.app,
            product: Some(self.product),
            allow_unknown_events: self.allow_unknown_events,
            programs: self.programs,
            suggestions: &Suggestions::default(),
        };
        rules.check(&data.read(), "data").map_or_else(|problems| problems, |valid| valid.warnings)
    }
}
