//! Connect modules as apps submit them, and their validation.
//!
//! **Source:** Atlassian Connect, dynamic modules for Jira and for Confluence. The module schemas define
//! which types may be dynamic and what they require; `webhooks` is routed, the others are validated,
//! stored, listed and counted.

use std::sync::Arc;

use serde_json::{Map, Value};
use switchyard_expr::Program;

use super::module_key::key_problem;
use super::program_cache::ProgramCache;
use super::webhook::WebhookDefinition;
use crate::domain::{Product, UnknownMembers};
use crate::registry::model::{
    AppRecord, ModuleRecord, ModuleStatus, Problem, RegistrationApi, WEBHOOKS, code,
};

/// Scopes that include read access.
const READING_SCOPES: &[&str] =
    &["READ", "WRITE", "DELETE", "PROJECT_ADMIN", "SPACE_ADMIN", "ADMIN", "ACT_AS_USER"];

/// Required type of a module property.
#[derive(Clone, Copy, Debug)]
enum PropertyType {
    /// A non-empty string.
    Text,
    /// A localized text, `{value, i18n?}`.
    LocalizedText,
    /// An object.
    Object,
    /// One of these strings.
    OneOf(&'static [&'static str]),
}

/// A module type that is stored without being routed: name, products, required properties in
/// addition to `key`.
type StoredOnlyType = (&'static str, &'static [Product], &'static [(&'static str, PropertyType)]);

const JIRA: &[Product] = &[Product::Jira];
const BOTH: &[Product] = &[Product::Jira, Product::Confluence];
const FIELD_TYPES: &[&str] =
    &["string", "text", "rich_text", "single_select", "multi_select", "number", "read_only"];

const PLACED: &[(&str, PropertyType)] = &[
    ("name", PropertyType::LocalizedText),
    ("location", PropertyType::Text),
    ("url", PropertyType::Text),
];

const AIMED: &[(&str, PropertyType)] = &[
    ("name", PropertyType::LocalizedText),
    ("icon", PropertyType::Object),
    ("content", PropertyType::Object),
    ("target", PropertyType::Object),
];

const STORED_ONLY_TYPES: &[StoredOnlyType] = &[
    (
        "jiraIssueFields",
        JIRA,
        &[
            ("name", PropertyType::LocalizedText),
            ("description", PropertyType::LocalizedText),
            ("type", PropertyType::OneOf(FIELD_TYPES)),
        ],
    ),
    ("jiraEntityProperties", JIRA, &[("name", PropertyType::LocalizedText)]),
    ("jiraIssueGlances", JIRA, AIMED),
    ("jiraIssueContexts", JIRA, AIMED),
    (
        "jiraIssueContents",
        JIRA,
        &[
            ("name", PropertyType::LocalizedText),
            ("icon", PropertyType::Object),
            ("tooltip", PropertyType::LocalizedText),
            ("target", PropertyType::Object),
        ],
    ),
    ("webItems", BOTH, PLACED),
    ("webPanels", BOTH, PLACED),
];

/// One module of a registration request.
#[derive(Clone, Debug)]
pub struct ConnectModule {
    /// Module type, such as `webhooks`.
    pub module_type: String,
    /// Submitted data, including `key`.
    pub data: Map<String, Value>,
    /// Its path in the request.
    pub path: String,
}

/// Whether Connect modules of this type are stored without being routed.
pub(super) fn is_stored_only(name: &str) -> bool {
    STORED_ONLY_TYPES.iter().any(|(known, ..)| *known == name)
}

impl ConnectModule {
    /// Returns its key, if that is a string.
    pub(crate) fn key(&self) -> Option<&str> {
        self.data.get("key")?.as_str()
    }

    /// Whether it is routed.
    pub(crate) fn is_webhook(&self) -> bool {
        self.module_type == WEBHOOKS
    }

    /// Builds the record of the module.
    pub(crate) fn record(&self, key: &str, now_ms: i64) -> ModuleRecord {
        ModuleRecord {
            key: key.into(),
            module_type: self.module_type.clone(),
            data: self.data.clone().into(),
            api: RegistrationApi::Connect,
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

    /// Validates the module and compiles its filters; the programs must be kept alive until the
    /// registration is applied.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn validate(
        &self,
        app: &AppRecord,
        product: Product,
        programs: &ProgramCache,
    ) -> Result<Vec<Arc<Program>>, Vec<Problem>> {
        let Self { module_type, data, path } = self;
        let key_path = format!("{path}.key");
        let mut problems = match data.get("key") {
            Some(Value::String(key)) => Vec::from_iter(key_problem(key, &key_path)),
            Some(_) => vec![Problem::new(code::FORM, key_path, "a key is a string")],
            None => vec![Problem::new(code::MISSING, key_path, "a module has a key")],
        };
        let mut compiled = Vec::new();
        if module_type == WEBHOOKS {
            problems.extend(missing_read_scope(app, path));
            let filter = format!("{path}.filter");
            let webhook = WebhookDefinition::parse(data, path, product);
            match webhook.and_then(|webhook| webhook.compile(programs, product, &filter)) {
                Ok(found) => compiled = found,
                Err(found) => problems.extend(found),
            }
        } else {
            problems.extend(stored_only_problems(self, product));
        }
        if problems.is_empty() { Ok(compiled) } else { Err(problems) }
    }
}

fn missing_read_scope(app: &AppRecord, path: &str) -> Option<Problem> {
    let scopes = &app.scopes;
    let reads = scopes.iter().any(|scope| READING_SCOPES.contains(&scope.to_uppercase().as_str()));
    (!scopes.is_empty() && !reads).then(|| {
        let message = "webhook modules require the app to have the \"READ\" scope";
        Problem::new(code::SCOPE, path, message)
    })
}

fn stored_only_problems(module: &ConnectModule, product: Product) -> Vec<Problem> {
    let ConnectModule { module_type, data, path } = module;
    let known = STORED_ONLY_TYPES
        .iter()
        .find(|(name, products, _)| name == module_type && products.contains(&product));
    let Some((_, _, required)) = known else {
        let message = format!("Module type {module_type} does not support dynamic registration");
        return vec![Problem::new(code::MODULE_TYPE, "", message)];
    };
    let mut problems = Vec::new();
    for (name, form) in *required {
        let path = format!("{path}.{name}");
        match data.get(*name) {
            None => {
                let message = format!("{module_type} have the required property `{name}`");
                problems.push(Problem::new(code::MISSING, path, message));
            }
            Some(value) => problems.extend(form.problem(value, path)),
        }
    }
    problems
}

impl PropertyType {
    fn problem(self, value: &Value, path: String) -> Option<Problem> {
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        let message = match self {
            Self::Text if !text(value) => "this is a non-empty string".to_owned(),
            Self::LocalizedText if !value.get("value").is_some_and(text) => {
                "this is an object with a text as `value`".to_owned()
            }
            Self::Object if !value.is_object() => "this is an object".to_owned(),
            Self::OneOf(known) if !value.as_str().is_some_and(|text| known.contains(&text)) => {
                format!("this is one of {}", known.join(", "))
            }
            _ => return None,
        };
        Some(Problem::new(code::FORM, path, message))
    }
}
