//! Registrations from a file, without a store: for offline matching and benchmarks.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::compile::EventConditionsCache;
use super::model::{Problem, TRIGGER, code};
use super::validation::{ProgramCache, Suggestions, Trigger, ValidationRules, key_problem};
use crate::domain::{AppId, CloudId, Handler, InstallationId, ModuleKey, Secret};
use crate::matcher::{DeliverySettings, Owner, Subscription};
use crate::telemetry::SubscriptionStats;

/// Parses registrations line by line; equal filters share one program.
#[derive(Debug)]
pub struct TriggerReader {
    programs: ProgramCache,
    conditions: EventConditionsCache,
    /// Shared by all triggers, because nothing is delivered offline.
    settings: DeliverySettings,
    /// Owner of the last line; lines of one installation follow each other.
    last: Option<Arc<Owner>>,
}

/// Why a line is rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RejectedTrigger {
    /// `SY-nnnn` of the first problem.
    pub code: String,
    /// All problems in one line.
    pub message: String,
}

/// One registration; other members are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    installation_id: InstallationId,
    cloud_id: CloudId,
    app_id: AppId,
    #[serde(default)]
    licensed: bool,
    key: ModuleKey,
    #[serde(rename = "type")]
    module_type: String,
    data: Map<String, Value>,
}

impl TriggerReader {
    /// Creates a reader without compiled filters.
    ///
    /// # Errors
    /// Never; the address of the placeholder handler is a constant.
    pub fn new() -> Result<Self, url::ParseError> {
        let url = Url::parse("https://offline.invalid/")?;
        let handler = Arc::new(Handler::http(url, Secret::new("")));
        let settings = DeliverySettings::new(handler);
        Ok(Self {
            programs: ProgramCache::default(),
            conditions: EventConditionsCache::default(),
            settings,
            last: None,
        })
    }

    fn owner(&mut self, owner: Owner) -> Arc<Owner> {
        let known = self.last.take().filter(|last| **last == owner);
        Arc::clone(self.last.insert(known.unwrap_or_else(|| Arc::new(owner))))
    }

    /// Parses one line `{"installationId","cloudId","appId","licensed","key","type","data"}`.
    ///
    /// Handlers, scopes and the number of modules are not checked, because there is no app.
    ///
    /// # Errors
    /// Every problem of the trigger that the Forge API would report.
    pub fn read(&mut self, line: &str) -> Result<Arc<Subscription>, RejectedTrigger> {
        let registration: Registration = serde_json::from_str(line)
            .map_err(|error| reject(&[Problem::new(code::FORM, "", error.to_string())]))?;
        if registration.module_type != TRIGGER {
            let message = format!("unsupported module type `{}`", registration.module_type);
            return Err(reject(&[Problem::new(code::FORM, "type", message)]));
        }
        if let Some(problem) = key_problem(registration.key.as_str(), "key") {
            return Err(reject(&[problem]));
        }
        let rules = ValidationRules {
            app: None,
            product: None,
            allow_unknown_events: false,
            programs: &self.programs,
            suggestions: &Suggestions::default(),
        };
        // Keeps the programs alive until the subscription holds them.
        let _accepted = rules.check(&registration.data, "data").map_err(|found| reject(&found))?;
        let trigger = Trigger::parse(&registration.data, "data").map_err(|found| reject(&found))?;
        let event_subscriptions = self
            .conditions
            .of_trigger(&trigger, &self.programs)
            .map_err(|message| reject(&[Problem::new(code::FORM, "data", message)]))?;
        Ok(Arc::new(Subscription {
            owner: self.owner(Owner {
                id: registration.installation_id,
                app: registration.app_id,
                app_account_id: None,
                cloud_id: registration.cloud_id,
                licensed: registration.licensed,
                permissions: None,
                settings: self.settings.clone(),
            }),
            key: registration.key,
            event_subscriptions,
            revision: 0,
            stats: SubscriptionStats::default(),
        }))
    }
}

fn reject(problems: &[Problem]) -> RejectedTrigger {
    debug_assert!(!problems.is_empty(), "a line is rejected for a problem");
    let code = problems.first().map(|problem| problem.code.clone()).unwrap_or_default();
    let sentences: Vec<String> = problems.iter().map(Problem::sentence).collect();
    RejectedTrigger { code, message: sentences.join("; ") }
}
