//! Connect dynamic modules: register, list and remove, all or nothing.
//!
//! **Source:** Atlassian Connect, dynamic modules for Jira and for Confluence. The module schemas
//! define which types may be dynamic and what they require; `webhooks` is routed, the others are
//! validated, stored, listed and counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};
use switchyard_expr::Program;
use tracing::info;

use crate::clock;
use crate::domain::{InstallationId, ModuleKey, Product};
use crate::registry::commands::forge_modules::require_enabled;
use crate::registry::commands::notices::QuotaUsage;
use crate::registry::compile::applied::{AppliedApp, AppliedInstallation};
use crate::registry::model::document::{
    InstallationRecord, ModuleRecord, ModuleStatus, RegistrationApi,
};
use crate::registry::model::problem::{Problem, code};
use crate::registry::model::replay_guard::SignedRequest;
use crate::registry::registry::{Mutation, RegisterError, Registry};
use crate::registry::validation::trigger_rules::key_problem;
use crate::registry::validation::webhook::{WEBHOOKS, WebhookDefinition};

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

impl ConnectModule {
    fn key(&self) -> Option<&str> {
        self.data.get("key")?.as_str()
    }

    fn record(&self, key: &str, now_ms: i64) -> ModuleRecord {
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
        }
    }
}

/// The app and installation that a request is validated against.
struct ConnectContext<'a> {
    app: &'a AppliedApp,
    installation: &'a AppliedInstallation,
}

impl Registry {
    /// Registers all of `modules`, or none if one is invalid.
    ///
    /// # Errors
    /// Every problem, or the duplicate keys; or the signed request is a replay.
    pub async fn register_connect(
        &self,
        id: &InstallationId,
        modules: &[ConnectModule],
        signed: &SignedRequest,
    ) -> Result<(), RegisterError> {
        let (installation, app) = self.installation_and_app(id)?;
        let context = ConnectContext { app: &app, installation: &installation };
        // Keeps the compiled filters alive until the registration is applied.
        let _programs = self.check_connect(&context, modules)?;
        let usage = self
            .update_document(id.as_str(), |current| {
                let mut record = require_enabled(current)?;
                check_keys(&context, &record, modules)?;
                let usage = self.check_connect_quota(&record, modules.len())?;
                record.replay_guard.record_once(signed)?;
                let now_ms = clock::now_ms();
                for module in modules {
                    let module = module.record(module.key().unwrap_or_default(), now_ms);
                    record.modules.push(ModuleRecord { order: record.next_order, ..module });
                    record.next_order += 1;
                }
                Ok(Mutation::Put(record, usage))
            })
            .await?;
        self.notify_near_limit(id, usage);
        info!(installation = %id, modules = modules.len(), "modules registered");
        Ok(())
    }

    /// Removes the modules with these keys that exist; without `keys`, all.
    ///
    /// # Errors
    /// The installation is not enabled, or the signed request is a replay.
    pub async fn remove_connect(
        &self,
        id: &InstallationId,
        keys: Option<&[ModuleKey]>,
        signed: &SignedRequest,
    ) -> Result<(), RegisterError> {
        let removed = self
            .update_document(id.as_str(), |current| {
                let mut record = require_enabled(current)?;
                let before = record.modules.len();
                record.modules.retain(|module| {
                    module.api == RegistrationApi::Webhook
                        || keys.is_some_and(|keys| !keys.contains(&module.key))
                });
                let removed = before - record.modules.len();
                if removed == 0 {
                    return Ok(Mutation::Keep(0));
                }
                record.replay_guard.record_once(signed)?;
                Ok(Mutation::Put(record, removed))
            })
            .await?;
        info!(installation = %id, removed, "modules removed");
        Ok(())
    }

    /// Registers a module of a Connect app on behalf of its operator, or replaces the one with its
    /// key.
    ///
    /// # Errors
    /// The module is invalid, or its key belongs to a module that the app does not own.
    pub async fn put_connect(
        &self,
        id: &InstallationId,
        module: &ConnectModule,
    ) -> Result<ModuleRecord, RegisterError> {
        let (installation, app) = self.installation_and_app(id)?;
        let context = ConnectContext { app: &app, installation: &installation };
        let _programs = self.check_connect(&context, std::slice::from_ref(module))?;
        let put = self
            .update_document(id.as_str(), |current| {
                let mut record = require_enabled(current)?;
                let put = self.upsert_module(&context, &mut record, module)?;
                Ok(Mutation::Put(record, put))
            })
            .await?;
        info!(installation = %id, key = %put.key, "module put");
        Ok(put)
    }

    /// Returns the result of [`Registry::put_connect`] without storing anything.
    ///
    /// # Errors
    /// As there.
    pub fn validate_connect(
        &self,
        id: &InstallationId,
        module: &ConnectModule,
    ) -> Result<(), RegisterError> {
        let (installation, app) = self.installation_and_app(id)?;
        let context = ConnectContext { app: &app, installation: &installation };
        self.check_connect(&context, std::slice::from_ref(module))?;
        let mut record = installation.record.as_ref().clone();
        self.upsert_module(&context, &mut record, module).map(|_| ())
    }

    fn installation_and_app(
        &self,
        id: &InstallationId,
    ) -> Result<(Arc<AppliedInstallation>, Arc<AppliedApp>), RegisterError> {
        let installation = self.installation(id.as_str()).ok_or(RegisterError::NotFound)?;
        let app = self.app(installation.record.app.as_str()).ok_or(RegisterError::NotFound)?;
        Ok((installation, app))
    }

    /// Replaces the module with the same key, or appends it.
    fn upsert_module(
        &self,
        context: &ConnectContext<'_>,
        record: &mut InstallationRecord,
        module: &ConnectModule,
    ) -> Result<ModuleRecord, RegisterError> {
        let now_ms = clock::now_ms();
        let new = module.record(module.key().unwrap_or_default(), now_ms);
        let is_meant = |known: &&mut ModuleRecord| {
            known.key == new.key
                && known.api == RegistrationApi::Connect
                && known.module_type == new.module_type
        };
        if let Some(known) = record.modules.iter_mut().find(is_meant) {
            known.data = new.data;
            known.revision += 1;
            known.updated_ms = now_ms;
            return Ok(known.clone());
        }
        check_keys(context, record, std::slice::from_ref(module))?;
        self.check_connect_quota(record, 1)?;
        let new = ModuleRecord { order: record.next_order, ..new };
        record.next_order += 1;
        record.modules.push(new.clone());
        Ok(new)
    }

    fn check_connect(
        &self,
        context: &ConnectContext<'_>,
        modules: &[ConnectModule],
    ) -> Result<Vec<Arc<Program>>, RegisterError> {
        let (mut problems, mut programs) = (Vec::new(), Vec::new());
        for module in modules {
            match self.check_module(context, module) {
                Ok(found) => programs.extend(found),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(programs) } else { Err(RegisterError::Invalid(problems)) }
    }

    fn check_module(
        &self,
        context: &ConnectContext<'_>,
        module: &ConnectModule,
    ) -> Result<Vec<Arc<Program>>, Vec<Problem>> {
        let ConnectModule { module_type, data, path } = module;
        let product = context.installation.record.product;
        let key_path = format!("{path}.key");
        let mut problems = match data.get("key") {
            Some(Value::String(key)) => Vec::from_iter(key_problem(key, &key_path)),
            Some(_) => vec![Problem::new(code::FORM, key_path, "a key is a string")],
            None => vec![Problem::new(code::MISSING, key_path, "a module has a key")],
        };
        let mut programs = Vec::new();
        if module_type == WEBHOOKS {
            problems.extend(missing_read_scope(context.app, path));
            match WebhookDefinition::parse(data, path, product) {
                Ok(webhook) => {
                    let filter = format!("{path}.filter");
                    match webhook.compile(self.state.programs(), product, &filter) {
                        Ok(found) => programs = found,
                        Err(found) => problems.extend(found),
                    }
                }
                Err(found) => problems.extend(found),
            }
        } else {
            problems.extend(stored_only_problems(module, product));
        }
        if problems.is_empty() { Ok(programs) } else { Err(problems) }
    }

    fn check_connect_quota(
        &self,
        record: &InstallationRecord,
        more: usize,
    ) -> Result<QuotaUsage, RegisterError> {
        let max = match record.product {
            Product::Jira => self.settings.connect.modules_jira,
            Product::Confluence => self.settings.connect.modules_confluence,
        };
        let used =
            record.modules.iter().filter(|module| module.api != RegistrationApi::Webhook).count();
        if used + more <= max {
            return Ok(QuotaUsage { before: used, after: used + more, max });
        }
        let message =
            format!("Up to {max} modules can be registered dynamically in a tenancy, {used} are");
        Err(RegisterError::invalid(Problem::new(code::MODULES_MAX, "", message)))
    }
}

fn missing_read_scope(app: &AppliedApp, path: &str) -> Option<Problem> {
    let scopes = &app.record.scopes;
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

/// Rejects keys of static modules, registered keys, and keys that occur twice in the request.
///
/// **Source:** Jira Cloud platform, the answer 400 of "Register modules".
fn check_keys(
    context: &ConnectContext<'_>,
    record: &InstallationRecord,
    modules: &[ConnectModule],
) -> Result<(), RegisterError> {
    let mut seen = BTreeSet::new();
    let mut taken = Vec::new();
    for key in modules.iter().filter_map(ConnectModule::key) {
        let is_new = seen.insert(key);
        let clashes = !is_new || context.app.has_static_key(key) || record.module(key).is_some();
        if clashes && !taken.contains(&key) {
            taken.push(key);
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Installation failed. The app {} has duplicate module keys: [{}]. Please contact the app vendor.",
        context.app.record.id,
        taken.join(", ")
    );
    Err(RegisterError::invalid(Problem::new(code::DUPLICATE, "", message)))
}
