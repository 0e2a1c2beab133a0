//! Forge modules as apps submit them, and their validation.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::trigger_rules::{ValidatedTrigger, ValidationRules};
use crate::clock;
use crate::domain::{ModuleKey, UnknownMembers};
use crate::registry::model::{
    ModuleFields, ModuleRecord, ModuleStatus, Problem, RegistrationApi, TRIGGER, code,
};

/// Forge module types that can be stored without being routed.
const STORED_ONLY_TYPES: &[&str] = &[
    "confluence:contentAction",
    "confluence:contentBylineItem",
    "confluence:contentProperty",
    "jira:customField",
    "jira:customFieldType",
    "jira:entityProperty",
    "jira:issueAction",
    "jira:issueActivity",
    "jira:issueContext",
    "jira:issuePanel",
    "jira:jqlFunction",
    "jiraServiceManagement:portalHeader",
    "jiraServiceManagement:portalRequestDetail",
    "jiraServiceManagement:portalRequestViewAction",
    "macro",
];

/// A module as an app submits it.
#[derive(Clone, Debug)]
pub struct ModuleSpec {
    /// Module type, such as `trigger`.
    pub module_type: String,
    /// Submitted data, with or without `key`.
    pub data: Map<String, Value>,
    /// API of the request.
    pub api: RegistrationApi,
}

/// Whether Forge modules of this type are stored without being routed.
pub(super) fn is_stored_only(name: &str) -> bool {
    STORED_ONLY_TYPES.contains(&name)
}

impl ModuleSpec {
    /// Validates the module, as far as that does not depend on other modules.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn validate(
        &self,
        rules: &ValidationRules<'_>,
        accepts_stored_only: bool,
    ) -> Result<ValidatedTrigger, Vec<Problem>> {
        if self.module_type == TRIGGER {
            return rules.check(&self.data, "data");
        }
        let name = &self.module_type;
        let is_known = is_stored_only(name);
        if is_known && accepts_stored_only {
            return Ok(ValidatedTrigger::default());
        }
        let problem =
            Problem::new(code::MODULE_TYPE, "type", format!("unsupported module type `{name}`"));
        Err(vec![if is_known {
            problem.with_help("registry.accept_inert_types stores modules of this type")
        } else {
            problem.with_help(format!("modules of type `{TRIGGER}` can be registered"))
        }])
    }

    /// Builds the record of a new module, under `key` or a generated key.
    pub(crate) fn record(&self, key: Option<&ModuleKey>) -> ModuleRecord {
        let key = key.cloned().unwrap_or_else(|| Uuid::new_v4().to_string().into());
        let now_ms = clock::now_ms();
        ModuleRecord {
            data: with_key(self.data.clone(), &key),
            key,
            module_type: self.module_type.clone(),
            api: self.api,
            status: ModuleStatus::On,
            created_ms: now_ms,
            updated_ms: now_ms,
            revision: 1,
            order: 0,
            shadow: None,
            promotion: None,
            unknown: UnknownMembers::default(),
        }
    }
}

/// Submitted data with its key inside.
pub(crate) fn with_key(mut data: Map<String, Value>, key: &ModuleKey) -> ModuleFields {
    data.insert("key".into(), Value::String(key.to_string()));
    data.into()
}
